"""The images that an attacker has: the victim's own, or those of `transfer`; and on what its outcome is judged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from ipr.attacks.config import AttackConfig
from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.data.rows import gathered
from ipr.errors import InputError

AT_ONCE = 1024
"""Images that are looked at together."""


def attackers_images(config: AttackConfig, data: ImageData) -> ImageData:
    """The images that the attacker has.

    Those of the victim's classes and test images are of the same task, e.g. another part of its data set: the outcome
    is then judged on the very test images of the victim, and images are normalised as the victim takes them. So it is
    with an attack that only asks, whatever the images show. Others may be learned from by an attack that moves to
    another task, which is then judged on that.

    Args:
        config: the request.
        data: the victim's images.

    Raises:
        InputError: the images cannot be read, the victim does not take them, or the attack cannot use them.
    """
    if config.transfer is None:
        return data
    own, attack = open_images(config.transfer, config.paths), config.attack
    if (own.image_size, own.channels) != (data.image_size, data.channels):
        problem = f"has images of {own.image_size} pixels and {own.channels} channels, the victim was trained on "
        problem += f"{data.image_size} and {data.channels}"
        remedy = f"give transfer.image_size={data.image_size}"
        raise InputError("transfer", config.transfer.name, problem, remedy)
    if of_one_task(own, data) or attack.other_task == "asked":
        parts = ("classes", "test_pixels", "test_labels", "mean", "std")
        return replace(own, **{name: getattr(data, name) for name in parts})
    if attack.other_task == "refused":
        problem = f"attack={attack.name} needs images of the victim's task: its classes and its test images"
        remedy = "give another part of the victim's data set, e.g. transfer.part=2/2, or use attack=finetune"
        raise InputError("transfer", config.transfer.name, problem, remedy)
    return own


def of_one_task(own: ImageData, data: ImageData) -> bool:
    """Whether two sets of images are of one task: the same classes, and one content or the same test images."""
    if own.classes != data.classes:
        return False
    return own.fingerprint == data.fingerprint or (
        torch.equal(own.test_labels, data.test_labels) and torch.equal(own.test_pixels, data.test_pixels)
    )


def judged_alike(own: ImageData, data: ImageData) -> bool:
    """Whether what comes of images of `attackers_images` is judged on the victim's task."""
    return own.test_pixels is data.test_pixels


def shared_images(own: ImageData, data: ImageData) -> int:
    """How many of the attacker's training images are among the victim's, pixel by pixel."""
    if own is data:
        return own.train_labels.numel()
    victims = {*_digests(data)}
    return sum(digest in victims for digest in _digests(own))


def _digests(data: ImageData) -> Iterator[bytes]:
    for order in torch.arange(len(data.train_pixels)).split(AT_ONCE):
        for image in gathered(data.train_pixels, order).numpy():
            yield hashlib.sha256(image.tobytes()).digest()
