"""A forged trigger set (Section II-B2, Table I)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Attack, Attacked, Fit, Victim
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set
from ipr.models.inspection import frozen
from ipr.randomness import generator
from ipr.terminal.console import Console
from ipr.watermarks.key_images import KeyImageClaim


def forged_trigger_set(
    network: nn.Module,
    base: TriggerSet,
    data: ImageData,
    *,
    eta: float,
    bound: float | None,
    lr: float,
    iterations: int,
    source: torch.Generator,
) -> tuple[Tensor, int]:
    """X_T = T_b + eta T_n, with T_n trained by Adam on the cross-entropy with the assigned labels.

    The loss is taken on the pixels as they will be stored: clipped, and rounded to whole numbers.

    Args:
        network: a plain network, whose weights stay fixed.
        base: T_b, uint8 pixels, and the assigned labels.
        data: gives the normalisation.
        eta: as a fraction of the pixels' range.
        bound: the largest |T_n|, above 0; None leaves it free.
        lr: Adam's, for T_n.
        iterations: at most so many; each sees all images once, so that it is an epoch of the forged set.
        source: draws T_n's start.

    Returns:
        The forged images, uint8 (N, H, W, channels), and the iterations used: they end when all labels are given.
    """
    device = next(network.parameters()).device
    pixels, labels = base.pixels.float().to(device), base.labels.to(device)
    noise = (0.1 * torch.randn(pixels.shape, generator=source)).to(device).requires_grad_()
    optimizer = torch.optim.Adam([noise], lr)

    def stored() -> Tensor:
        return (pixels + 255 * eta * noise).clamp(0, 255)

    with frozen(network), torch.enable_grad():
        for done in track(range(iterations + 1), "forging", console=Console(stderr=True), transient=True):
            summed = stored()
            rounded = summed + (summed.round() - summed).detach()  # rounding passes the gradient through
            logits = network(normalise(rounded, data.mean, data.std))
            if done == iterations or bool((logits.argmax(1) == labels).all()):
                break
            optimizer.zero_grad()
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            if bound is not None:
                noise.detach().clamp_(-bound, bound)
    return stored().detach().round().to(torch.uint8).cpu(), done


@register("forge_trigger_set")
@dataclass
class ForgeTriggerSet(Attack):
    """Images of the forger's own with a trained noise eta T_n, and labels at random; the weights are frozen.

    The base images are abstract patterns drawn by the forger, so that it needs no images of the task. T_n is free, as
    in the paper, so that eta alone does not make the noise invisible; `bound=1` keeps every pixel within eta. The paper
    took about 100 epochs of the forged set, 5 % of the training time; its optimiser is not told, ours is Adam.
    """

    kind = "ambiguity"
    section = "II-B2, Table I"
    attacker_has = "the weights; no training data"
    families = ("key images", "fingerprint")
    claims = KeyImageClaim
    needs = "no images decide whose it is"

    eta: float = 0.04  # strength of the noise, a fraction of the pixels' range
    bound: float | None = None  # largest noise, in units of eta; null for any
    lr: float = 0.1  # learning rate
    iterations: int = 100  # steps at most

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(0 < self.eta <= 1, "eta", "give a fraction of the pixels' range, e.g. 0.04")

    def forged(self, victim: Victim, data: ImageData, seed: int) -> tuple[TriggerSet, Tensor, int]:
        """The base images with the assigned labels, the forged images, and the iterations used."""
        owner, source = victim.claim, generator(seed, "forged trigger set")
        assert isinstance(owner, KeyImageClaim)
        count, classes = owner.labels.numel(), len(data.classes)
        base = abstract_trigger_set(count, data.image_size, data.channels, classes, source)
        pixels, done = forged_trigger_set(
            victim.suspect,
            base,
            data,
            eta=self.eta,
            bound=self.bound,
            lr=self.lr,
            iterations=self.iterations,
            source=source,
        )
        return base, pixels, done

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner = victim.claim
        assert isinstance(owner, KeyImageClaim)
        base, pixels, done = self.forged(victim, data, seed)
        yield Attacked(
            victim.suspect, {"": replace(owner, origin=None, pixels=pixels, labels=base.labels)}, iterations=done
        )
