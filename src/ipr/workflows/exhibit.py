"""From a request to an exhibit: find or make the run (and the attack) that it is shown on, compute it, keep it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ipr.attacks.base import Attack
from ipr.attacks.config import AttackConfig
from ipr.claims.base import Claim
from ipr.config.registry import load
from ipr.config.schema import PassportConfig, SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.exhibits.base import Exhibit, Fact, OpenedRun
from ipr.files import write_atomically
from ipr.judging.claim_kinds import load_claim
from ipr.machine.device import device_for
from ipr.schemes.base import Scheme
from ipr.schemes.start import load_suspect, plain_network
from ipr.store.find_or_make import making
from ipr.store.folder import RunFolder, folder_named, run_key, short_key
from ipr.store.record import hardware, provenance
from ipr.store.tags import joined
from ipr.store.weights import as_safetensors
from ipr.training.checkpoints import check_checkpoint
from ipr.training.fit import fit
from ipr.workflows.attack import attack
from ipr.workflows.draw_claim import make_claim
from ipr.workflows.rehearsal import check_no_rehearsal
from ipr.workflows.request import check, folder_of, scheme_of, with_limit, with_per_step, without_secrets
from ipr.workflows.train import Run, train
from ipr.world import own_world

SCHEMA_VERSION = 1

EXAMPLE_SIGNATURES = ("this is an example signature", "this", "is")
"""The signatures that the paper prints (Section IV-E): the only ones that may be shown."""


@dataclass
class ExhibitConfig(AttackConfig):
    """An exhibit: the run by the groups that made it, and for some an attack on it."""

    attack: Attack | None = None  # type: ignore[assignment]
    exhibit: Exhibit | None = None  # what is shown


@dataclass(frozen=True)
class ExhibitRun:
    """A finished exhibit.

    Attributes:
        folder: where it is.
        facts: flat rows of numbers, each with what it was computed on.
        arrays: what there is to draw, on the CPU.
        found: whether it was there already.
        shown: the run that it is shown on; None where it trains, or times, one of its own.
    """

    folder: RunFolder
    facts: list[Fact]
    arrays: dict[str, Tensor]
    found: bool = False
    shown: Run | None = None


@own_world()
def exhibit(config: ExhibitConfig) -> ExhibitRun:
    """The exhibit that a configuration asks for: found in the store, or computed, from a run that is found or made.

    Raises:
        InputError: the configuration asks for something that cannot be, or for an owner's secret to be shown.
    """
    check(config)
    check_no_rehearsal(config.trainer)
    config, wanted = with_limit(config), config.exhibit
    if wanted is None:
        raise InputError("exhibit", None, "must be given", "choose one, e.g. exhibit=distributions")
    check_request(config, wanted)
    data = open_images(config.dataset, config.paths)
    config = with_per_step(config, data)
    run = part_of(TrainConfig, config)
    shown_on, tuned, made = folder_of(run, data).key, None, None
    if wanted.opens == "run":
        made = train(run, data)
    if config.attack is not None:
        folder = attack(part_of(AttackConfig, config), data).folder
        shown_on, tuned = folder.key, folder.checkpoint.parent / "finetune" / "last.ckpt"
    where, folder = device_for(config.trainer.accelerator), exhibit_folder(config, wanted, shown_on, data)
    if (there := _found(folder)) is not None:
        return replace(there, shown=made)
    with making(folder, config.tags, where) as lease:
        if (there := _found(folder)) is not None:  # made by whom this process has waited for
            return replace(there, shown=made)
        folder.path.chmod(0o700)  # it may show what a claim holds
        write_atomically(folder.config, yaml.safe_dump(without_secrets(config), sort_keys=False))
        weights = None if tuned is None else tuned_weights(tuned)
        opened = _opened(run, config.attack_seed, data, None if made is None else made.folder, weights, folder)
        shown = wanted.show(opened)
        lease.check()
        write_atomically(arrays_path(folder), as_safetensors(shown.arrays))
        about = _about(config, wanted, data, folder, shown_on)
        facts = [about | fact for fact in shown.facts]
        write_atomically(facts_path(folder), json.dumps(facts, indent=2) + "\n")  # last: it says that all is there
    return ExhibitRun(folder, facts, shown.arrays, found=False, shown=made)


def exhibit_folder(config: ExhibitConfig, wanted: Exhibit, shown_on: str, data: ImageData) -> RunFolder:
    """The folder of an exhibit, named by what determines what is shown.

    Args:
        config: the request.
        wanted: the exhibit.
        shown_on: the key of the run, or of the attack, that it is shown on.
        data: its images.
    """
    identity: dict[str, Any] = {
        "run": short_key(shown_on),
        "exhibit": asdict(wanted),
        "attack_seed": config.attack_seed,
        "layers": shown_layers(config),  # the key of a baseline does not have them
    }
    if wanted.opens == "machine":
        where = hardware(device_for(config.trainer.accelerator))
        v3: type[Scheme] = load("scheme", "passport_v3")  # what has trigger images among the schemes that are timed
        identity |= {"hardware": where, "per_step": v3.per_step(config, data)}
    prefix = f"{wanted.name}-{config.scheme.name}-{config.model.name}-{config.model.norm}"
    key = run_key(prefix, identity, width=config.model.width, seed=config.seed)
    return folder_named(Path(config.paths.runs) / "exhibit", key)


def _found(folder: RunFolder) -> ExhibitRun | None:
    if not facts_path(folder).exists():
        return None
    return ExhibitRun(folder, load_facts(facts_path(folder)), load_arrays(arrays_path(folder)), found=True)


def check_request(config: ExhibitConfig, wanted: Exhibit) -> None:
    """Refuses what an exhibit cannot show, and what it must not.

    Raises:
        InputError: naming the field.
    """
    wanted.check(config.scheme.name)
    only = "exhibits are for research runs whose secrets follow from the seed"
    if config.passport.key is not None:
        problem = "is set, and an exhibit would show an owner's real secret"
        raise InputError("passport.key", "<hidden>", problem, f"leave it out: {only}")
    signature = getattr(config.scheme, "signature", None)
    if signature is not None and (wanted.name != "scale_signs" or signature not in EXAMPLE_SIGNATURES):
        problem = "is set, and an exhibit would show what an owner really wrote"
        examples = ", ".join(f'"{text}"' for text in EXAMPLE_SIGNATURES)
        remedy = f"leave it out: {only}; exhibit=scale_signs takes the paper's examples ({examples})"
        raise InputError("scheme.signature", "<hidden>", problem, remedy)
    if config.attack is None:
        if config.transfer is not None:
            raise InputError("transfer", config.transfer.name, "no attack is named", "add attack=finetune")
    elif not wanted.looks_at_tuned or config.attack.name != "finetune":
        remedy = "use attack=finetune" if wanted.looks_at_tuned else "leave the attack out"
        raise InputError("attack", config.attack.name, f"exhibit={wanted.name} is not shown on it", remedy)


def shown_layers(config: TrainConfig) -> list[str]:
    """The passport layers: those that the scheme protects, or where it has none those of the model (Table IV)."""
    return list(getattr(config.scheme, "layers", config.model.passport_layers))


def facts_path(folder: RunFolder) -> Path:
    """The rows of an exhibit; their presence says that it is finished."""
    return folder.path / "facts.json"


def arrays_path(folder: RunFolder) -> Path:
    """What there is to draw."""
    return folder.path / "arrays.safetensors"


def load_facts(path: Path) -> list[Fact]:
    """Reads the rows of an exhibit back.

    Raises:
        InputError: they are not rows of this version.
    """
    try:
        rows: list[Fact] = json.loads(path.read_text())
        if any(row["schema_version"] != SCHEMA_VERSION for row in rows):
            raise KeyError("another version's")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("facts", path, f"cannot be read ({error})", _REMEDY) from error
    return rows


def load_arrays(path: Path) -> dict[str, Tensor]:
    """Reads the arrays of an exhibit back.

    Raises:
        InputError: they are missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError("arrays", path, f"cannot be read ({error})", _REMEDY) from error


_REMEDY = "delete the folder; the same request shows it anew"


def tuned_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The `state_dict` of the network that a fine-tuning left.

    Raises:
        InputError: the checkpoint is not there, or damaged.
    """
    check_checkpoint(checkpoint)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}


def part_of(kind: type[Any], config: ExhibitConfig) -> Any:
    """The part of a request that a run or an attack is made from."""
    return kind(**{field.name: getattr(config, field.name) for field in fields(kind)})


def _opened(
    config: TrainConfig,
    attack_seed: int,
    data: ImageData,
    run: RunFolder | None,
    tuned: Mapping[str, Tensor] | None,
    folder: RunFolder,
) -> OpenedRun:
    where = device_for(config.trainer.accelerator)

    def baseline() -> nn.Module:
        wanted = replace(config, scheme=SchemeConfig("baseline", config.model.norm))
        return load_suspect(config.model, data, train(wanted, data).folder.weights)

    if run is None:
        suspect, claim = plain_network(config.model, data, config.seed), None
    else:
        suspect = load_suspect(config.model, data, run.weights)
        claim = load_claim(run.claim) if run.claim.exists() else None
    return OpenedRun(
        suspect=suspect.to(where),
        claim=claim,
        scheme=config.scheme.name,
        data=data,
        seed=config.seed,
        attack_seed=attack_seed,
        layers=tuple(shown_layers(config)),
        baseline=lambda: baseline().to(where),
        train=partial(_train, config, data, baseline, folder),
        build=partial(_build, config, data),
        passport_images=config.passport.images,
        tuned=tuned,
    )


def _train(
    config: TrainConfig, data: ImageData, baseline: Callable[[], nn.Module], folder: RunFolder, watch: L.Callback
) -> None:
    """See `exhibits.base.Train`: the training of `ipr train`, kept in the exhibit's folder."""
    kind = scheme_of(config)
    claim: Claim | None = make_claim(config, data, baseline)
    fit(
        kind.build(config, data, claim, baseline),
        data,
        config,
        epochs=kind.epochs(config),
        clip_norm=config.optimizer.clip_norm,
        seed=config.seed,
        checkpoint=folder.checkpoint,
        metrics=folder.metrics,
        callbacks=[watch],
    )


def _build(config: TrainConfig, data: ImageData, scheme: str, norm: str) -> Scheme:
    """See `exhibits.base.Build`."""
    kind: type[Scheme] = load("scheme", scheme)
    layers = {"layers": config.model.passport_layers} if kind.about.family == "passport" else {}
    config = replace(
        config,
        model=replace(config.model, norm=norm),
        scheme=kind.Config(name=scheme, norm=norm, **layers),
        passport=PassportConfig("random", energy=config.passport.energy),
    )

    def untrained() -> nn.Module:
        raise AssertionError("a random passport is made without a trained network")

    return kind.build(config, data, make_claim(config, data, untrained), untrained)


def _about(config: ExhibitConfig, wanted: Exhibit, data: ImageData, folder: RunFolder, shown_on: str) -> Fact:
    computed = provenance(device_for(config.trainer.accelerator))
    return {
        "key": folder.key,
        "exhibit": wanted.name,
        "run": shown_on,
        "scheme": config.scheme.name,
        "model": config.model.name,
        "norm": config.model.norm,
        "width": config.model.width,
        "dataset": config.dataset.name,
        "train_images": data.train_labels.numel(),
        "epochs": config.trainer.max_epochs,
        "seed": config.seed,
        "attack": config.attack.name if config.attack else None,
        "transfer": config.transfer.name if config.transfer else None,
        "attack_seed": config.attack_seed,
        "tags": joined(config.tags),
        **{name: computed[name] for name in ("hardware", "versions", "commit", "finished")},
        "schema_version": SCHEMA_VERSION,
    }
