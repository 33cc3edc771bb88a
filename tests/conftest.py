"""Shared by all tests: one thread (steady, and two test processes do not fight), and small networks and data."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from gpu.emulated import emulated, registered
from ipr.cli import main
from ipr.config.schema import TrainConfig
from ipr.config.shipped import shipped
from ipr.data.cache import load_images
from ipr.data.images import ImageData
from ipr.data.sources import DatasetRequest
from ipr.requests.compose import register, typed
from ipr.workflows.train import Run, train
from served import mlserver_environment
from trained import trained_once

# MKL's products round by how matrices lie in memory, on an AMD EPYC at least, unless it is told before its first one
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
registered()  # before the first gradients


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A test after the other goes to whichever process is free, but those with Slurm to one, as there can be one Slurm.

    (`--dist loadgroup` does not group: xdist 3.8 with pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneSlurm(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if nodeid.startswith("tests/cluster/") else nodeid

    return OneSlurm(config, log)


@pytest.hookimpl(tryfirst=True)  # before what is asked for by `-m` is chosen
def pytest_collection_modifyitems(items):
    """Marks as slow what a mark `sampled(n)` leaves out: all but every n-th set of a test's parameters."""
    seen: Counter[str] = Counter()
    for item in items:
        if (mark := item.get_closest_marker("sampled")) is not None:
            test = item.nodeid.partition("[")[0]
            if seen[test] % mark.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[test] += 1


@pytest.fixture(scope="session", autouse=True)
def _judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests judge with a key of their own; what is made for several of them is made with one thread, too."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPR_JUDGE_KEY", str(tmp_path_factory.mktemp("judge") / "judge.pem"))
        yield


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))  # whoever runs the tests may have a login to W&B
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


EMULATED = pytest.param("emulated", marks=pytest.mark.slow)


@pytest.fixture(params=["cpu", EMULATED, *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Each device in turn, as this process's own: the CPU, one that is emulated, and a GPU where there is one."""
    if request.param == "emulated":
        with emulated() as device:
            yield device
    else:
        yield torch.device(request.param)


@pytest.fixture
def accelerator(device: torch.device) -> str:
    """What asks for the device: the value of `trainer.accelerator`."""
    return "cpu" if device.type == "cpu" else "gpu"


@pytest.fixture
def forks_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows whenever torch's generators are set aside; a fork that takes those of all GPUs, too, is an error."""
    plain, forks = torch.random.fork_rng, []

    def only_the_cpus(devices=None, *rest, **more):
        assert devices == [], "it touches every GPU of the machine"
        forks.append(None)
        return plain(devices, *rest, **more)

    monkeypatch.setattr(torch.random, "fork_rng", only_the_cpus)
    return forks


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for cached data sets, shared by a test process."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(cache: Path) -> ImageData:
    """The digits at their own 8x8 pixels."""
    return load_images(DatasetRequest("digits", None, 8, download=False, data_folder=cache), cache)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def trained(shared: Path) -> Callable[[TrainConfig], Run]:
    """`train` for what a test begins with: a network is trained once a test run, copied and found."""

    def copied(config: TrainConfig) -> Run:
        shutil.copytree(trained_once(shared, config), config.paths.runs, symlinks=True, dirs_exist_ok=True)
        return train(config)

    return copied


@pytest.fixture(scope="session")
def mlserver(shared: Path) -> Path:
    """An environment to serve models from (`served.serving_onnx`); the test is skipped where there can be none."""
    return mlserver_environment(shared)


@pytest.fixture
def data() -> ImageData:
    """Random images of 16 pixels, 64 to train and 40 to test."""
    source = torch.Generator().manual_seed(3)
    pixels = torch.randint(256, (104, 16, 16, 3), dtype=torch.uint8, generator=source)
    labels = torch.arange(104) % 10
    classes = tuple(map(str, range(10)))
    return ImageData(
        pixels[:64], labels[:64], pixels[64:], labels[64:], classes, (0.5,) * 3, (0.25,) * 3, "fingerprint"
    )


@pytest.fixture
def wandb_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Points wandb to a server, with a key or without; it reads that once in a session, so sessions end."""
    import wandb

    def point(url: str, *, key: str | None = "0" * 40) -> None:
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("WANDB_API_KEY", key)

    yield point
    wandb.teardown()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def ipr(monkeypatch, capfd, cache):
    """Calls `ipr ARGUMENTS` in an empty folder."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.argv", ["ipr"])

    def call(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capfd.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def request_for(cache, monkeypatch) -> Callable[..., TrainConfig]:
    """What `ipr train ARGUMENTS`, or another command, would ask for, at a size of a second."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    small = [
        "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=128", "dataset.limit_test=40",
        "optimizer.batch_size=32", "trainer.max_epochs=2", "trainer.progress_bar=false", "trainer.accelerator=cpu",
        "verification.forged=3", "logger=csv", "passport=random", "passport.energy=3",  # one for few steps
    ]  # fmt: skip

    def composed(*arguments: str, command: str = "train") -> TrainConfig:
        register(command)
        given = {argument.split("=")[0] for argument in arguments}
        overrides = [s for s in small if s.split("=")[0] not in given] + list(arguments)
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            return typed(compose(command, overrides))

    return composed
