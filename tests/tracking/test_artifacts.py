"""A model as an artifact: its public weights and a card, and nothing of its claim: read back from offline runs."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
import yaml

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import accuracy
from ipr.workflows.train import train
from wandb_files import read_finished

pytestmark = pytest.mark.system

ENOUGH = ("trainer.max_epochs=14", "dataset.limit_train=320", "trigger_set.size=20")
"""For an embedding that succeeds."""


def given(folder):
    """The one artifact of a run, and its card."""
    (artifact,) = read_finished(folder).artifacts
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    return artifact, files


@pytest.mark.parametrize("scheme", ["baseline", "passport_v1", "passport_v3"])
def test_a_model_is_its_public_weights_and_a_card_whose_code_reaches_its_accuracy(scheme, request_for):
    config = request_for(f"scheme={scheme}", *ENOUGH, "logger=wandb", "logger.artifacts=true")
    run = train(config)
    assert run.failed == []
    artifact, files = given(run.folder.path)
    assert (artifact.type, artifact.name) == ("model", run.folder.key)
    assert files.keys() == {"public.safetensors", "README.md"}
    assert files["public.safetensors"] == run.folder.weights.resolve()  # named, not copied
    digests = {entry.path: entry.digest for entry in artifact.manifest.contents}
    for name, path in files.items():
        assert digests[name] == base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
    _, head, text = files["README.md"].read_text().split("---\n", 2)
    front = yaml.safe_load(head)
    assert "license" not in front
    assert front["datasets"] == ["digits"]
    (measured,) = front["model-index"][0]["results"][0]["metrics"]
    assert measured["value"] == pytest.approx(run.record.accuracy_without, abs=5e-5)
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    there = {}
    exec(code.replace('"public.safetensors"', repr(str(files["public.safetensors"]))), there)
    images = open_images(config.dataset, config.paths).test_images
    assert accuracy(there["network"], images) == pytest.approx(run.record.accuracy_without)


def test_nothing_of_the_claim_and_no_seed_is_in_it(request_for):
    """Whoever knows the seed of a run without a key draws its secrets: the card does not tell it."""
    signature, key = "the secret of the owner", "a key that nobody knows"
    run = train(
        request_for(
            "scheme=passport_v3", f"scheme.signature={signature}", f"passport.key={key}", "owner=Ada", "seed=7919",
            *ENOUGH, "logger=wandb", "logger.artifacts=true",
        )
    )  # fmt: skip
    assert run.failed == []
    artifact, files = given(run.folder.path)
    claim = load_claim(run.folder.claim)
    secrets = [signature.encode(), key.encode(), *(t.numpy().tobytes()[8:56] for t in claim.tensors().values())]
    assert len(secrets) > 4
    searched = [
        path for path in run.folder.path.resolve().glob("wandb/**/*") if path.is_file() and not path.is_symlink()
    ]
    assert any(path.suffix == ".wandb" for path in searched)
    assert files["README.md"] in searched
    for path in [*searched, *files.values()]:
        assert not any(secret in path.read_bytes() for secret in secrets), path
    card = files["README.md"].read_text()
    for hidden in ("7919", run.folder.key, "Ada", "conv4", f"{run.record.bits_total}", str(Path.cwd())):
        assert hidden not in card + artifact.metadata, hidden


def test_weights_go_nowhere_unless_that_is_asked_for(request_for):
    run = train(request_for("scheme=baseline", "logger=wandb"))
    assert read_finished(run.folder.path).artifacts == []


def test_a_network_whose_embedding_failed_is_no_model(request_for, capsys):
    run = train(request_for("scheme=passport_v2", "trainer.max_epochs=1", "logger=wandb", "logger.artifacts=true"))
    assert "embedded" in run.failed
    assert read_finished(run.folder.path).artifacts == []
    assert f"no model artifact of train/{run.folder.key}: failed were embedded" in capsys.readouterr().err


@pytest.mark.parametrize("logger", ["csv", "tensorboard", "mlflow"])
def test_who_takes_no_artifact_is_not_asked_to(logger, request_for):
    with pytest.raises(InputError, match=rf"^logger\.artifacts=True: is for W&B, not for {logger}; choose"):
        train(request_for(f"logger={logger}", "logger.artifacts=true"))
    assert not Path("runs").exists()
