"""Images of one's own loader or data set: batches to train on as they come, and pixels to judge on, to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ipr.data.images import LabelledImages
from ipr.data.preprocessing import Preprocessing, preprocessing_of
from ipr.errors import InputError
from ipr.randomness import generator

BATCH_SIZE = 64
"""Images of a batch, where a data set is given and no loader."""

HELD_OUT = 10
"""One of so many images is held out where none are given to judge on."""

OFF_BYTE = 0.02
"""How far a pixel may be from a whole number of 255 ones: numbers are rounded to float32 by their normalisation."""

LEFT_OUT = -100
"""What torch's losses leave out (`ignore_index`)."""

Numbers = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of each channel."""


@dataclass(frozen=True)
class OwnImages:
    """What an embedding is trained and judged on.

    Attributes:
        train: batches of images as the network takes them, (B, channels, H, W), and labels, (B,).
        count: images of an epoch; batch_size: of a batch.
        test: what is judged on.
        classes: their names, in the order of their labels.
        preprocessing: how pictures became these tensors; None where their transform does not tell.
        held_out: whether the test images were taken from those that were given to train on.
    """

    train: Iterable[Any]
    count: int
    batch_size: int
    test: LabelledImages
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    held_out: bool


def own_images(given: Any, test: Any, normalised: Numbers | None, outputs: int) -> OwnImages:
    """The images of a loader or a data set.

    Args:
        given: to train on.
        test: to judge on, likewise; None holds out a tenth of `given`, the same at each call.
        normalised: mean and deviation that pixels were normalised with; None to read them from the transform of the
            data set, or take 0 and 1.
        outputs: logits of the network.

    Raises:
        InputError: they are no images with labels, or their pixels cannot be told.
    """
    train, held_out = _loader(given, "loader", shuffle=True), test is None
    if test is None:
        train, test = _parted(train)
    tested = _loader(test, "test", shuffle=False)
    preprocessing = _preprocessing(tested.dataset)
    numbers = normalised or _normalisation(tested.dataset) or ((0.0,), (1.0,))
    images = pixels_of(tested, numbers, asked=normalised is not None)
    found = _names(tested.dataset) or ()
    if len(found) > outputs or int(images.labels.max()) >= outputs:
        problem = f"has {max(len(found), int(images.labels.max()) + 1)} classes, and the network {outputs} outputs"
        raise InputError("test", f"<{len(images.labels)} images>", problem, "give the images of the network's task")
    if preprocessing is not None and (preprocessing.mean, preprocessing.std) != (images.mean, images.std):
        preprocessing = None  # what was given says otherwise than the transform
    found += tuple(str(label) for label in range(len(found), outputs))  # outputs that no image belongs to
    size, batch = len(_dataset(train)), train.batch_size or BATCH_SIZE
    return OwnImages(train, size, batch, images, found, preprocessing, held_out)


def pixels_of(loader: Iterable[Any], numbers: Numbers, *, asked: bool = True) -> LabelledImages:
    """The pixels that normalised images were made of: whole numbers from 0 to 255, as they were.

    Args:
        loader: batches of images, (B, channels, H, W), float, and labels.
        numbers: what they were normalised with: of each channel, or one for all.
        asked: whether somebody named these numbers.

    Raises:
        InputError: they are no such batches, or not made of whole pixels: a resize after `ToTensor`, say.
    """
    pixels, labels = [], []
    for batch in loader:
        x, y = _pair(batch)
        mean, std = numbers
        exact = (x.float() * _of_channels(std) + _of_channels(mean)) * 255
        whole = exact.round()
        if not bool(((exact - whole).abs().max() <= OFF_BYTE) & (whole.min() >= 0) & (whole.max() <= 255)):
            raise _no_pixels(numbers, asked)
        pixels.append(whole.to(torch.uint8).permute(0, 2, 3, 1).contiguous())
        labels.append(y.long())
    if not labels:
        raise InputError("test", "<no images>", "is empty", "give images to judge on")
    if len({tuple(part.shape[1:]) for part in pixels}) > 1:
        raise InputError("test", "<images>", "are of several sizes", "resize or crop them to one")
    channels = pixels[0].shape[3]
    mean, std = (one if len(one) > 1 else one * channels for one in numbers)
    return LabelledImages(torch.cat(pixels), torch.cat(labels), mean, std)


def _of_channels(numbers: tuple[float, ...]) -> Tensor:
    return torch.tensor(numbers).view(1, -1, 1, 1)


def _no_pixels(numbers: Numbers, asked: bool) -> InputError:
    said = "the normalisation that is given" if asked else "mean 0 and deviation 1: the transform names no Normalize"
    remedy = "give normalised=(mean, std) as they were normalised; Resize has to come before ToTensor"
    problem = f"are no whole pixels from 0 to 255 by {said if not asked else said + f' {numbers}'}"
    return InputError("test", "<images>", problem, remedy)


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, list | tuple) and len(batch) == 2:
        x, y = batch
        tensors = isinstance(x, Tensor) and isinstance(y, Tensor)
        if tensors and x.dim() == 4 and x.is_floating_point() and y.dim() == 1 and not y.is_floating_point():
            return x, y
    problem = "is no pair of images (B, channels, H, W), float, and labels (B,)"
    raise InputError("loader", f"<a batch: {type(batch).__name__}>", problem, "give batches of images and labels")


def check_batch(batch: Any, outputs: int) -> None:
    """Sees that a batch to train on is images and labels that the network has an output for.

    Args:
        batch: as a loader gives it.
        outputs: logits of the network. A label of `LEFT_OUT` needs none.

    Raises:
        InputError: it is no such batch, or has other labels, which are named.
    """
    labels = _pair(batch)[1]
    beyond = labels[((labels < 0) | (labels >= outputs)) & (labels != LEFT_OUT)].unique().tolist()
    if beyond:
        problem = f"are beyond the {outputs} outputs of the network"
        remedy = f"give labels from 0 to {outputs - 1}: the images of the network's task"
        raise InputError("loader", f"<labels {', '.join(map(str, beyond[:5]))}>", problem, remedy)


def _loader(given: Any, field: str, *, shuffle: bool) -> DataLoader[Any]:
    if isinstance(given, DataLoader):
        return given
    if isinstance(given, Dataset):
        return DataLoader(given, BATCH_SIZE, shuffle=shuffle, drop_last=shuffle)
    problem = "is no DataLoader and no Dataset"
    raise InputError(field, f"<{type(given).__name__}>", problem, "give torch.utils.data.DataLoader(...)")


def without_module(module: Any, test: Any) -> tuple[Any, Any]:
    """The loaders of a `LightningDataModule`: to train on, and to judge on where `test` names none and it has some; all
    else as it is.
    """
    if not isinstance(module, L.LightningDataModule):
        return module, test
    module.prepare_data()
    module.setup("fit")
    train = module.train_dataloader()
    if test is None and is_overridden("test_dataloader", module):
        module.setup("test")
        return train, module.test_dataloader()
    if test is None and is_overridden("val_dataloader", module):
        return train, module.val_dataloader()
    return train, test


def _dataset(loader: DataLoader[Any]) -> Any:
    if not hasattr(loader.dataset, "__len__"):
        problem = "has no length: what of it is an epoch, and what is held out, cannot be told"
        raise InputError("loader", f"<{type(loader.dataset).__name__}>", problem, "give a data set with a length")
    return loader.dataset


def _parted(loader: DataLoader[Any]) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The loader without every tenth image, in an order that is drawn, and one of these."""
    data = _dataset(loader)
    order = torch.randperm(len(data), generator=generator(0, "embed.held_out")).tolist()
    count = max(1, len(order) // HELD_OUT)
    how = {name: getattr(loader, name) for name in ("num_workers", "collate_fn", "pin_memory")}
    size = loader.batch_size or BATCH_SIZE
    kept = DataLoader(Subset(data, order[count:]), size, shuffle=True, drop_last=loader.drop_last, **how)
    return kept, DataLoader(Subset(data, order[:count]), size, **how)


def _inner(data: Any) -> Iterator[Any]:
    """A data set, and those that it is a part of or made of."""
    yield data
    for one in [getattr(data, "dataset", None), *getattr(data, "datasets", [])]:
        if one is not None:
            yield from _inner(one)


def _transform(data: Any) -> Any:
    return next((one.transform for one in _inner(data) if getattr(one, "transform", None) is not None), None)


def _preprocessing(data: Any) -> Preprocessing | None:
    transform = _transform(data)
    try:
        return None if transform is None else preprocessing_of(transform)
    except InputError:
        return None  # images are judged as the loader gives them; only a claim cannot say how they were made


def _normalisation(data: Any) -> Numbers | None:
    """Mean and deviation of the last `Normalize` of a transform, whatever else it does."""
    waiting, found = [_transform(data)], None
    while waiting:
        step = waiting.pop(0)
        waiting = [*list(getattr(step, "transforms", [])), *waiting]
        if hasattr(step, "mean") and hasattr(step, "std"):
            found = tuple(map(float, step.mean)), tuple(map(float, step.std))
    return found


def _names(data: Any) -> tuple[str, ...] | None:
    classes = next((one.classes for one in _inner(data) if getattr(one, "classes", None)), None)
    return None if classes is None else tuple(map(str, classes))


def first_images(loader: Any) -> Tensor:
    """The images of the first batch, (B, channels, H, W).

    Raises:
        InputError: see `own_images`.
    """
    for batch in _loader(loader, "loader", shuffle=False):
        return _pair(batch)[0]
    raise InputError("loader", "<no images>", "is empty", "give images to train on")
