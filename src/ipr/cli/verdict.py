"""`ipr verdict check|key`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ipr.cli import loading
from ipr.cli.jobs import choose_verb
from ipr.config.schema import VerdictConfig
from ipr.errors import InputError
from ipr.texts import printable


def execute(config: VerdictConfig) -> int:
    """Does what the verb says; 0.

    Raises:
        InputError: there is no such verb, or what is given does not hold.
    """
    return choose_verb("verdict", config.verb, VERBS, "key=...")(config)


def check(config: VerdictConfig) -> int:
    """Prints what a judge signed, if the seal holds and, where it is given, the suspect's file is the one judged.

    The exit code says that, and not what was decided.
    """
    for name in ("envelope", "key"):
        if getattr(config, name) is None:
            raise InputError(name, "null", "must be given", f"add {name}=FILE")
    with loading():
        from ipr.judging.signing import keyid, public_key
        from ipr.reports.signed_verdict import open_verdict
        from ipr.suspects.weights import read_file

    judge = public_key(Path(str(config.key)))
    verdict = open_verdict(Path(str(config.envelope)), judge)
    suspect = verdict["suspect"]["sha256"]
    if config.suspect is not None and (digest := read_file(Path(config.suspect)).digest) != suspect:
        about = f"the file {suspect}" if suspect else f"the answers of {verdict['suspect'].get('url')}"
        problem = f"is not what was judged: its SHA-256 is {digest}, and the verdict is about {about}"
        raise InputError("suspect", config.suspect, problem, "give the file that was judged, byte for byte")
    rows = {
        "sealed by": keyid(judge),
        "decision": verdict["decision"],
        "rule": " ".join(f"{name}={value}" for name, value in verdict["rule"].items()),
        "date": verdict["date"],
        "suspect": suspect or verdict["suspect"].get("url"),
        "claim": verdict["claim"]["fingerprint"],
        "owner": verdict["claim"].get("owner") or "-",
    }
    for name, value in rows.items():
        print(printable(f"{name + ':':10} {value}"))
    return 0


def key(config: VerdictConfig) -> int:
    """Finds a judge's key, or makes one, and writes its public half beside it, to hand out."""
    with loading():
        from ipr.files import expanded, write_new
        from ipr.judging.signing import judge_key, keyid, public_pem

    path = expanded(config.key or config.paths.judge, "paths.judge" if config.key is None else "key")
    public = judge_key(path, "paths.judge" if config.key is None else "key").public_key()
    handed_out = path.with_suffix(".pub.pem")
    write_new({handed_out: public_pem(public)})
    print(f"key:    {keyid(public)}")
    print(f"secret: {path}")
    print(f"public: {handed_out}")
    return 0


VERBS: dict[str, Callable[[VerdictConfig], int]] = {"check": check, "key": key}
"""What `ipr verdict` can be told to do."""
