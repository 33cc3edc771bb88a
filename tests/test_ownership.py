"""docs/ownership.md from its first line to its last: a train, a theft, a dispute, and claims that are refused.

A real authority stamps, a real server answers, and the release is the moment after Ada's stamp: what forgers have
stamped comes later by itself.
"""

import json
import re
import shlex
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ipr.claims.commitment import load_commitment
from ipr.claims.stamp import stamped
from served import serving_onnx
from stamp_authority import OPENSSL, Authority, issue, serving

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")

PAGE = (Path(__file__).parents[1] / "docs" / "ownership.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
QUICKER = {
    "train": ["logger=csv", "trainer.progress_bar=false", "trainer.accelerator=cpu"],
    "calibrate": ["networks=3", "wrong=60", "rate=0.1", "copies=1", "trainer.max_epochs=4"],
    "verify": ["rule.networks=3", "forged=5"],
    "dispute": ["forged=5"],
}
CODES = {"not verified": 1, "inconclusive": 3}


@pytest.mark.system
def test_the_dispute(ipr, mlserver, tmp_path):
    served, digests, seen, released = {}, {}, [], ""
    with ExitStack() as servers:
        root = issue("Root", ca=True)
        Path("authority.pem").write_bytes(root.pem)
        Path("ada.key").write_text("a secret of her own\n")
        authority = Authority(tmp_path / "authority", issue("Stamps, Inc.", root), [])
        server = servers.enter_context(serving(lambda handler, body: handler.give(authority.stamp(body))))
        served["authority"] = server.url
        for language, text in BLOCKS:
            if language == "python":
                exec(compile(text, "ownership.md", "exec"), {})
                continue
            for line in text.splitlines():
                command, _, expected = line.partition(" # ")
                words = shlex.split(command)
                if words[:2] == ["make", "serve"]:
                    model, name = (word.partition("=")[2] for word in words[2:])
                    served[name] = servers.enter_context(serving_onnx(mlserver, Path(model).absolute(), name, tmp_path))
                    continue
                assert words[0] == "ipr"
                if words[1] == "export" and not released:
                    released = moment_after_the_stamp()
                arguments = [filled(word, served) for word in words[2:]] + QUICKER.get(words[1], [])
                arguments = [word.replace("RELEASED", released) for word in arguments]
                claim = next((word for word in arguments if word.startswith("claim=")), "")
                arguments = [word.replace("DIGEST", digests.get(claim, "")) for word in arguments]
                outcome = ipr(words[1], *arguments)
                assert outcome.code == CODES.get(expected, 0), (command, outcome.out, outcome.err)
                if words[1:3] == ["claim", "commit"]:
                    (digests[claim],) = re.findall(r"\b[0-9a-f]{64}\b", outcome.out)
                if words[1] == "verify":
                    seen.append(failing(outcome.out))
                if words[1] == "dispute":
                    assert "claim 1 (Ada) stands." in outcome.out
    assert seen == [
        set(), set(), {"commitment", "network"},  # Ada: by answers, by the file, and without a date
        {"signature", "fidelity", "network"}, set(),  # turned and permuted, then matched to her own weights
        set(), {"commitment", "drawn secrets", "network"}, {"commitment", "drawn secrets"},
        # Mallory: by the paper, undated, late
        {"commitment", "drawn secrets", "fidelity", "network"},  # Oscar
        {"commitment", "drawn secrets"},  # Trudy
        {"trigger set"}, {"commitment", "fidelity", "signature", "network"},  # Bob's network
    ]  # fmt: skip
    assert len(server.asked) == 2
    given = [Path("model.safetensors"), Path("model.safetensors.json"), *Path("calibration").rglob("*.*")]
    given += Path("runs/verdicts").rglob("*.*")
    assert len(given) >= 16
    for path in given:
        content = path.read_bytes()
        assert not [name for name, secret in secrets_of_ada() if secret in content], path


def moment_after_the_stamp():
    """When Ada gives her network away: the first whole second that is surely later than her stamp, and has begun."""
    (folder,) = Path("ada/train").glob("passport_v3-*")
    claim = folder / "claim"
    stamp = stamped(claim, load_commitment(claim).digest, Path("authority.pem"))
    after = stamp.time.replace(microsecond=0) + timedelta(seconds=1)
    time.sleep(max(0.0, (after - datetime.now(UTC)).total_seconds()))
    return after.isoformat()


def filled(word, served):
    """A word of the page with the runs and addresses that stand for its placeholders."""
    for name, scheme in (("ada", "passport_v3"), ("bob", "baseline")):
        if f"{name}/train/KEY" in word:
            (folder,) = Path(name, "train").glob(f"{scheme}-*")
            word = word.replace(f"{name}/train/KEY", f"{name}/train/{folder.name}")
    if "http://127.0.0.1:3161" in word:
        word = word.replace("http://127.0.0.1:3161", served["authority"])
    if found := re.search(r"http://127.0.0.1:8080/v2/models/(\w+)", word):
        word = word.replace(found[0], served[found[1]])
    return word


def secrets_of_ada():
    """What nobody else may see, as bytes: her key, the nonce, and the beginning of every tensor of her claim."""
    (folder,) = Path("ada/train").glob("passport_v3-*")
    yield "passport.key", b"a secret of her own"
    yield "binding", json.loads((folder / "claim" / "claim.json").read_text())["binding"].encode()
    for name, tensor in load_file(folder / "claim" / "secrets.safetensors").items():
        yield name, tensor.numpy().tobytes()[:64]


def failing(out):
    """The required conditions that do not hold, by the document of the verdict that was just written."""
    (folder,) = re.findall(r"written: (.+)", out)
    verdict = json.loads((Path(folder) / "verdict.json").read_text())
    return {one["name"] for one in verdict["conditions"] if one["required"] and one["holds"] is not True}
