"""How a training converges: test accuracy, weight updates, scales and shifts, epoch by epoch (Figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ipr.attacks.base import example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.exhibits.distributions import chosen_layer
from ipr.judging.fidelity import accuracy
from ipr.passport.layer import PassportLayer
from ipr.passport.surgery import ConvNorm, find_layers
from ipr.schemes.passport import PassportScheme
from ipr.signature import agreeing_bits, detect


def affine_at(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift that a layer works with, each (C,): the passport's, or an ordinary norm's own."""
    if isinstance(norm, PassportLayer):
        gamma, beta = (part[0] for part in norm.passport_affine())
    else:
        gamma, beta = norm.get_parameter("weight"), norm.get_parameter("bias")
    return gamma.detach(), beta.detach()


class EpochRecorder(L.Callback):
    """Looks at a training at the end of every epoch, and at no other time: nothing in a step waits for the device.

    What was seen is in the checkpoint, so that a resumed training goes on with it. Accuracy in V2 and V3 is that of the
    private branch, whose scales and shifts are watched.

    Args:
        data: the test images.
        layers: all layers whose signs are watched, in the network's order.
        layer: the one whose weights, scales and shifts are watched.
        channels: how many of its channels.
    """

    def __init__(self, data: ImageData, layers: Sequence[ConvNorm], layer: ConvNorm, channels: int) -> None:
        self.images = data.test_images
        self.layers, self.layer, self.channels = layers, layer, channels
        self.epochs: list[dict[str, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with what was seen before an interruption."""
        self.epochs = list(state_dict["epochs"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the weights that the first update starts from."""
        self.before = self._weight(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Records the epoch that ends."""
        network = pl_module.get_submodule("network")
        weight = self._weight(pl_module)
        gamma, beta = affine_at(network.get_submodule(self.layer.norm))
        seen = {
            "accuracy": torch.tensor(accuracy(network, self.images)),
            "weight_update": (weight - self.before).abs().mean().cpu(),
            "scales": gamma[: self.channels].float().cpu(),
            "shifts": beta[: self.channels].float().cpu(),
        }
        if isinstance(pl_module, PassportScheme):
            signs = torch.cat([detect(affine_at(network.get_submodule(layer.norm))[0]) for layer in self.layers])
            wanted = pl_module.wanted_signs()
            seen["bits_agreeing"] = torch.tensor(agreeing_bits(signs, wanted))
            seen["bits_total"] = wanted.count_nonzero().cpu()
        self.before = weight
        self.epochs.append(seen)

    def _weight(self, pl_module: L.LightningModule) -> Tensor:
        weight: Tensor = pl_module.get_parameter(f"network.{self.layer.conv}.weight").detach().float().clone()
        return weight


def quarter(epochs: int) -> int:
    """How many epochs a quarter of a training has, at least 1."""
    return max(1, epochs // 4)


def mean_change(values: Tensor) -> float | None:
    """The mean absolute change from one epoch to the next; None where there is but one.

    Args:
        values: (epochs, channels).
    """
    return float(values.diff(dim=0).abs().mean()) if values.shape[0] > 1 else None


def final_from(agreeing: Sequence[bool]) -> int | None:
    """The first epoch (from 1) from which on all is as it stays to the end; None where the last is not."""
    if not agreeing or not agreeing[-1]:
        return None
    return next(i for i in range(len(agreeing), 0, -1) if i == 1 or not agreeing[i - 2])


@register("convergence")
@dataclass
class Convergence(Exhibit):
    """A training as `ipr train` would do it, in this exhibit's folder, watched at the end of every epoch.

    For the baseline, scale and shift are the norm's own. The weight update is the mean |W_e - W_(e-1)| of the watched
    layer from one epoch's end to the next (the paper does not say what its panel (b) shows).

    Arrays: `accuracy` and `weight_update` (epochs,), `scales` and `shifts` (epochs, channels).
    Facts: a row an epoch with `epoch` (from 1), `test_accuracy`, `weight_update`, and for a passport `bits_agreeing`
    and `bits_total` over all layers; one row `summary` = `training` with `layer`, `final_accuracy`, `accuracy_std_last`
    (over the last quarter of the epochs), `scale_change_first` and `scale_change_last` (mean |change| of a scale from
    one epoch to the next within the first and last quarter), `scale_change_ratio` (last to first), and `signs_final`,
    the epoch from which on all bits agree; None where something does not apply.
    """

    source = "Figure 9"
    families = ("none", "passport")
    needs = "the scheme has no passport, nor is it what a passport is compared with"
    opens = "training"

    layer: str | None = None  # a passport layer; null for the middle one
    channels: int = 10  # how many scales and shifts are followed

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        layers = find_layers(opened.suspect, example_of(opened.data, opened.suspect), opened.layers)
        layer = chosen_layer(layers, self.layer)
        recorder = EpochRecorder(opened.data, layers, layer, self.channels)
        opened.train(recorder)
        seen = {name: torch.stack([one[name] for one in recorder.epochs]) for name in recorder.epochs[0]}

        facts: list[Fact] = []
        for epoch, one in enumerate(recorder.epochs, 1):
            row: Fact = {"epoch": epoch, "test_accuracy": float(one["accuracy"])}
            row["weight_update"] = float(one["weight_update"])
            facts.append(row | {name: int(one[name]) for name in ("bits_agreeing", "bits_total") if name in one})
        last = quarter(len(recorder.epochs))
        first_change, last_change = mean_change(seen["scales"][: last + 1]), mean_change(seen["scales"][-last - 1 :])
        bits = [bool(one["bits_agreeing"] == one["bits_total"]) for one in recorder.epochs if "bits_total" in one]
        summary: Fact = {"summary": "training", "layer": layer.conv, "final_accuracy": float(seen["accuracy"][-1])}
        summary["accuracy_std_last"] = float(seen["accuracy"][-last:].std()) if last > 1 else None
        summary |= {"scale_change_first": first_change, "scale_change_last": last_change}
        summary["scale_change_ratio"] = last_change / first_change if first_change and last_change is not None else None
        summary["signs_final"] = final_from(bits)
        return Contents(
            {name: seen[name].float() for name in ("accuracy", "weight_update", "scales", "shifts")}, [*facts, summary]
        )
