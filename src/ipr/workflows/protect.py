"""A passport for a network that is trained already: the run that starts from its weights, beside what it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from torch import nn

from ipr.config.schema import ProtectConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import accuracy, largest_class, percent
from ipr.machine.device import device_for
from ipr.passport.last_layers import last_layers
from ipr.passport.surgery import find_layers
from ipr.schemes.passport import PassportScheme, PassportSchemeConfig
from ipr.schemes.start import TRAINED, example_image, start_digest, start_network
from ipr.workflows.rehearsal import check_no_rehearsal
from ipr.workflows.request import check_ready, scheme_of, with_limit, with_per_step
from ipr.workflows.train import Run, checks_of, train
from ipr.world import own_world

NAMED = "give a weights file, or a training that `ipr list` shows"


@dataclass(frozen=True)
class ProtectedRun:
    """A run that started from a trained network.

    Attributes:
        run: of `train`; its checks tell the network before, too.
        before: accuracy of the network that was given, a fraction, on the run's own test images.
    """

    run: Run
    before: float

    @property
    def costs(self) -> float:
        """How much less accurate the network is than before, as its users have it: a fraction; below 0 for more."""
        return self.before - self.run.record.accuracy_used


@own_world()
def protect_weights(config: ProtectConfig) -> ProtectedRun:
    """The run that `ipr train init=WEIGHTS` makes, found or made, and the accuracy of the network that it starts from.

    Where no layers are named, the last convolutions are protected (`last_layers`).

    Raises:
        InputError: the configuration asks for something that cannot be, or the weights are not of its network, or do
            not know its images.
    """
    asked = _as_training(config)
    with _calling_them_weights(config):
        check_ready(asked)
        start_digest(asked)  # what is no weights file is refused before images are decoded
        data = open_images(asked.dataset, asked.paths)
        asked, before = _measured(asked, data)
        run = train(asked, data)
    checks = checks_of(asked, data, run.record, load_claim(run.folder.claim), before)
    return ProtectedRun(replace(run, checks=checks), before)


def _as_training(config: ProtectConfig) -> TrainConfig:
    """The request as `ipr train` takes it."""
    check_no_rehearsal(config.trainer)
    if not issubclass(scheme_of(config), PassportScheme):
        raise InputError("scheme", config.scheme.name, "is no passport scheme", "choose e.g. passport_v2")
    if config.init is not None:
        raise InputError("init", config.init, "is what weights= says here", "leave it out")
    if config.weights == TRAINED:
        raise InputError("weights", TRAINED, "is for `ipr train init=`, which trains it first", NAMED)
    asked = TrainConfig(**{field.name: getattr(config, field.name) for field in fields(TrainConfig)})
    return replace(asked, init=config.weights)


@contextmanager
def _calling_them_weights(config: ProtectConfig) -> Iterator[None]:
    """Inside, what is wrong with `init` is said of `weights`, as it was typed."""
    try:
        yield
    except InputError as error:
        if error.field != "init":
            raise
        remedy = NAMED if TRAINED in error.remedy else error.remedy  # which is for `ipr train`
        raise InputError("weights", config.weights, error.problem, remedy) from error


def _measured(config: TrainConfig, data: ImageData) -> tuple[TrainConfig, float]:
    """The request as it is carried out, and the accuracy of the network that it starts from."""
    network = start_network(config, data)
    config = with_per_step(with_limit(_with_layers(config, network, data)), data)
    return config, _accuracy_before(network, config, data)


def _with_layers(config: TrainConfig, network: nn.Module, data: ImageData) -> TrainConfig:
    """The same request with its layers named."""
    scheme = config.scheme
    assert isinstance(scheme, PassportSchemeConfig)
    layers = scheme.layers or last_layers(find_layers(network, example_image(data)), network)
    model = replace(config.model, passport_layers=layers, watermark_layer=layers[-1])
    return replace(config, model=model, scheme=replace(scheme, layers=layers))


def _accuracy_before(network: nn.Module, config: TrainConfig, data: ImageData) -> float:
    """Of the network that is given, a fraction; refused where it knows nothing of these images."""
    before = accuracy(network.to(device_for(config.trainer.accelerator)), data.test_images)
    chance = largest_class(data.test_images)
    if before > chance:
        return before
    problem = f"answers {percent(before)} of the test images as labelled; the largest class has {percent(chance)}"
    remedy = "say how its pictures are read (dataset.image_size, resize, mean, std), or train it first"
    raise InputError("weights", config.init, problem, remedy)
