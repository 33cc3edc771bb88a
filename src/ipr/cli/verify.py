"""`ipr verify`."""

from __future__ import annotations

from pathlib import Path

from ipr.cli import loading
from ipr.config.schema import VerifyConfig
from ipr.terminal.console import Console

EXIT_CODES = {"verified": 0, "not verified": 1, "inconclusive": 3}
"""2 stays for what could not be judged."""


def execute(config: VerifyConfig) -> int:
    """Judges a claim on a suspect, tells it and writes it down; 0 if it is verified, 1 if not, 3 if inconclusive."""
    with loading():
        from ipr.judging.signing import keyid, load_key
        from ipr.reports.signed_verdict import sign_verdict
        from ipr.reports.terminal import decision_table, finding_table, reasons
        from ipr.reports.verdict_page import write_verdict
        from ipr.workflows.verify import verify

    key = None if config.sign is None else load_key(Path(config.sign), "sign")  # before anything is asked
    judgement = verify(config)
    folder = write_verdict(judgement, Path(config.out) if config.out else None, Path(config.paths.runs))
    console = Console()
    console.print(finding_table(judgement))
    console.print(decision_table(judgement.decision))
    console.say(f"written: {folder}")
    if key is not None:
        path, who = sign_verdict(folder, key), keyid(key.public_key())
        console.say(f"signed:  {path} with the key {who}")
    for line in reasons(judgement.decision):
        console.say(line)
    console.print(judgement.decision.outcome)
    return EXIT_CODES[judgement.decision.outcome]
