"""Forging a key of NeuralMark: one that reads whatever hash comes out, as far as weights can tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from ipr.attacks.ambiguity.grind_hash import best_of
from ipr.attacks.base import Attack, Attacked, Fit, Victim
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.randomness import generator
from ipr.schemes.neuralmark import NeuralMarkClaim, filtered, key_bits, pooled

RIDGE = 0.1
"""Added to the diagonal of the normal equations, as a fraction of its mean: noise is not fitted."""

JITTER = 1e-4
"""How far a key is moved for another hash, in its own standard deviations: what it reads of given bits stays."""


def fitted_key(weights: Tensor, count: int, *, rounds: int, size: int, samples: int, source: Generator) -> Tensor:
    """The key that predicts random bits best, in the least squares, from the weights that these bits choose.

    The filter shows its bits: which weights are left, and in which places, depends on them. The fewer weights a layer
    has, the less the averages hide it.

    Args:
        weights: flattened, (N,).
        count: T.
        rounds: R.
        size: k_0 at most; fewer where more than a tenth of the watermarks leave fewer.
        samples: how many random watermarks the key is fitted to.
        source: draws them.

    Returns:
        K, (k_0, T), float32, of standard deviation 1.

    Raises:
        InputError: the filter leaves too few weights.
    """
    watermarks = torch.randint(0, 2, (samples, count), generator=source) * 2 - 1
    left = [filtered(weights.numel(), bits, rounds) for bits in watermarks]
    counts = torch.tensor([one.numel() for one in left])
    size = min(size, int(counts.sort().values[samples // 10]))
    if not size:
        raise InputError("attack.rounds", rounds, f"leaves nothing of {weights.numel()} weights", "give fewer, or 1")
    enough = counts >= size
    seen = torch.stack([pooled(weights.double(), one, size) for one in left if one.numel() >= size])
    normal = seen.T @ seen
    normal.diagonal().add_(RIDGE * normal.diagonal().mean())
    key: Tensor = torch.linalg.solve(normal, seen.T @ watermarks[enough].double())
    return (key / key.std()).float()


@register("forge_neuralmark")
@dataclass
class ForgeNeuralMark(Attack):
    """A key that is fitted to the weights and to random watermarks, and then ground: moved a little for another hash.

    No key can be solved for, as its hash changes with it. But bits can be predicted from the weights that they choose,
    so that a fitted key begins above one half. How far depends on what the forger may choose: the layer, a small one,
    few rounds, many averages.
    """

    kind = "ambiguity"
    section = "not in the paper"
    attacker_has = "the weights; no training data"
    families = ("projection",)
    claims = NeuralMarkClaim
    needs = "no hash chooses its weights"

    layer: str | None = None  # the convolution that the forger claims; null for the owner's
    rounds: int = 1  # of filtering that the forger claims
    pooled: int = 1000  # averages that the forger's bits are read from at most
    samples: int = 4000  # random watermarks that the key is fitted to
    tries: int = 1000  # keys whose hashes are tried

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, source = victim.claim, generator(seed, "fitted key")
        assert isinstance(owner, NeuralMarkClaim)
        layer, convolution = convolution_of(victim.suspect, self.layer or owner.layer)
        weights = convolution.weight.detach().cpu().flatten()
        sizes = {"rounds": self.rounds, "size": self.pooled, "samples": self.samples}
        key = fitted_key(weights, owner.bits.numel(), source=source, **sizes)

        def moved() -> NeuralMarkClaim:
            while True:
                near = key + JITTER * torch.randn(key.shape, generator=source)
                bits = key_bits(near)
                if filtered(weights.numel(), bits, self.rounds).numel() >= key.shape[0]:
                    return replace(owner, origin=None, layer=layer, key=near, bits=bits, rounds=self.rounds)

        best = best_of(self.tries, moved, victim.suspect, data)
        yield Attacked(victim.suspect, {"": best}, iterations=self.tries)
