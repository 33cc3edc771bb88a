"""The control of a verdict: what forgers reach who train nothing, beside what the claim reaches.

Random passports (fake1) say how hard it is to guess blindly, and no forger does that. So those are tried as well that
the weights suggest: `passport/guesses.py` says why each works. All are presented in one pass with the claim.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ipr.config.rule import SOUND, Rule
from ipr.data.images import LabelledImages, balanced_subset
from ipr.judging.conditions import Condition
from ipr.judging.decision import Decision, decide
from ipr.judging.evidence import from_weights
from ipr.judging.fidelity import largest_class
from ipr.judging.verdict import Verdict, claim_of_signs, forged_at_random, judge_claims
from ipr.passport.accessory import AccessoryClaim
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import SIGNS, lifted_passport, ones_passport, positive_passport, singular_passport
from ipr.passport.lift import public_scales
from ipr.passport.surgery import Passport, find_layers
from ipr.randomness import generator

IMAGES = 60
"""With so many of the images that are judged on a forger chooses among guesses."""

POSITIVE = 3
"""How many passports that are not negative are tried."""

BEHIND = 10
"""How many random passports are presented through a claim's own accessory, where it has one."""

SAYS = {
    "random": "random",
    "ones": "ones",
    "positive_noise": "positive noise",
    "singular_vectors": "singular vectors",
    "lifted": "lifted",
    "accessory": "random behind the claim's own accessory",
}
"""The kinds of forgeries, and what each is called where they are told."""


@dataclass(frozen=True)
class Control:
    """What the forgeries of one kind came to.

    Attributes:
        kind: a name in `SAYS`.
        tried: how many were judged.
        best, mean: the best accuracy with any of them presented, and the mean; fractions.
        consistent: how many of them are consistent with the suspect under the rule, dates apart.
        shared: the largest share of the claim's own bits that any of them spells, a fraction.
    """

    kind: str
    tried: int
    best: float
    mean: float
    consistent: int
    shared: float


def forgeries(
    suspect: nn.Module, claim: PassportClaim, images: LabelledImages, *, random: int = 50, seed: int = 0
) -> dict[str, list[PassportClaim]]:
    """Claims of forgers who hold the suspect's weights and `IMAGES` images, and train nothing; kind -> claims.

    Each claims the signature that its passport spells. `ones`, `positive_noise` and `random` have the energies |S| of
    the claimed passport; `singular_vectors` chooses among their mean, a third of it and ten thirds. That errs on the
    forger's side, and so do the images, which are judged on afterwards. `accessory` are random passports behind what
    the claim's own scales pass through, where there is such: would they serve as well, the passport would say nothing.

    Args:
        suspect: a plain network; left as it was.
        claim: the claim that they rival; its signature and passport are used for nothing else.
        images: what is judged on.
        random: how many random passports.
        seed: draws.

    Raises:
        InputError: the claim brings scales, which have no energy, or names layers that the suspect lacks.
    """
    example = next(images.batches(1, next(suspect.parameters()).device))[0]
    blind = forged_at_random(suspect, claim, example, random, seed)
    layers, genuine = find_layers(suspect, example, claim.layers), claim.energies(suspect)
    source = generator(seed, "control")
    kept = balanced_subset(images.labels, min(IMAGES, images.labels.numel()), "control")
    few = LabelledImages(images.pixels[kept], images.labels[kept], images.mean, images.std)
    start = with_energy(random_passport(layers, source), suspect, 1.0)  # so that no mean patch is 0 where a shift is
    mean = float(torch.stack(list(genuine.values())).mean())
    guesses: dict[str, list[Passport]] = {
        "ones": [with_energy(ones_passport(layers, signs), suspect, genuine) for signs in SIGNS],
        "positive_noise": [with_energy(positive_passport(layers, source), suspect, genuine) for _ in range(POSITIVE)],
        "singular_vectors": [singular_passport(suspect, layers, few, [mean / 3, mean, 10 * mean / 3], source)],
        "lifted": [lifted_passport(public_scales(suspect, layers), suspect, layers, start)],
    }
    claimed = {
        kind: [claim_of_signs(claim.forged(passport=passport), suspect) for passport in passports]
        for kind, passports in guesses.items()
    }
    if isinstance(claim, AccessoryClaim):
        others = (with_energy(random_passport(layers, source), suspect, genuine) for _ in range(BEHIND))
        claimed["accessory"] = [claim_of_signs(claim.insiders(passport=one), suspect) for one in others]
    return {"random": blind, **claimed}


def control(
    suspect: nn.Module,
    claim: PassportClaim,
    images: LabelledImages,
    *,
    rule: Rule = SOUND,
    random: int = 50,
    seed: int = 0,
    progress: Iterable[None] | None = None,
) -> tuple[Verdict, tuple[Control, ...]]:
    """The verdict on a claim, and what forgeries come to beside it, from one pass through the trunk.

    Args:
        suspect: a plain network; left as it was.
        claim: with a passport.
        images: what is judged on.
        rule: under which forgeries are consistent or not.
        random: see `forgeries`.
        seed: draws.
        progress: see `judge_claims`.

    Raises:
        InputError: see `forgeries` and `judge_claims`.
    """
    forged = forgeries(suspect, claim, images, random=random, seed=seed)
    rivals = [one for claims in forged.values() for one in claims]
    verdict, *others = judge_claims(suspect, [claim, *rivals], images, progress=progress)
    blind = [other.fidelity.accuracy for other in others[: len(forged["random"])]]
    return replace(verdict, accuracy_forged=tuple(blind)), _rows(claim, forged, others, largest_class(images), rule)


def _rows(
    claim: PassportClaim,
    forged: Mapping[str, Sequence[PassportClaim]],
    verdicts: Sequence[Verdict],
    chance: float,
    rule: Rule,
) -> tuple[Control, ...]:
    """One row for each kind of forgery of which there is any; the verdicts are on all of them, in their order."""
    found, rows = iter(verdicts), []
    for kind, claims in forged.items():
        own = [next(found) for _ in claims]
        if not own:
            continue
        reached = [verdict.fidelity.accuracy for verdict in own]
        seen = [from_weights(*both, chance) for both in zip(own, claims, strict=True)]
        decisions = [decide(one, by.thresholds, rule=rule) for one, by in zip(seen, claims, strict=True)]
        rows.append(
            Control(
                kind=kind,
                tried=len(own),
                best=max(reached),
                mean=statistics.fmean(reached),
                consistent=sum(decision.consistent for decision in decisions),
                shared=max(1 - claim.dissimilarity(one) for one in claims),
            )
        )
    return tuple(rows)


def with_control(decision: Decision, rows: Sequence[Control]) -> Decision:
    """A decision that tells of the control: whether what was measured could have been had without owning anything."""
    if not rows:
        return decision
    best = max(rows, key=lambda row: (row.consistent > 0, row.best))
    told = ", ".join(f"{SAYS[row.kind]} {100 * row.best:.2f} %" for row in rows)
    says = f"forgers who train nothing reach with these weights: {told}"
    forged = sum(row.consistent for row in rows)
    if forged:
        says += f"; {forged} of these claims are consistent, so that being consistent proves nothing here"
    condition = Condition("control", False, not forged, best.best, None, says)
    return replace(decision, conditions=(*decision.conditions, condition))
