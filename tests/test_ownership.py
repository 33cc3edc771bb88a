"""docs/ownership.md from its first line to its last: a train, a theft, a dispute, and claims that are refused."""

import json
import re
import shlex
from contextlib import ExitStack
from pathlib import Path

from safetensors.torch import load_file

from served import serving_onnx

PAGE = (Path(__file__).parents[1] / "docs" / "ownership.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
QUICKER = {
    "train": ["logger=csv", "trainer.progress_bar=false", "trainer.accelerator=cpu"],
    "calibrate": ["networks=3", "wrong=60", "rate=0.1", "trainer.max_epochs=4"],
    "verify": ["rule.networks=3", "forged=5"],
}


def test_the_dispute(ipr, mlserver, tmp_path):
    served, digests, seen = {}, {}, []
    with ExitStack() as servers:
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
                arguments = [filled(word, served) for word in words[2:]] + QUICKER.get(words[1], [])
                claim = next((word for word in arguments if word.startswith("claim=")), "")
                arguments = [word.replace("DIGEST", digests.get(claim, "")) for word in arguments]
                outcome = ipr(words[1], *arguments)
                assert outcome.code == (1 if expected == "not verified" else 0), (command, outcome.out, outcome.err)
                if words[1:3] == ["claim", "commit"]:
                    (digests[claim],) = re.findall(r"\b[0-9a-f]{64}\b", outcome.out)
                if words[1] == "verify":
                    seen.append(failing(outcome.out))
    assert seen == [set(), set(), {"fidelity"}, {"commitment"}, {"trigger set"}, {"fidelity", "signature"}]
    given = [Path("model.safetensors"), Path("model.safetensors.json"), *Path("calibration").rglob("*.*")]
    given += Path("runs/verdicts").rglob("*.*")
    assert len(given) >= 16
    for path in given:
        content = path.read_bytes()
        assert not [name for name, secret in secrets_of_ada() if secret in content], path


def filled(word, served):
    """A word of the page with the runs and addresses that stand for its placeholders."""
    if found := re.search(r"(\w+)/train/KEY", word):
        scheme = {"ada": "passport_v3", "bob": "baseline"}[found[1]]
        (folder,) = Path(found[1], "train").glob(f"{scheme}-*")
        word = word.replace("KEY", folder.name)
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
