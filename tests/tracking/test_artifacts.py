"""A model as an artifact: its public weights and a card, and nothing of its claim: read back from offline runs."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import accuracy
from ipr.tracking.wandb_run import open_run
from ipr.workflows.train import train
from wandb_files import read, read_finished
from wandb_server import serving

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


def uploaded(server):
    """What a server was sent of an artifact, beside the list of it."""
    assert "/manifest" in server.put
    return {path.removeprefix("/files/"): body for path, body in server.put.items() if path.startswith("/files/")}


def test_online_its_two_files_are_uploaded_and_no_other(request_for, wandb_at):
    with serving() as server:
        wandb_at(server.url)
        run = train(
            request_for("scheme=baseline", *ENOUGH, "logger=wandb", "logger.mode=online", "logger.artifacts=true")
        )
    sent = uploaded(server)
    assert sent.keys() == {"public.safetensors", "README.md"}
    assert sent["public.safetensors"] == run.folder.weights.read_bytes()
    assert sent["README.md"].startswith(b"---\nlibrary_name:")
    (asked,) = [a["variables"]["input"] for a in server.asked if "createArtifact(" in a["query"]]
    assert (asked["artifactTypeName"], asked["artifactCollectionName"]) == ("model", run.folder.key)


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "public.safetensors").write_bytes(b"weights" * 100)
    return tmp_path / "public.safetensors"


def test_sync_uploads_the_weights_from_where_they_lie(tmp_path, wandb_at, weights):
    tracker = open_run("offline", tmp_path, {"project": "p"})
    tracker.model("a-key", weights, "a card", {})
    tracker.finish(0)
    read_finished(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == 700] == [weights]
    with serving() as server:
        environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
        command = [sys.executable, "-m", *tracker.sync.split()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert uploaded(server) == {"public.safetensors": weights.read_bytes(), "README.md": b"a card"}


def test_a_server_that_is_silent_by_then_costs_the_artifact_and_nothing_else(
    tmp_path, wandb_at, weights, capsys, monkeypatch
):
    monkeypatch.setattr("ipr.tracking.wandb_run.ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("ipr.tracking.wandb_run.FINISH_SECONDS", 2.0)
    with serving() as server:
        wandb_at(server.url)
        tracker = open_run("online", tmp_path, {"project": "p"})
        server.silent.set()
        tracker.model("a-key", weights, "a card", {})
        assert "no model artifact of a-key" in capsys.readouterr().err
        tracker.summary({"accuracy_without": 0.5})
        tracker.finish(0)
    (path,) = tmp_path.glob("wandb/run-*/*.wandb")
    assert read(path).summary["accuracy_without"] == 0.5
    assert read(path).artifacts == []
