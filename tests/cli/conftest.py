"""What the tests of the command line share."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest
import yaml

from ipr import configuration
from ipr.cli import main
from ipr.config.schema import TrainConfig
from trained import made_once, trained_once

TINY = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=96", "dataset.limit_test=40",
    "optimizer.batch_size=32", "trainer.max_epochs=1", "trainer.progress_bar=false", "trainer.accelerator=cpu",
    "verification.forged=3", "logger=csv", "passport=random", "trainer.checkpoint_seconds=0",
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """A training of a second."""
    return TINY


@functools.cache
def _asked(arguments: tuple[str, ...]) -> TrainConfig:
    return configuration("train", *arguments)


@pytest.fixture
def run_of(cache, monkeypatch, trained):
    """The run that `ipr train ARGUMENTS` leaves in the working folder; it is trained once a test run, and copied."""
    monkeypatch.setenv("IPR_CACHE", str(cache))

    def of(*arguments: str) -> Path:
        return trained(_asked(arguments)).folder.path

    return of


@pytest.fixture
def run_folder():
    """The one run folder of a scheme."""

    def find(scheme: str, runs: str = "runs") -> Path:
        (folder,) = Path(runs).glob(f"train/{scheme}-*")
        return folder

    return find


STUDY = {
    "title": "Mine", "question": "Is it kept?", "source": "here",
    "sweeps": [
        {"scheme": ["passport_v1"]},
        {"scheme": ["passport_v1"], "attack": ["prune", "fake2"]},
        {"scheme": ["passport_v1"], "exhibit": ["distributions"]},
        {
            "scheme": ["uchida"], "attack": ["finetune"], "transfer": ["cifar100"], "rival": "forge_uchida",
            "exhibit": ["watermark_distributions"],
        },
    ],
    "statements": [{"name": "bits_are_there", "says": "All.", "value": "mark", "at_least": 0.0}],
}  # fmt: skip
SMALL = (
    "logger=csv", "model.width=0.0625", "trainer.max_epochs=1", "dataset.limit_train=64", "dataset.limit_test=20",
    "optimizer.batch_size=32", "trainer.progress_bar=false",
)  # fmt: skip


@pytest.fixture(scope="session")
def made_store(shared, cache) -> Path:
    """A study that was run: its file, and `runs` with it; the victim of one attack, and a baseline, are no cells."""

    def make(place: Path) -> None:
        (place / "mine.yaml").write_text(yaml.safe_dump(STUDY))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setenv("IPR_CACHE", str(cache))
            patch.setattr("sys.argv", ["ipr"])
            with pytest.raises(SystemExit) as stopped:
                main(["reproduce", "study=mine.yaml", *SMALL])
        assert stopped.value.code == 0

    return made_once(shared / "study", make)


@pytest.fixture
def store(made_store, tmp_path) -> tuple[str, ...]:
    """A copy of that store in the working folder; how its study is reproduced."""
    shutil.copytree(made_store, tmp_path, dirs_exist_ok=True)
    return ("reproduce", "study=mine.yaml", *SMALL)


@pytest.fixture(scope="session")
def made_owner(shared, cache) -> Path:
    """A V3 network of seconds whose marks are all there, and its owner's claim: `public.safetensors` and `claim`."""
    asked = [a for a in TINY if not a.startswith(("dataset.limit_train", "trainer.max_epochs"))]
    asked += ["trainer.max_epochs=6", "trigger_set.size=40", "trigger_set.per_step=4", f"paths.cache={cache}"]
    config = configuration("train", *asked, "scheme=passport_v3", "scheme.signature=hush", *OWN)
    (folder,) = trained_once(shared, config).glob("train/*")
    return folder


@pytest.fixture
def owner(made_owner, tmp_path) -> tuple[str, ...]:
    """A copy of that run as `owned` in the working folder; how `ipr verify` is asked about it, by the paper's rule."""
    shutil.copytree(made_owner, tmp_path / "owned")
    return ("verify", "suspect=owned/public.safetensors", "claim=owned/claim", "rule=paper", *JUDGED, LOOSE, "forged=3")


OWN = ("passport.key=of-tests", "verification.fidelity_threshold=0.2")
LOOSE = "rule.fidelity=0.2"
"""On forty images a network of six epochs loses more than three points with its passport, or may."""

JUDGED = ("dataset.image_size=8", "dataset.limit_test=40")
