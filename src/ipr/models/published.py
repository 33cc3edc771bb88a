"""Trained weights that torchvision and timm publish for their classifiers: `model.weights=DEFAULT`.

They are fetched where a training asks for them, and kept in the library's own cache (`TORCH_HOME`, `HF_HOME`). A claim
never asks: what it is judged on is built with fresh weights (`claimed.py`).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.models.from_timm import PREFIX as TIMM
from ipr.models.from_torchvision import PREFIX as TORCHVISION

FIELD = "model.weights"


def published_name(name: str, weights: str) -> str:
    """What the library calls them, in all its versions alike: `resnet50-11ad3fa6.pth`, `resnet50.a1_in1k`.

    Nothing is fetched.

    Args:
        name: of the model: `torchvision:NAME` or `timm:NAME`.
        weights: `DEFAULT`, or a name of torchvision's (`IMAGENET1K_V1`) or a tag of timm's (`a1_in1k`).

    Raises:
        InputError: the model is of no library, or it publishes none of this name.
    """
    if name.startswith(TORCHVISION):
        return str(_of_torchvision(name, weights).url).rpartition("/")[2]
    if name.startswith(TIMM):
        return _of_timm(name, weights)
    problem = f"{name} is no model of torchvision or timm, which publish weights"
    raise InputError(FIELD, weights, problem, "choose model=torchvision or model=timm, or give weights: init=FILE")


def load_published(network: nn.Module, name: str, weights: str, *, channels_in: int, num_classes: int) -> None:
    """Fills a network with the weights that its library publishes; its last layer stays as it is where the weights tell
    another number of classes apart.

    Args:
        network: the plain network (`build_model`), filled in place.
        name: see `published_name`.
        weights: see `published_name`.
        channels_in: channels of an image.
        num_classes: number of logits.

    Raises:
        InputError: see `published_name`; or they cannot be fetched, or do not fit.
    """
    called = published_name(name, weights)
    try:
        with _quietly():
            found = _fetched(name, weights, channels_in)
    except Exception as error:  # of urllib, requests, the hub's own, and of what a proxy makes of an answer
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        remedy = "fetch them once where there is a network, or give a file: init=FILE"
        raise InputError(FIELD, weights, f"{called} cannot be fetched ({why})", remedy) from error
    own = network.state_dict()
    head = {key for key, value in found.items() if key in own and _of_other_classes(value, own[key], num_classes)}
    fitting = {key: value for key, value in found.items() if key not in head}
    strange = sorted(key for key, value in fitting.items() if key not in own or own[key].shape != value.shape)
    needed = {key for key in own if not key.endswith("num_batches_tracked")}  # old files have none
    if wrong := strange or sorted(needed - found.keys()):
        remedy = "choose model.norm=bn, or leave it out"
        raise InputError(FIELD, weights, f"{called} does not fit {name} ({wrong[0]})", remedy)
    network.load_state_dict(fitting, strict=False)


def _of_other_classes(found: Tensor, own: Tensor, num_classes: int) -> bool:
    """Whether a tensor differs from the network's in the number of classes alone."""
    if not (found.dim() and own.dim()) or own.shape[0] != num_classes:
        return False
    return found.shape[0] != num_classes and found.shape[1:] == own.shape[1:]


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside, libraries tell neither of downloads nor of what they try again: an error is one line."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _fetched(name: str, weights: str, channels_in: int) -> dict[str, Tensor]:
    if name.startswith(TORCHVISION):
        chosen = _of_torchvision(name, weights)
        return dict(chosen.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True))
    import timm

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # it is initialised before it is filled
        made: nn.Module = timm.create_model(_of_timm(name, weights), pretrained=True, in_chans=channels_in)
    return made.state_dict()


def _of_torchvision(name: str, weights: str) -> Any:
    """The member of torchvision's enumeration."""
    from torchvision import models

    own = name.removeprefix(TORCHVISION)
    if own not in models.list_models(module=models):
        raise InputError("model.name", name, "is no classifier of torchvision", "see docs/models.md")
    known = models.get_model_weights(own).__members__
    if weights not in known:
        raise _unknown(name, weights, [*known])
    return known[weights]


def _of_timm(name: str, weights: str) -> str:
    """The name of an architecture with the tag of its weights."""
    try:
        import timm
    except ImportError as error:
        raise InputError("model.name", name, "is of timm, which is not installed", "pip install timm") from error
    own = name.removeprefix(TIMM)
    tagged = [one for one in timm.list_pretrained(f"{own}.*") if one.partition(".")[0] == own]
    known = {one.partition(".")[2]: one for one in tagged}
    default = getattr(timm.get_pretrained_cfg(own, allow_unregistered=True), "tag", "")
    chosen = known.get(default if weights == "DEFAULT" else weights)
    if chosen is None:
        raise _unknown(name, weights, [*(["DEFAULT"] if default in known else []), *sorted(known)])
    return chosen


def _unknown(name: str, weights: str, known: list[str]) -> InputError:
    if not known:
        return InputError(FIELD, weights, f"{name} has no published weights", "leave it out, or give a file: init=FILE")
    return InputError(FIELD, weights, f"{name} has none of this name", f"choose among: {', '.join(known)}")
