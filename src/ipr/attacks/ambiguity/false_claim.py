"""False claims (Liu et al., USENIX Security 2024, 2304.06607): by somebody who never saw the network that he claims.

Nothing of such a claim follows from the suspect, so it can be dated years before, and a date is no answer to it. What
it says is true of most networks that are trained for this task. The answer is to ask independent networks
(`judging/calibration.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.attacks.base import EMBEDDING, Attacked, Fit, Victim
from ipr.attacks.students import LonelyAttack
from ipr.claims.base import Claim
from ipr.config.registry import register
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.judging.wrong_claims import kinds_for
from ipr.models.inspection import device_of, frozen
from ipr.passport.claim import PassportClaim
from ipr.randomness import derive_seed, generator
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.key_images import TriggerSetClaim, answers

BATCH = 256
"""Images that are changed together."""


@register("false_claim")
@dataclass
class FalseClaim(LonelyAttack):
    """Networks of the accuser's own, trained on his images, tell him what most networks answer; he claims that.

    `triggers=plain` are ordinary images with their true labels: the cheapest. `triggers=untargeted` and `targeted` are
    changed by less than `epsilon` so that all of his networks but one answer wrongly, with any class or with one drawn
    at random; the one that was left out chooses those that transfer (Liu et al. hold out three of ten). Beside them, as
    far as the scheme has it: `keys=universal`, a projection that no network was looked at for, and
    `passport=elsewhere`, one that is solved for a network of his own.
    """

    kind = "ambiguity"
    section = "none (Liu et al., USENIX Security 2024)"
    attacker_has = "training images of the task, and the claim's date before the release; not the victim"
    families = EMBEDDING
    dated = True

    networks: int = 3  # of the accuser's own, the one left out among them
    images: int = 100  # trigger images claimed
    epsilon: float = 16 / 255  # largest change of a pixel, of a range from 0 to 1
    step: float = 2 / 255  # change of a pixel in one iteration
    iterations: int = 50  # of the changes

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(self.networks >= 2, "networks", "give at least 2, as one is left out")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        own = []
        for number in range(self.networks):
            started = derive_seed(seed, f"reference {number}")
            network = self.trained_alone(f"reference-{number}", victim, data, fit, started)
            own.append(network.float().eval())  # whatever it was trained in
        assert victim.claim is not None
        claims: dict[str, Claim | None] = {}
        for kind in ("plain", "untargeted", "targeted"):
            found = self.triggers(kind, own, data, generator(seed, f"{kind} triggers"))
            claims[f"triggers={kind}"] = _claimed(victim.claim, found, len(data.classes))
        yield Attacked(victim.suspect, claims)
        if more := _of_the_scheme(victim.claim, own, data, seed):  # judged apart from images
            yield Attacked(victim.suspect, more)

    def triggers(self, kind: str, own: Sequence[nn.Module], data: ImageData, source: Generator) -> TriggerSet:
        """The trigger images of a kind that are most sure to be answered as labelled by a network that is not asked.

        Args:
            kind: plain, untargeted or targeted.
            own: the accuser's networks; the last chooses and is not used to change images.
            data: his images.
            source: draws images and targets.
        """
        candidates = torch.randperm(data.train_labels.numel(), generator=source)[: 10 * self.images]
        pixels, true = data.train_pixels[candidates], data.train_labels[candidates]
        labels = true
        if kind == "targeted":
            shift = torch.randint(1, len(data.classes), true.shape, generator=source)
            labels = (true + shift) % len(data.classes)
        if kind != "plain":
            pixels = self._changed(pixels, labels, own[:-1], data, toward=kind == "targeted")
        left_out = LabelledImages(pixels, labels, data.mean, data.std)
        if kind == "untargeted":
            labels = answers(own[0], left_out)
        sure = _confidence(own[-1], pixels, labels, data)
        sure[(labels == true) & (kind != "plain")] = -1.0  # answered rightly all the same
        best = sure.argsort(descending=True, stable=True)[: self.images]
        return TriggerSet(pixels[best], labels[best])

    def _changed(
        self, pixels: Tensor, labels: Tensor, own: Sequence[nn.Module], data: ImageData, *, toward: bool
    ) -> Tensor:
        """Pixels, uint8, within epsilon, that all these networks answer with the labels, or, not `toward`, do not."""
        changed = [
            self._steps(*part, own, data, 1.0 if toward else -1.0)
            for part in zip(pixels.split(BATCH), labels.split(BATCH), strict=True)
        ]
        return torch.cat(changed)

    def _steps(self, pixels: Tensor, labels: Tensor, own: Sequence[nn.Module], data: ImageData, sign: float) -> Tensor:
        where = device_of(own[0])
        start, labels = pixels.to(where, torch.float32), labels.to(where)
        low, high = (start - 255 * self.epsilon).clamp(min=0), (start + 255 * self.epsilon).clamp(max=255)
        found = start.clone()
        with ExitStack() as stack, torch.enable_grad():
            for network in own:
                stack.enter_context(frozen(network))
            for _ in range(self.iterations):
                found.requires_grad_()
                x = normalise(found, data.mean, data.std)
                loss = torch.stack([functional.cross_entropy(network(x), labels) for network in own]).sum()
                (gradient,) = torch.autograd.grad(sign * loss, found)
                found = (found.detach() - 255 * self.step * gradient.sign()).clamp(low, high)
        return found.round().to("cpu", torch.uint8)


def _confidence(network: nn.Module, pixels: Tensor, labels: Tensor, data: ImageData) -> Tensor:
    """The probability that a network gives each image's label, (N,), on the CPU."""
    where, found = device_of(network), []
    with torch.no_grad():
        for part, own in zip(pixels.split(BATCH), labels.split(BATCH), strict=True):
            logits = network(normalise(part.to(where), data.mean, data.std))
            found.append(logits.softmax(1).gather(1, own.to(where)[:, None]).squeeze(1).cpu())
    return torch.cat(found)


def _claimed(owner: Claim, triggers: TriggerSet, classes: int) -> TriggerSetClaim:
    return TriggerSetClaim(
        pixels=triggers.pixels,
        labels=triggers.labels,
        choices=classes,
        thresholds=owner.thresholds,
        architecture=owner.architecture,
    )


def _of_the_scheme(owner: Claim, own: Sequence[nn.Module], data: ImageData, seed: int) -> dict[str, Claim | None]:
    """What a scheme's own kind of claim adds to trigger images: the projection that his networks satisfy best, or a
    passport.
    """
    kinds = kinds_for(owner)
    if isinstance(owner, PassportClaim):
        first = kinds["elsewhere"].drawn(owner, own[0], data, 1, seed)[0]
        return {"passport=elsewhere": first}
    if isinstance(owner, WatermarkClaim) and "universal" in kinds:

        def satisfied(claim: WatermarkClaim) -> float:
            return sum(claim.read(network, data.mean, data.std).agreement for network in own)

        drawn = kinds["universal"].drawn(owner, own[0], data, 4, seed)
        return {"keys=universal": max((one for one in drawn if isinstance(one, WatermarkClaim)), key=satisfied)}
    return {}
