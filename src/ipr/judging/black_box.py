"""Reading a trigger set from a suspect that only answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.claims.base import Claim, Reading, reading
from ipr.data.images import LabelledImages
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.judging.steadiness import Steadiness, slightly_changed
from ipr.randomness import generator
from ipr.suspects.served.black_box import BlackBox
from ipr.world import own_world


@dataclass(frozen=True)
class BlackBoxFinding:
    """What a suspect says to a claim without being opened.

    Attributes:
        reading: the trigger images that get their label. A trigger image that a claim repeats counts once: it is one
            piece of evidence.
        accuracy: fraction of the ordinary images that get theirs; None where none was asked.
        queries: different images whose answers it rests on, also those whose answers were kept from before: what was
            asked in several goes gives the same finding as what was asked in one.
        steadiness: how the answers change with slightly changed images; None where these were not asked.
    """

    reading: Reading
    accuracy: float | None
    queries: int
    steadiness: Steadiness | None = None


@own_world()
def judge_black_box(
    suspect: BlackBox, claim: Claim, images: LabelledImages, *, seed: int = 0, slight_changes: bool = False
) -> BlackBoxFinding:
    """Asks a suspect for a claim's trigger images and for ordinary ones among them.

    A suspect may guess that it is being judged and answer otherwise than it does to its customers. So the trigger
    images do not come as a block: all images are sent in an order that nobody can draw who does not have them.
    An image that looks like no photograph still tells a suspect what it is, and a filter may answer it by other means
    than the network: one that draws its answers is found by slight changes, one that asks another network is not.

    Args:
        suspect: what is asked.
        claim: of a passport with a trigger set, or of key images.
        images: ordinary images with labels, none if it holds none; `mean` and `std` normalise the trigger images too.
        seed: draws the order, with the trigger images as its key.
        slight_changes: whether every image is sent once more, slightly changed, to see how steady the answers are.

    Raises:
        InputError: the claim has no trigger images, or they do not fit the suspect; or the suspect cannot be asked.
    """
    triggers, choices = _triggers(claim, suspect.classes)
    pixels, labels = triggers.pixels, triggers.labels
    if images.labels.numel() and images.pixels.shape[1:] != pixels.shape[1:]:
        given = f"trigger images of {tuple(pixels.shape[1:])}"
        problem = f"are not like the data's, {tuple(images.pixels.shape[1:])}"
        raise InputError("claim", given, problem, "give the data set that the claim was made for")
    asked = torch.cat([pixels, images.pixels]) if images.labels.numel() else pixels
    count, secret = len(asked), hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
    if slight_changes:
        asked = torch.cat([asked, slightly_changed(asked, generator(seed, "slight changes", secret))])
    order = torch.randperm(len(asked), generator=generator(seed, "order of the questions", secret))
    answers = torch.empty(len(asked), dtype=torch.int64)
    answers[order] = suspect.answers(asked[order], images.mean, images.std)
    agreeing = int((answers[: len(labels)] == labels).sum())
    correct = answers[len(labels) : count] == images.labels
    return BlackBoxFinding(
        reading=reading({"trigger set": agreeing}, {"trigger set": len(labels)}, choices=choices, images=True),
        accuracy=float(correct.double().mean()) if correct.numel() else None,
        queries=len({image.tobytes() for image in asked.numpy()}),
        steadiness=_steadiness(answers.view(2, -1), len(labels)) if slight_changes else None,
    )


def _steadiness(answers: Tensor, keys: int) -> Steadiness:
    """Of the answers to all images and to their changed copies, (2, N), trigger images first."""
    changed = answers[0] != answers[1]
    return Steadiness(int(changed[:keys].sum()), keys, int(changed[keys:].sum()), changed.numel() - keys)


def _triggers(claim: Claim, classes: int) -> tuple[TriggerSet, int]:
    """Trigger images, each once, and among how many answers an unrelated suspect guesses their labels."""
    if claim.triggers is None:
        problem = "holds no trigger images to ask a black box for"
        raise InputError("claim", claim.kind, problem, "give the suspect's weights file")
    labels, choices = claim.triggers.labels, claim.guessed_among(classes)
    named = claim.architecture.get("num_classes", classes)
    if named != classes or choices > classes or not bool(((labels >= 0) & (labels < classes)).all()):
        given = f"{named} classes, {choices} choices, labels {int(labels.min())} to {int(labels.max())}"
        problem = f"do not fit a suspect of {classes} classes"
        raise InputError("claim", given, problem, "ask a suspect of the claim's classes")
    return claim.triggers.distinct(), choices
