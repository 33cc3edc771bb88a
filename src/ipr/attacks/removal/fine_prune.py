"""Fine-pruning (Liu et al., RAID 2018): what is silent on the attacker's images is cut out, and the rest is tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ipr.attacks.base import Fit, constant_rate, example_of
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData, LabelledImages
from ipr.models.inspection import device_of, evaluating
from ipr.passport.surgery import ConvNorm, find_layers, hooked
from ipr.randomness import generator

SEEN = 10_000
"""Images that activations are averaged over, at most."""

BATCH = 500
"""Images of a pass in which activations are averaged."""


def mean_activations(network: nn.Module, layers: Sequence[ConvNorm], images: LabelledImages) -> dict[str, Tensor]:
    """How active the channels of layers are behind their norm and ReLU: layer -> mean over images and places, (C,).

    Args:
        network: a plain network, left as it was.
        layers: projections with their norms.
        images: what it is shown.

    Returns:
        float64, on the CPU.
    """
    sums = {layer.conv: torch.zeros(layer.channels, dtype=torch.float64) for layer in layers}
    places = dict.fromkeys(sums, 0)

    def watch(layer: ConvNorm) -> torch.utils.hooks.RemovableHandle:
        def after(_: nn.Module, args: object, output: Tensor) -> None:
            first = output.dim() == 4 and output.shape[1] == layer.channels  # maps; else tokens, channels last
            rows = (output.movedim(1, -1) if first else output).flatten(0, -2).relu()
            sums[layer.conv] += rows.float().sum(0).cpu()
            places[layer.conv] += rows.shape[0]

        return network.get_submodule(layer.norm).register_forward_hook(after)

    with evaluating(network), hooked([watch(layer) for layer in layers]):
        for x, _ in images.batches(BATCH, device_of(network)):
            network(x)
    return {name: total / places[name] for name, total in sums.items()}


def silent_channels(activations: Mapping[str, Tensor], ratio: float) -> dict[str, Tensor]:
    """Which channels stay: of each layer all but the least active, and one at least.

    Args:
        activations: layer -> (C,), see `mean_activations`.
        ratio: the share of channels that is cut out, in [0, 1].

    Returns:
        Layer -> 1 for a channel that stays, 0 for one that does not, (C,).
    """
    kept = {}
    for name, activity in activations.items():
        count = min(round(ratio * activity.numel()), activity.numel() - 1)
        kept[name] = torch.ones(activity.numel())
        kept[name][activity.argsort(stable=True)[:count]] = 0
    return kept


class Pruned(Finetuning):
    """Cross-entropy with channels that stay cut out: filter, scale and shift are 0 in every pass.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        layers: whose channels they are.
        kept: layer -> 1 for a channel that stays, 0 for one that does not, (C,).
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        layers: Sequence[ConvNorm],
        kept: Mapping[str, Tensor],
    ) -> None:
        super().__init__(network, recipe, num_classes)
        self.layers = list(layers)
        for number, layer in enumerate(self.layers):
            self.register_buffer(f"kept_{number}", kept[layer.conv].to(device_of(network)), persistent=False)
        self.cut()

    @torch.no_grad()
    def cut(self) -> None:
        """Sets what is cut out to 0, in place: momentum moves it with every step."""
        for number, layer in enumerate(self.layers):
            kept = self.get_buffer(f"kept_{number}")
            for name in (layer.conv, layer.norm):
                for parameter in self.network.get_submodule(name).parameters(recurse=False):
                    parameter.mul_(kept.to(parameter).view(-1, *[1] * (parameter.dim() - 1)))

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c of the pruned network."""
        self.cut()
        return super().terms(x, y)


@register("fine_prune")
@dataclass
class FinePrune(TrainsOn):
    """Channels of the last convolutions that are hardly active on the attacker's images are cut out, and it is tuned.

    The filter of such a channel, and the scale and shift of the norm behind it, are 0 and stay so: a passport's scale
    <W, S> is 0, and its sign says nothing. Activity is the mean behind norm and ReLU, in evaluation mode. Liu et al.
    prune the last convolution until accuracy falls. The ratio is that of Lukas et al. (S&P 2022), who prune the last
    group of a WideResNet; here the last three convolutions, or linear layers, that a norm follows stand for the group.
    """

    section = "not in the paper (Liu et al., RAID 2018)"

    ratio: float = 0.96  # share of a layer's channels that is cut out
    convolutions: int = 3  # how many of the last convolutions are pruned
    epochs: int = 10  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        layers = find_layers(network, example_of(data, network))[-self.convolutions :]
        seen = torch.randperm(data.train_labels.numel(), generator=generator(seed, "seen by pruning"))[:SEEN]
        images = LabelledImages(data.train_pixels[seen], data.train_labels[seen], data.mean, data.std)
        kept = silent_channels(mean_activations(network, layers, images), self.ratio)
        recipe, classes = constant_rate(self.lr, self.weight_decay), len(data.classes)
        tuning = Pruned(network, recipe, classes, layers=layers, kept=kept)
        fit("fine_prune", tuning, epochs=self.epochs, clip_norm=None)
        tuning.cut()
