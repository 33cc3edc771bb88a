"""Files of `torch.save`: a zip file of a pickle and of one record for each storage.

What is checked and what is loaded is the same: torch reads a zip file that is written here, of the checked records
alone, so that two readers cannot see two things in one file.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ipr.suspects.checks import DAMAGED, SAVE_AGAIN, Refusal, check_count, shown
from ipr.suspects.torch_pickle import check_pickle

MAX_RECORDS = 65_536
"""The most records of a file; `torch.save` writes one a storage and six more."""

OF_ITS_NETWORK = "save the state_dict of the network that it was made of, as safetensors"

_NAME = re.compile(r"[\w. -]+/([\w. /-]+)", re.ASCII)
_STORAGE = re.compile(r"data/\d+", re.ASCII)
_UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError,
    OverflowError, RuntimeError, ValueError,
)  # fmt: skip
_SENSELESS = (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError)


def read_torch(content: bytes) -> dict[str, Tensor]:
    """The state_dict of a torch file: alone, as `state_dict` of a checkpoint, or as the one mapping of tensors in it.

    Raises:
        Refusal: it is another kind of zip file, its records cannot be what `torch.save` writes, or it holds other
            things than tensors.
    """
    records = _records(content)
    check_pickle(records["data.pkl"])
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name, record in records.items():
            archive.writestr(f"archive/{name}", record)
        archive.writestr("archive/version", "3\n")
    records.clear()
    copy.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stranger's file says nothing on stderr
            loaded = torch.load(copy, map_location="cpu", weights_only=True)
    except _SENSELESS as error:
        raise Refusal("is damaged (its tensors do not fit its records)", DAMAGED) from error
    return _state_dict(loaded)


def _records(content: bytes) -> dict[str, bytes]:
    """The pickle, the byte order and the storages, by their names without the folder around them."""
    if content.count(b"PK\x01\x02") > MAX_RECORDS:  # how the entry of a record begins
        raise Refusal(f"has more than {MAX_RECORDS} records", SAVE_AGAIN)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = _checked_names(archive.infolist(), len(content))
            return {name: archive.read(info) for name, info in names.items()}
    except _UNREADABLE as error:
        raise Refusal(f"is damaged ({shown(str(error), 100)})", DAMAGED) from error


def _checked_names(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    if len({info.filename.lower() for info in infos}) < len(infos):  # torch ignores case
        raise Refusal("holds two records of one name", SAVE_AGAIN)
    inside = {info.filename.partition("/")[2] for info in infos}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise Refusal("is a TorchScript archive, which holds code and is not opened", OF_ITS_NETWORK)
    if any(name.startswith("models/") or name == "archive_format" for name in inside):
        raise Refusal("is a program of torch.export, which is not opened", OF_ITS_NETWORK)
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise Refusal("is a compressed zip file", "give a file as torch.save writes it")
    if sum(info.file_size for info in infos) > size:
        raise Refusal("is damaged (its records are larger than it is)", DAMAGED)
    names = {}
    for info in infos:
        parts = _NAME.fullmatch(info.filename)
        if parts is None or ".." in info.filename or "//" in info.filename:
            raise Refusal(f"holds a record named {shown(info.filename)}", "give a file as torch.save writes it")
        names[parts[1]] = info
    if "data.pkl" not in names or len({info.filename.partition("/")[0] for info in infos}) > 1:
        raise Refusal("is a zip file, but not of torch.save", "give a file as torch.save writes it")
    return {name: info for name, info in names.items() if name in ("data.pkl", "byteorder") or _STORAGE.fullmatch(name)}


def _state_dict(loaded: Any) -> dict[str, Tensor]:
    items = dict(dict.items(loaded))  # of dict itself: a pickle may give its own OrderedDict other attributes
    if isinstance(inner := items.get("state_dict"), dict):
        items = dict(dict.items(inner))
    elif not all(isinstance(value, Tensor) for value in items.values()):  # a checkpoint of somebody's own
        inside = {name: value for name, value in items.items() if _is_state_dict(value)}
        if len(inside) > 1:
            names = ", ".join(map(shown, inside))
            raise Refusal(f"holds several networks ({names})", "save one of them alone, as safetensors")
        items = dict(dict.items(*inside.values())) if inside else items
    check_count(len(items))
    for name, value in items.items():
        if not isinstance(name, str):
            raise Refusal(f"names a tensor by {shown(name)}, not by a text", SAVE_AGAIN)
        if not isinstance(value, Tensor):
            raise Refusal(f"holds a {type(value).__name__} as {shown(name)}, not a tensor", SAVE_AGAIN)
    return items


def _is_state_dict(value: Any) -> bool:
    """Whether it is a mapping of nothing but tensors."""
    return isinstance(value, dict) and len(value) > 0 and all(isinstance(v, Tensor) for v in dict.values(value))


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the plain network has them: without `module.`, `model.`, `network.` and `_orig_mod.` in front.

    Of a checkpoint of Lightning whose LightningModule holds the network as `network`, the rest is left out.
    """
    if own := {name: tensor for name, tensor in tensors.items() if name.startswith("network.")}:
        tensors = own  # a LightningModule's; its losses and metrics stand beside it
    for prefix in ("network.", "module.", "model.", "_orig_mod.") * 2:  # two: in whatever order they were put around
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)
