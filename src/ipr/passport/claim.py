"""The claim: all that an owner (or a forger) brings to a judge. Secret, and never inside a weights file.

A claim is a folder that only its owner can read (0700): `claim.json` holds what is text, `secrets.safetensors` the
tensors. Nothing in it is executed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.passport.layer import Affine, patch_mean, scale_and_shift
from ipr.passport.surgery import Passport
from ipr.signature import Signature

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Thresholds:
    """What a claim must reach, declared before the suspect is seen.

    Attributes:
        target_accuracy: M_t of Definition 1, the owner's accuracy with the genuine passport; fraction in [0, 1]. None
            until it has been measured: fidelity then holds for whatever the claimed passport reaches.
        fidelity: epsilon_f, the largest |M - M_t| at which fidelity holds; fraction (the paper: 0.03 for AlexNet,
            0.20 for ResNet-18).
        p_value: the largest chance at which a signature, or a trigger set, counts as read.
    """

    target_accuracy: float | None
    fidelity: float = 0.03
    p_value: float = 2.0**-40

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (value is None and name == "target_accuracy") and not (
                isinstance(value, float | int) and 0 <= value <= 1
            ):
                raise InputError(f"threshold {name}", value, "is not a fraction", "give a number from 0 to 1")


@dataclass(frozen=True)
class Claim:
    """Passport, signature and trigger set with the thresholds they are judged by.

    Attributes:
        passport: layer -> P_gamma and P_beta, (2, C_in, H, W), float; empty where `scales` are brought instead.
        signature: layer -> bits in {-1, +1}, (C,), int8.
        text_bytes: how many bytes of text the signature begins with.
        thresholds: what must be reached.
        trigger_pixels: trigger images, (N, H, W, channels), uint8; None where the scheme has none.
        trigger_labels: their labels, (N,), int64.
        architecture: what builds the plain network (name, norm, width, classes, ...), for a judge who has only a file.
        scales: layer -> scale and shift, (2, C): what a forger brings who has no passport (fake2, flipped signs). An
            owner never needs them, so a judge may ask for the passport; here they are judged all the same.
    """

    passport: Passport
    signature: Signature
    thresholds: Thresholds
    text_bytes: int = 0
    trigger_pixels: Tensor | None = None
    trigger_labels: Tensor | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.passport and self.scales:
            raise InputError("claim", sorted(self.scales), "brings a passport and scales", "bring one of them")
        if self.layers != list(self.signature):
            raise InputError(
                "claim",
                sorted({*self.layers} ^ {*self.signature}) or self.layers,
                "layers with a passport but no signature, or the reverse",
                "give both for each layer",
            )
        for name, bits in self.signature.items():
            if bits.dtype != torch.int8 or bits.dim() != 1 or not bool((bits.abs() == 1).all()):
                raise InputError(
                    "claim", f"signature of {name}", "is not a row of -1 and +1 in int8", "restore the claim"
                )

    @property
    def layers(self) -> list[str]:
        """The protected layers, by the names of their convolutions, in the network's order."""
        return list(self.passport or self.scales)

    def affines(self, network: nn.Module) -> dict[str, Affine]:
        """Scale and shift that the claim gives each layer of a network: Eq. 4 for a passport; each (1, C)."""
        if self.scales:
            return {name: (pair[0:1], pair[1:2]) for name, pair in self.scales.items()}
        affines = {}
        for name, maps in self.passport.items():
            conv = network.get_submodule(name)
            assert isinstance(conv, nn.Conv2d)
            affines[name] = scale_and_shift(conv.weight.detach(), patch_mean(maps.to(conv.weight), conv).unsqueeze(0))
        return affines

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the claim under the name it is stored by."""
        named = {f"passport/{name}": maps for name, maps in self.passport.items()}
        named |= {f"scales/{name}": pair for name, pair in self.scales.items()}
        named |= {f"signature/{name}": bits for name, bits in self.signature.items()}
        if self.trigger_pixels is not None and self.trigger_labels is not None:
            named |= {"trigger_set/pixels": self.trigger_pixels, "trigger_set/labels": self.trigger_labels}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    def facts(self) -> dict[str, Any]:
        """Everything else, as plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "layers": self.layers,
            "text_bytes": self.text_bytes,
            "thresholds": asdict(self.thresholds),
            "architecture": dict(self.architecture),
        }

    def fingerprint(self) -> str:
        """SHA-256 over all parts, as hexadecimal digits: equal for equal claims, and it reveals none of them."""
        digest = hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Writes the claim aside and renames it into place, readable by its owner alone.

        Raises:
            InputError: a claim with other secrets is already there; it is not overwritten. One that differs in its
                thresholds alone is replaced.
        """
        if folder.exists():
            there = load_claim(folder)
            if there.fingerprint() == self.fingerprint():
                return
            if replace(there, thresholds=self.thresholds).fingerprint() != self.fingerprint():
                raise InputError(
                    "claim", folder, "another claim is already there", "move it away or choose another folder"
                )
        aside = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700, parents=True)
        facts, secrets = aside / "claim.json", aside / "secrets.safetensors"
        for path in (facts, secrets):
            path.touch(mode=0o600)
        facts.write_text(json.dumps(self.facts(), indent=2) + "\n")
        save_file(self.tensors(), secrets)
        for path in (facts, secrets):
            path.chmod(0o600)
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def load_claim(folder: Path) -> Claim:
    """Reads a claim that `Claim.save` wrote.

    Raises:
        InputError: it is not there, cannot be read, or its parts do not fit together.
    """
    remedy = "restore it from your copy; it cannot be made again from the weights"
    try:
        facts = json.loads((folder / "claim.json").read_text())
        tensors = load_file(folder / "secrets.safetensors")
    except OSError as error:
        raise InputError("claim", folder, f"cannot be read ({error.strerror or error})", remedy) from error
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise InputError("claim", folder, f"is damaged ({error})", remedy) from error
    try:
        if facts["schema_version"] != SCHEMA_VERSION:
            raise InputError(
                "claim",
                folder,
                f"has schema version {facts['schema_version']}, not {SCHEMA_VERSION}",
                "read it with the version of ipr that wrote it",
            )
        names = {f.name for f in fields(Thresholds)}
        scaled = any(name.startswith("scales/") for name in tensors)
        return Claim(
            passport={} if scaled else {name: tensors[f"passport/{name}"] for name in facts["layers"]},
            scales={name: tensors[f"scales/{name}"] for name in facts["layers"]} if scaled else {},
            signature={name: tensors[f"signature/{name}"] for name in facts["layers"]},
            thresholds=Thresholds(**{name: facts["thresholds"][name] for name in names}),
            text_bytes=int(facts["text_bytes"]),
            trigger_pixels=tensors.get("trigger_set/pixels"),
            trigger_labels=tensors.get("trigger_set/labels"),
            architecture=dict(facts["architecture"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("claim", folder, f"is damaged (missing or wrong: {error})", remedy) from error
