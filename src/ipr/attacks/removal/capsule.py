"""A capsuled service (2208.14127): a filter before the network answers by other means what looks unlike the task."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Attacked, Fit, Victim, example_of
from ipr.attacks.students import CLIP_NORM, StudentAttack, falling
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.data.rows import gathered
from ipr.models.inspection import evaluating, logits_and_features
from ipr.randomness import generator
from ipr.schemes.baseline import Baseline

LOOKED_AT = 1000
"""Images of the attacker's that the filter is made from, at most."""

SCALE = 1000.0
"""Of the numbers that answers are drawn from: images that differ a little get others."""


class Capsule(nn.Module):
    """A network with a filter before it.

    Args:
        network: what answers ordinary images; a copy is kept.
        other: what answers the rest; None for another class than the network's, drawn from the image.
        kind: how an image is told to be ordinary: `confidence` (largest probability), `energy` (log of the summed
            exponentials) or `features` (distance to the nearest mean of a class).
        images: normalised ordinary images, (N, channels, H, W).
        labels: of these, (N,).
        alarms: share of ordinary images, a fraction, that the filter may take for others.
        source: draws what answers are drawn by.
    """

    means: Tensor
    direction: Tensor
    limit: Tensor

    def __init__(
        self,
        network: nn.Module,
        other: nn.Module | None,
        kind: str,
        images: Tensor,
        labels: Tensor,
        alarms: float,
        source: torch.Generator,
    ) -> None:
        super().__init__()
        self.network, self.other, self.kind = copy.deepcopy(network), other, kind
        with evaluating(self.network):
            _, features = logits_and_features(self.network, images)
        self.register_buffer("means", torch.stack([features[labels == label].mean(0) for label in labels.unique()]))
        direction = torch.randn(images[0].numel(), generator=source)
        self.register_buffer("direction", direction.to(images.device))
        with evaluating(self.network):
            strange = self.strangeness(images)[1]
        self.register_buffer("limit", strange.quantile(1 - alarms))

    def strangeness(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The network's logits, (B, classes), and how unlike the task each image looks, (B,): more is stranger."""
        logits, features = logits_and_features(self.network, x)
        if self.kind == "confidence":
            return logits, -logits.softmax(1).amax(1)
        if self.kind == "energy":
            return logits, -logits.logsumexp(1)
        return logits, torch.cdist(features, self.means).amin(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, classes): the network's for ordinary images, else what the filter hands out."""
        logits, strange = self.strangeness(x)
        filtered = (strange > self.limit)[:, None]
        answers = self._drawn(x, logits) if self.other is None else self.other(x)
        return torch.where(filtered, answers, logits)

    def _drawn(self, x: Tensor, logits: Tensor) -> Tensor:
        """A class other than the network's, the same for the same image, as logits."""
        classes = logits.shape[1]
        drawn = (SCALE * (x.flatten(1) @ self.direction)).frac().abs()
        step = 1 + (drawn * (classes - 1)).long().clamp(max=classes - 2)
        return 10.0 * functional.one_hot((logits.argmax(1) + step) % classes, classes).to(logits)


@register("capsule")
@dataclass
class CapsuleAttack(StudentAttack):
    """The victim is put into service behind a filter, which keeps key images from it.

    An image that looks unlike the task's is answered by a network that never saw the mark, trained on the attacker's
    images (`student`, as in `from_scratch`), or by a wrong class drawn from the image. The paper's filter is a trained
    one; ours is a threshold, learned from the attacker's images alone, best from such that the victim was not trained
    on (`transfer`). A network that memorised its key images is sure of them: `confidence` and `energy` let most of them
    pass, where `features` does not. The answers are read as a judge of a service reads them, so this has to do with key
    images alone. What the row calls a success a judge does not: too few answers of a black box are inconclusive, for
    the weights behind the filter hold the mark as before (docs/blackbox.md).
    """

    kind = "removal"
    section = "not in the paper (2208.14127)"
    attacker_has = "the weights and training images of the task; the suspect is served, not given away"
    families = ("key images",)
    served = True
    needs = "its mark is read from weights, which a filter does not change"

    filter: str = "features"  # confidence | energy | features: what tells strange images
    answers: str = "network"  # network | random: what answers them, another network or a wrong class
    alarms: float = 0.05  # share of the attacker's own images that the filter takes for strange, a fraction
    epochs: int = 60  # of the other network's training
    lr: float = 0.1  # learning rate at the start, SGD
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        kinds = ("confidence", "energy", "features")
        self.require(self.filter in kinds, "filter", f"choose among: {', '.join(kinds)}")
        self.require(self.answers in ("network", "random"), "answers", "choose network or random")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network, other = victim.in_use(example_of(data, victim.suspect)), None
        if self.answers == "network":
            other = self.begun(victim, data, seed)
            training = Baseline(other, falling(self.lr, self.weight_decay), len(data.classes))
            fit("capsule", training, epochs=self.epochs, clip_norm=CLIP_NORM)
        chosen = data.trained_on[:LOOKED_AT]
        where = next(network.parameters()).device
        images = normalise(gathered(data.train_pixels, chosen).to(where), data.mean, data.std)
        labels = data.train_labels[chosen].to(where)
        source = generator(seed, "answers of a filter")
        yield Attacked(
            Capsule(network, other, self.filter, images, labels, self.alarms, source).eval(), {"": victim.claim}
        )
