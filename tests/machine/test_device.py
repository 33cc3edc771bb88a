"""The device that a command computes on: chosen in one place, checked, named, waited for."""

from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir

from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.exhibits.timing import clock_of
from ipr.machine.device import ACCELERATORS, JUDGING, check_accelerator, device_for, now, training_device
from ipr.requests.compose import compose, register, typed
from ipr.store.record import hardware
from ipr.workflows.calibrate import calibrate
from ipr.workflows.dispute import requests_of
from ipr.workflows.train import train
from ipr.workflows.verify import verify

GPU = torch.device("cuda")


@pytest.fixture
def at_hand(monkeypatch):
    """A GPU that can be chosen, not computed on."""
    monkeypatch.setattr("ipr.machine.device.gpu", lambda: GPU)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a card called {device}")


@pytest.mark.parametrize("word", ["auto", "gpu", "cuda"])
def test_a_gpu_is_taken_where_there_is_one(at_hand, request_for, word):
    assert device_for(word) == training_device(word) == GPU
    assert device_for(request_for(f"trainer.accelerator={word}").trainer.accelerator).type == "cuda"


def test_the_cpu_is_taken_where_it_is_asked_for_or_all_there_is(at_hand, monkeypatch):
    assert device_for("cpu") == training_device("cpu") == torch.device("cpu")
    monkeypatch.setattr("ipr.machine.device.gpu", lambda: None)
    assert device_for("auto") == torch.device("cpu")


def test_an_apple_gpu_trains_and_judges_nothing(monkeypatch):
    monkeypatch.setattr("ipr.machine.device.gpu", lambda: None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert {training_device(word).type for word in ("auto", "mps")} == {"mps"}
    assert {device_for(word).type for word in ("auto", "mps", "cpu")} == {"cpu"}
    assert training_device("cpu").type == "cpu"
    check_accelerator("trainer.accelerator", "mps")
    with pytest.raises(InputError, match=r"^accelerator=mps: is unknown; choose among: auto, cpu, gpu, cuda$"):
        check_accelerator("accelerator", "mps", JUDGING)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("ipr.machine.device.gpu", lambda: None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for word in ("gpu", "cuda", "mps"):
        with pytest.raises(InputError, match=f"{word}: no GPU is at hand"):
            check_accelerator("trainer.accelerator", word)
    check_accelerator("trainer.accelerator", "auto")
    with pytest.raises(InputError, match=", ".join(ACCELERATORS)):
        check_accelerator("trainer.accelerator", "tpu")


def configuration(command, *arguments):
    register(command)
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return typed(compose(command, list(arguments)))


def test_who_judges_says_on_what_and_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("ipr.machine.device.gpu", lambda: None)
    judged = ("suspect=nowhere", "dataset=digits")
    for command, asked, ask in (
        ("verify", (*judged, "claim=nowhere", "accelerator=gpu"), verify),
        ("calibrate", ("claim=nowhere", "networks=0", "independent=[nowhere]", "trainer.accelerator=gpu"), calibrate),
    ):
        with pytest.raises(InputError, match="accelerator=gpu: no GPU is at hand"):
            ask(configuration(command, *asked))
    disputed = configuration("dispute", *judged, "claims=[a,b]", "accelerator=cpu")
    assert [one.accelerator for one in requests_of(disputed)] == ["cpu", "cpu"]


def test_a_record_names_what_was_used_not_what_is_there(at_hand, request_for):
    assert hardware(GPU, 2) == "a card called cuda, 2 processes"
    assert train(request_for("scheme=baseline", "trainer.max_epochs=1")).record.hardware == hardware(
        torch.device("cpu")
    )


def test_a_clock_waits_for_its_device(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append("cuda"))
    first = now(GPU)
    assert now(GPU) >= first
    assert waits == ["cuda", "cuda"]
    assert clock_of(GPU)() >= first
    assert len(waits) == 3
    now(torch.device("cpu"))
    assert len(waits) == 3


def test_a_network_that_cannot_be_trained_deterministically_is_refused_before_it_is_trained(at_hand, request_for):
    """And leaves nothing behind."""
    asked = ("model=torchvision", "model.name=torchvision:vgg11_bn", "dataset=digits_rgb", "dataset.image_size=32")
    asked += ("scheme=baseline", "model.width=1", "trainer.max_epochs=1", "dataset.limit_train=32")
    with pytest.raises(InputError, match=r"trainer.deterministic=True: torch has no deterministic gradient of avgpool"):
        train(request_for(*asked, "trainer.accelerator=auto"))
    assert not list(Path("runs").rglob("*"))
