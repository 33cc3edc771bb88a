"""`ipr.embed`: a passport for a network that is trained already, on images of one's own, and judged at the end."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ipr.claims.recorded_images import recorded_of
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.data.preprocessing import Preprocessing
from ipr.digests import digest_of
from ipr.errors import InputError
from ipr.judging.evidence import trigger_reading
from ipr.judging.fidelity import accuracy, largest_class
from ipr.judging.verdict import judge
from ipr.machine.device import device_for, now
from ipr.models.inspection import device_of, evaluating, logits_of
from ipr.models.known import named_model
from ipr.own.loaders import Numbers, OwnImages, check_batch, first_images, own_images, without_module
from ipr.own.protected import Protected
from ipr.passport.claim import PassportClaim
from ipr.passport.last_layers import last_layers
from ipr.passport.layer import Branch
from ipr.passport.surgery import find_layers, strip
from ipr.requests.compose import configuration
from ipr.schemes.base import Scheme
from ipr.schemes.passport import PassportScheme
from ipr.schemes.start import example_image
from ipr.terminal.console import Console
from ipr.training.guards import check_weights
from ipr.training.loop import Training, prepared
from ipr.workflows.draw_claim import checked
from ipr.workflows.embedding_checks import embedding_of, failed
from ipr.workflows.request import KEYLESS, check, is_keyless, scheme_of, with_per_step
from ipr.workflows.train_record import record_of
from ipr.world import own_world

SCHEMES = ("passport_v1", "passport_v2", "passport_v3")

OWN = "own"
"""The model's name in a record, where no name that a judge knows builds the network: its claim names no model."""

GIVEN = "<a network>"
"""What `init` says of a network that is given."""


@own_world()
def embed(
    network: nn.Module,
    loader: Any,
    scheme: str = "passport_v2",
    *,
    owner: str = "",
    key: str | None = None,
    test: Any = None,
    epochs: int = 10,
    layers: Sequence[str] | None = None,
    normalised: Numbers | None = None,
    optimizer: Callable[[list[nn.Parameter]], OptimizerLRScheduler] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    settings: Sequence[str] = (),
) -> Protected:
    """Embeds a passport into a trained classifier, goes on with its training, and judges what came of it.

    Args:
        network: convolutions and batch or group norms; it answers with logits, (B, classes). Left as it was.
        loader: what it is trained on: a DataLoader, Dataset or LightningDataModule of (image, label), images as the
            network takes them, augmented as you like.
        scheme: `passport_v1`, `passport_v2` or `passport_v3`.
        owner: your name; it stands in the claim.
        key: your secret, `file:PATH`, `env:NAME` or the text itself. None draws the secrets from the seed, which
            anybody can try, and says so on stderr: for research only.
        test: images to judge on, likewise, without augmentation. None takes the module's, or holds out a tenth.
        epochs: how long.
        layers: names of convolutions, or of modules that hold them; None for the last five.
        normalised: mean and deviation of each channel that pixels were normalised with, where no transform tells.
        optimizer: makes an optimiser of the parameters, or what Lightning's `configure_optimizers` may return; None
            for the command line's.
        loss: of logits and labels, a mean; None for cross entropy.
        settings: whatever else `ipr train` can be told: `"optimizer.lr=0.01"`, `"seed=1"`.

    Returns:
        The protected network, its claim, what was measured, and whether the embedding succeeded.

    Raises:
        InputError: something does not fit; it is named.
    """
    layers = [layers] if isinstance(layers, str) else layers
    config = _asked(scheme, owner, key, epochs, [settings] if isinstance(settings, str) else settings)
    loader, test = without_module(loader, test)
    begun = copy.deepcopy(network).cpu().train()  # a trained network often is in evaluation mode
    images = own_images(loader, test, normalised, _outputs(begun, loader))
    config, data = _with_images(config, begun, images, layers)
    return _embedded(begun, images, data, config, optimizer, loss)


HELD_OUT = "no test images were given: {} of those to train on are held out, which the network may know from before"


def _embedded(
    network: nn.Module,
    images: OwnImages,
    data: ImageData,
    config: TrainConfig,
    optimizer: Callable[[list[nn.Parameter]], OptimizerLRScheduler] | None,
    loss: Callable[[Tensor, Tensor], Tensor] | None,
) -> Protected:
    if images.held_out:
        Console(stderr=True).say(HELD_OUT.format(images.test.labels.numel()))
    if is_keyless(config):
        Console(stderr=True).say(f"ipr: warning: {KEYLESS.format('key')}")
    claim, device = _claim(network, config, data, images.preprocessing), device_for(config.trainer.accelerator)
    before = accuracy(copy.deepcopy(network).to(device), images.test)
    trained = _class(config).around(network, config, data, claim)
    trained.optimizer_of, trained.criterion = optimizer, loss or trained.criterion
    started = now(device)
    _fit(trained, images, data, config)
    return _judged(trained.network, claim, before, images, data, config, now(device) - started)


def _asked(scheme: str, owner: str, key: str | None, epochs: int, settings: Sequence[str]) -> TrainConfig:
    """What the command line would ask for, with a signature that is bound to owner and passport."""
    if scheme not in SCHEMES:
        raise InputError("scheme", scheme, "is no passport scheme", f"choose among: {', '.join(SCHEMES)}")
    signed = any(word.startswith("scheme.signature=") for word in settings)
    words = [f"scheme={scheme}", "dataset=image_folder", "logger=csv", f"trainer.max_epochs={epochs}"]
    words += [] if signed else ["scheme.bound=true"]
    words += [] if key is None else [f"passport.key={key}"]
    config = configuration("train", *words, *settings)
    if config.passport.name != "random":
        problem = "needs images of the command line"
        raise InputError("passport", config.passport.name, problem, "choose random, or use `ipr train init=FILE`")
    return replace(config, init=GIVEN, owner=owner)


def _class(config: TrainConfig) -> type[PassportScheme]:
    found = scheme_of(config)
    assert issubclass(found, PassportScheme)
    return found


def _outputs(network: nn.Module, given: Any) -> int:
    """How many classes a network tells apart: the outputs of its answer to the first batch."""
    x = first_images(given)
    with evaluating(network):
        return int(logits_of(network, x[:1].to(device_of(network))).shape[1])


def _with_images(
    config: TrainConfig, network: nn.Module, images: OwnImages, layers: Sequence[str] | None
) -> tuple[TrainConfig, ImageData]:
    """The request and the images as everything behind them takes them: the layers named, sizes filled in."""
    shape = images.test.pixels.shape
    if shape[1] != shape[2]:
        problem = "are not square: a judge's are"
        raise InputError("test", f"<images of {shape[1]} x {shape[2]} pixels>", problem, "crop them to a square")
    one = images.test.pixels[:1]
    data = ImageData(
        one.expand(images.count, -1, -1, -1),  # nothing is trained on these: they give a size and an example
        torch.zeros(images.count, dtype=torch.int64),
        images.test.pixels,
        images.test.labels,
        images.classes,
        images.test.mean,
        images.test.std,
        digest_of({}, {"pixels": images.test.pixels, "labels": images.test.labels}),
    )
    sizes = {"channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes)}
    named = named_model(network, **sizes) or {"name": OWN}
    chosen = list(layers) if layers is not None else last_layers(find_layers(network, example_image(data)), network)
    config = replace(
        config,
        model=replace(config.model, passport_layers=chosen, watermark_layer=chosen[-1], **named),
        scheme=replace(config.scheme, layers=chosen),  # type: ignore[call-arg]
        dataset=replace(config.dataset, image_size=data.image_size),
        optimizer=replace(config.optimizer, batch_size=min(images.batch_size, images.count)),
    )
    check(config)
    return with_per_step(config, data), data


def _claim(network: nn.Module, config: TrainConfig, data: ImageData, read: Preprocessing | None) -> PassportClaim:
    """The secrets, and what a judge needs beside them: how images are read, what builds the network."""
    claim = checked(lambda: _class(config).secrets_for(network, config, data, lambda: network), config, data)
    assert isinstance(claim, PassportClaim)
    claim = replace(claim, images=None if read is None else recorded_of(data, read))
    if config.model.name != OWN:
        return claim
    return replace(claim, architecture={name: value for name, value in claim.architecture.items() if name != "model"})


class _Given(L.LightningDataModule):
    """Batches as somebody's loader gives them, each checked before it goes to the device."""

    def __init__(self, batches: Iterable[Any], outputs: int) -> None:
        super().__init__()
        self.batches, self.outputs = batches, outputs

    def train_dataloader(self) -> Iterable[Any]:
        return self.batches

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        check_batch(batch, self.outputs)
        return batch


def _fit(scheme: Scheme, images: OwnImages, data: ImageData, config: TrainConfig) -> None:
    trainer, recipe = config.trainer, config.optimizer
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "last.ckpt"
        length, clip = trainer.max_epochs, recipe.clip_norm
        training = Training(scheme, trainer, config.dataset, recipe.batch_size, length, clip, config.seed, kept, None)
        with prepared(training, data, [], None, batches=_Given(images.train, len(images.classes))) as fit:
            fit()
    check_weights(scheme, trainer.max_epochs)


def _judged(
    network: nn.Module,
    claim: PassportClaim,
    before: float,
    images: OwnImages,
    data: ImageData,
    config: TrainConfig,
    seconds: float,
) -> Protected:
    """The network as it is given away, judged with its claim."""
    device = device_for(config.trainer.accelerator)
    suspect, started = strip(network, Branch.PUBLIC).to(device), now(device)
    limits = replace(claim.thresholds, target_accuracy=None)
    verdict = judge(suspect, replace(claim, thresholds=limits), images.test, forged=config.verification.forged)
    claim = replace(claim, thresholds=replace(limits, target_accuracy=verdict.fidelity.accuracy))
    took = now(device) - started
    record = record_of(config, data, "embed", suspect, verdict.accuracy_without, verdict, seconds, took)
    checks = embedding_of(
        replace(record, init=GIVEN),
        chance=largest_class(images.test),
        triggers=None if verdict.trigger_accuracy is None else trigger_reading(claim, verdict.trigger_accuracy),
        before=before,
        per_step=config.trigger_set.per_step,
        steps=_class(config).steps(config, data),
    )
    record = replace(record, consistent=not failed(checks))
    return Protected(network.cpu(), claim, record, checks, before, images.test)
