"""What changes weights and no answer: channels in another order, with other signs, with other scales and shifts.

What was written channel by channel is then somewhere else, or reads the opposite, and a passport meets other filters
and statistics.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from ipr.attacks.base import READ_FROM_WEIGHTS, Attack, Attacked, Fit, Victim, example_of, freedom_of
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.models.channels import BATCH_NORMS, Symmetry
from ipr.models.gauge import before_norms, permute, random_order, restate, scale
from ipr.models.inspection import device_of
from ipr.passport.generate import inputs_of
from ipr.randomness import generator
from ipr.schemes.base import Scheme

IMAGES = 64
"""How many images group norms are asked about."""

FELT = 1e-5
"""A group is scaled only if images feel the change of eps by no more than this."""


@dataclass
class SameAnswers(Attack):
    """Uses what may be done to a network without changing its answers (`models/channels.py`).

    In V1 the network in use and the file that was given away, without its passport (`file=locked`), are both attacked.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, and for V1 the distributed passport"
    families = READ_FROM_WEIGHTS
    needs = "its mark is in the answers, which stay as they are"
    undone = True

    @classmethod
    def applies_to(cls, scheme: type[Scheme]) -> bool:
        """See `Applicable.applies_to`: to fingerprints of weights as well."""
        kind = scheme.claim_kind
        of_weights = kind is not None and kind.is_fingerprint and kind.evidence == "signature"
        return of_weights or super().applies_to(scheme)

    @abstractmethod
    def moved(self, network: nn.Module, found: Symmetry, data: ImageData, seed: int) -> Iterator[tuple[str, nn.Module]]:
        """Copies of a network with its answers, each with its point; "" where there is but one.

        Args:
            network: left as it was.
            found: its symmetry.
            data: see `Attack.run`, as `seed`.
            seed: see there.
        """

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example = example_of(data, victim.suspect)
        for held, network in victim.held(example).items():
            for point, suspect in self.moved(network, freedom_of(network, example), data, seed):
                yield Attacked(suspect, {f"{point} {held}".strip(): victim.claim})


def permuted(network: nn.Module, found: Symmetry, source: Generator) -> nn.Module:
    """A copy whose channels are in an order drawn at random, wherever they can be moved (group norm: groups, and
    channels within a group).

    Args:
        network: left as it was.
        found: its symmetry.
        source: draws the order.
    """
    copied = copy.deepcopy(network)
    for channels in found.free:
        permute(copied, channels, random_order(channels, source))
    return copied


@register("permute")
@dataclass
class Permute(SameAnswers):
    """The channels of all layers change places, and the answers stay.

    The rows of each convolution, its norm and the columns of the layers behind it move together; channels that a
    residual stream joins take one order. Costs nothing and needs no data.
    """

    def moved(self, network: nn.Module, found: Symmetry, data: ImageData, seed: int) -> Iterator[tuple[str, nn.Module]]:
        """See `SameAnswers.moved`."""
        yield "", permuted(network, found, generator(seed, "permute"))


def with_flipped_groups(network: nn.Module, found: Symmetry, fraction: float, source: Generator) -> nn.Module:
    """A copy in which some groups of a group norm, or channels of a batch norm, have the other sign before the norm.

    W and the running mean are negated, and so is the scale of the norm, which keeps the answers.

    Args:
        network: left as it was.
        found: its symmetry.
        fraction: of each layer's groups or channels, in [0, 1], chosen at random.
        source: draws them.
    """
    copied = copy.deepcopy(network)
    for segment in before_norms(copied, found):
        count = segment.channels // segment.block
        signs = torch.ones(count)
        signs[torch.randperm(count, generator=source)[: round(fraction * count)]] = -1
        scale(copied, segment, signs.repeat_interleave(segment.block))
    return copied


@register("flip_groups")
@dataclass
class FlipGroups(SameAnswers):
    """Whole groups of a group norm, or channels of a batch norm, change sign before the norm, and the answers stay.

    A scale of the passport is a product with W and changes its sign, so that all bits of these channels are read wrong.
    Costs nothing and needs no data. In the file that V1 gives away the scale of a norm, 1 until then, becomes -1. Not
    to be confused with `flip_signs`, which forges scales and changes no network.
    """

    fractions = ("rates",)

    rates: list[float] = field(default_factory=lambda: [0.5, 1.0])  # shares of the groups that change sign

    def moved(self, network: nn.Module, found: Symmetry, data: ImageData, seed: int) -> Iterator[tuple[str, nn.Module]]:
        """See `SameAnswers.moved`."""
        for rate in self.rates:
            yield f"rate={rate:g}", with_flipped_groups(network, found, rate, generator(seed, f"flip groups {rate}"))


def rescaled(
    network: nn.Module, found: Symmetry, factor: float, shift: float, images: Tensor, source: Generator
) -> nn.Module:
    """A copy with other scales and shifts between its layers, and the same answers.

    Each channel is multiplied by a factor of its own where it is made, and divided by it where it is taken: by the
    columns of the next layer (through ReLU), or by the norm behind a convolution. A group norm takes one factor for
    each group, of 1 or more, as a smaller one would let eps be felt; what all images feel of it is taken from the
    norm's scale, and where they feel it differently (`FELT`) the group is left. The running mean of each batch norm and
    its running variance get other values, and its shift and scale what undoes them.

    Args:
        network: left as it was.
        found: its symmetry.
        factor: the largest; they are drawn from 1 / factor to factor, evenly in the logarithm.
        shift: the standard deviation of what is added to running means, in standard deviations of the channel.
        images: some of the attacker's, (N, C, H, W), normalised; group norms are asked for their variances on them.
        source: draws them.
    """
    copied = copy.deepcopy(network)
    variances = group_variances(network, images)
    for segment in found.segments:
        drawn = 2 * torch.rand(segment.channels // segment.block, generator=source) - 1
        norms = [name for name, _ in segment.takers if name in variances]
        factors = torch.exp(math.log(factor) * (drawn.abs() if norms else drawn))
        for name in norms:
            factors[_felt(copied.get_submodule(name), variances[name]) > FELT] = 1
        scale(copied, segment, factors.repeat_interleave(segment.block))
        for name in norms:
            _account_for_eps(copied.get_submodule(name), factors, variances[name])
    for segment in before_norms(copied, found):
        conv, norm = copied.get_submodule(segment.makers[0]), copied.get_submodule(segment.takers[0][0])
        if isinstance(norm, BATCH_NORMS):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, var = norm.running_mean, norm.running_var
            drawn = torch.randn(mean.shape, generator=source).to(mean)
            other = torch.exp(math.log(factor) * (2 * torch.rand(var.shape, generator=source) - 1)).to(var)
            restate(conv, norm, mean + shift * drawn * (var + norm.eps).sqrt(), var * other)
    return copied


def group_variances(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What group norms divide by, squared and without eps: norm -> (N, G), of each image and group."""

    def variance(norm: nn.GroupNorm, x: Tensor) -> Tensor:
        groups: Tensor = x.unflatten(1, (norm.num_groups, -1)).flatten(2)
        return groups.var(2, unbiased=False).double().cpu()

    norms = [name for name, module in network.named_modules() if isinstance(module, nn.GroupNorm)]
    return inputs_of(network, norms, images, variance)


def _felt(norm: nn.Module, variances: Tensor) -> Tensor:
    """How differently images would feel that eps counts for less, (G,): relative to what is divided, at most."""
    assert isinstance(norm, nn.GroupNorm)
    least, most = variances.amin(0) + norm.eps, variances.amax(0) + norm.eps
    return norm.eps / 2 * (1 / least - 1 / most)


@torch.no_grad()
def _account_for_eps(norm: nn.Module, factors: Tensor, variances: Tensor) -> None:
    """Behind a factor a, a group norm divides by sqrt(var + eps / a^2) in place of sqrt(var + eps)."""
    assert isinstance(norm, nn.GroupNorm)
    variance = variances.median(0).values
    left = (variance + norm.eps / factors.double().square()) / (variance + norm.eps)
    norm.weight.mul_(left.sqrt().repeat_interleave(norm.num_channels // norm.num_groups).to(norm.weight))


@register("rescale")
@dataclass
class Rescale(SameAnswers):
    """Channels get other scales, and running statistics other values, wherever another layer undoes it.

    A private branch, which brings scales and shifts of its own, then meets filters and statistics that it was not
    trained with: fidelity fails, and bits behind the first change are lost. Costs nothing; a few images are needed for
    group norms alone.
    """

    attacker_has = "the weights, a few images, and for V1 the distributed passport"

    factor: float = 8.0  # largest factor of a channel's scale
    shift: float = 1.0  # how far running statistics are moved

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(1 <= self.factor <= 100, "factor", "give 1 to 100, e.g. 8")
        self.require(0 <= self.shift <= 10, "shift", "give 0 to 10, e.g. 1")

    def moved(self, network: nn.Module, found: Symmetry, data: ImageData, seed: int) -> Iterator[tuple[str, nn.Module]]:
        """See `SameAnswers.moved`."""
        images = normalise(data.train_pixels[:IMAGES].to(device_of(network)), data.mean, data.std)
        yield "", rescaled(network, found, self.factor, self.shift, images, generator(seed, "rescale"))
