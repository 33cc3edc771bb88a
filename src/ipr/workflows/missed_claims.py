"""What becomes of the genuine claim on copies of the marked network that a thief changed: claims that are missed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import Progress
from torch import nn

from ipr.attacks.base import Attack, Victim, example_of
from ipr.attacks.removal.finetune import Finetune
from ipr.attacks.removal.prune import Prune
from ipr.attacks.removal.quantise import Quantise
from ipr.attacks.removal.same_answers import FlipGroups, Permute, Rescale
from ipr.claims.base import Claim
from ipr.config.rule import Rule
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.judging.alignment import align
from ipr.judging.calibration import MissedClaims, missed_claims
from ipr.judging.decision import Decision, decide
from ipr.judging.evidence import Provenance, from_answers, from_weights
from ipr.judging.fidelity import largest_class
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import GRANTED
from ipr.judging.registration import IN_TIME
from ipr.judging.verdict import Verdict, judge_claims
from ipr.judging.wrong_claims import genuine_claims
from ipr.passport.surgery import find_layers
from ipr.randomness import derive_seed
from ipr.schemes.base import Scheme
from ipr.training.fit import fit

UNCHANGED = "unchanged"

TUNED = 5
"""Epochs of fine-tuning."""


def changes(copies: int) -> dict[str, list[Attack]]:
    """What a thief does to the network, in words, and the attacks that do it, as often as copies are asked for; none
    where he leaves it as it is.
    """
    once: dict[str, Attack] = {
        "pruned, 20 %": Prune("prune", rates=[0.2]),
        "pruned, 40 %": Prune("prune", rates=[0.4]),
        "pruned, 60 %": Prune("prune", rates=[0.6]),
        "quantised, 8 bits": Quantise("quantise", bits=[8]),
        "quantised, 5 bits": Quantise("quantise", bits=[5]),
    }
    drawn: dict[str, Attack] = {
        f"fine-tuned, {TUNED} epochs": Finetune("finetune", start="fine_tune", epochs=TUNED),
        "turned": FlipGroups("flip_groups"),
        "permuted": Permute("permute"),
        "rescaled": Rescale("rescale"),
    }
    each = {name: [attack] for name, attack in once.items()} | {n: [attack] * copies for n, attack in drawn.items()}
    return {UNCHANGED: [], **each}


def missed(
    claim: Claim,
    data: ImageData,
    marked: nn.Module,
    request: TrainConfig,
    copies: int,
    rule: Rule,
    null: EmpiricalNull | None,
    bar: Progress,
) -> list[MissedClaims]:
    """Judges the genuine claim on changed copies of the marked network, matched to it first as a judge would.

    Args:
        claim: the genuine one; its commitment is granted.
        data: fine-tuning takes its training images, fidelity is measured on its test images.
        marked: the network that carries the mark, as it was given away; left as it was.
        request: how fine-tuning trains.
        copies: for each way of changing it that is drawn.
        rule: that it is decided under.
        null: how independent networks answer trigger images; None where there are none.
        bar: shows how far it is.
    """
    images = data.test_images
    victim = Victim(marked, claim, locked(marked, claim, data))
    rows = []
    for change, attacks in bar.track(changes(copies).items(), description="judging changed copies"):
        suspects = [marked] if change == UNCHANGED else []
        for number, attack in enumerate(attacks):
            suspects += _changed(attack, victim, data, request, number)
        for evidence, genuine in genuine_claims(claim).items():
            found = [_judged(suspect, marked, genuine, images, evidence, rule, null) for suspect in suspects]
            lost = sum(not decision.verified for _, decision in found)
            verdicts = [verdict for verdict, _ in found]
            agreeing = [sum(verdict.reading.agreeing.values()) for verdict in verdicts]
            total = sum(verdicts[0].reading.total.values())
            rows.append(missed_claims(evidence, change, lost, [v.accuracy_without for v in verdicts], agreeing, total))
    return rows


def locked(network: nn.Module, claim: Claim, data: ImageData) -> bool:
    """Whether a network was given away without the scales of its protected layers (V1): they are 1 and 0."""
    if not claim.layers:
        return False
    layers = find_layers(network, example_of(data, network), claim.layers)
    norms = [network.get_submodule(layer.norm).state_dict() for layer in layers]
    return all(bool((norm["weight"] == 1).all() and (norm["bias"] == 0).all()) for norm in norms)


def _changed(attack: Attack, victim: Victim, data: ImageData, request: TrainConfig, number: int) -> Iterator[nn.Module]:
    seed = derive_seed(request.seed, f"changed copy {number}") % 2**31
    with tempfile.TemporaryDirectory(prefix="ipr-") as layer:

        def trains(
            name: str,
            scheme: Scheme,
            *,
            epochs: int,
            clip_norm: float | None,
            share: int | None = None,
            alone: bool = False,
        ) -> None:
            fit(
                scheme,
                data if share is None else data.share(share),
                request,
                epochs=epochs,
                clip_norm=clip_norm,
                seed=seed,
                checkpoint=Path(layer) / "last.ckpt",
                metrics=Path(layer) / "metrics.csv",
            )

        for one in attack.run(victim, data, trains, seed):
            yield one.suspect.to(next(victim.suspect.parameters()).device, torch.float32)


def _judged(
    suspect: nn.Module,
    marked: nn.Module,
    claim: Claim,
    images: LabelledImages,
    evidence: str,
    rule: Rule,
    null: EmpiricalNull | None,
) -> tuple[Verdict, Decision]:
    provenance = Provenance(IN_TIME, "the judge, who grants it", GRANTED, null=null)
    if evidence == "images":
        (verdict,) = judge_claims(suspect, [claim], images)
        asked = from_answers(verdict.reading)
        return verdict, decide(asked, claim.thresholds, provenance=provenance, rule=rule)
    example = next(images.batches(1, next(suspect.parameters()).device))[0]
    aligned = align(suspect, marked, example)
    provenance, readings = replace(provenance, same=aligned.same), []
    for network in [aligned.network, suspect] if aligned.similar else [suspect]:
        (verdict,) = judge_claims(network, [claim], images)
        seen = from_weights(verdict, claim, largest_class(images))
        decision = decide(seen, claim.thresholds, alignments=aligned.ways, provenance=provenance, rule=rule)
        readings.append((verdict, decision))
    return max(readings, key=lambda one: (one[1].verified, sum(one[0].reading.agreeing.values())))
