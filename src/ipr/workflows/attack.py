"""From a request to a judged attack: find or train the victim, attack it, judge every point, keep the rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ipr.attacks.config import AttackConfig
from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.machine.device import training_device
from ipr.store.find_or_make import making
from ipr.store.folder import RunFolder, folder_named, run_key, short_key
from ipr.terminal.console import Console
from ipr.workflows.attack_rows import AttackRow, load_rows
from ipr.workflows.attackers_images import attackers_images, judged_alike
from ipr.workflows.carrying_out import CarryingOut
from ipr.workflows.named_run import named_run
from ipr.workflows.rehearsal import rehearsal
from ipr.workflows.request import check_ready, with_limit, with_per_step
from ipr.workflows.train import Run, train
from ipr.world import own_world


@dataclass(frozen=True)
class AttackRun:
    """A finished attack: where it is, its rows, whether it was there already, and what was attacked."""

    folder: RunFolder
    rows: list[AttackRow] = field(default_factory=list)
    found: bool = False
    victim: Run | None = None


@own_world()
def attack(config: AttackConfig, data: ImageData | None = None, own: ImageData | None = None) -> AttackRun:
    """The attack that a configuration asks for: found in the store, gone on with, or carried out and judged.

    Args:
        config: the request.
        data: its images, where `open_images` has opened them already; `train` refuses others.
        own: the attacker's, where `attackers_images` has opened them for these.

    Raises:
        InputError: the configuration asks for something that cannot be.
    """
    check_ready(config)
    if config.trainer.fast_dev_run:
        with rehearsal(config) as short:
            return attack(replace(short, attack_epochs=1))
    config = with_lengths(config)
    config.attack.check(config.scheme.name)
    data = open_images(config.dataset, config.paths) if data is None else data
    config = with_per_step(config, data)
    own = attackers_images(config, data) if own is None else own
    _check_rival(config)
    victim = train(config, data) if config.run is None else named_run(config)
    folder = attack_folder(config, victim.folder, data, own)
    if (there := _found(folder)) is not None:
        return replace(there, victim=victim)
    with making(folder, config.tags, training_device(config.trainer.accelerator)) as lease:
        if (there := _found(folder)) is not None:  # made by whom this process has waited for
            return replace(there, victim=victim)
        rows = load_rows(folder.path / "rows.jsonl")
        if rows:
            what = f"resumed: {folder.path} goes on; {len(rows)} points are done"
            Console(stderr=True).say(what)
        carrying_out = CarryingOut(config, data, own, victim, folder, rows, lease)
        return AttackRun(folder, carrying_out.rows_of_all_points(), found=False, victim=victim)


def _check_rival(config: AttackConfig) -> None:
    """Refuses a rival that does not go with the attack."""
    rival = config.rival
    if rival is not None:
        if (config.attack.kind, rival.kind) != ("removal", "ambiguity"):
            problem = f"is a {rival.kind} attack before attack={config.attack.name}, a {config.attack.kind} attack"
            remedy = "name an ambiguity attack as rival of a removal attack, or attack@rival=null"
            raise InputError("rival", rival.name, problem, remedy)
        rival.check(config.scheme.name)


def with_lengths(config: AttackConfig) -> AttackConfig:
    """The same request as it is carried out: those of its attacks that train do so for `attack_epochs`, and a limit of
    batches is a tag.
    """
    config, epochs = with_limit(config), config.attack_epochs
    for name in ("attack", "rival"):
        if epochs is not None and getattr(chosen := getattr(config, name), "epochs", 0) != 0:
            config = replace(config, **{name: replace(chosen, epochs=epochs)})
    return config


def attack_folder(config: AttackConfig, victim: RunFolder, data: ImageData, own: ImageData) -> RunFolder:
    """The folder of the attack that a request asks for, named by what determines its result.

    Args:
        config: the request, `with_lengths`.
        victim: the run that is attacked.
        data: the victim's images.
        own: the attacker's (`attackers_images`).
    """
    images: Any = own.fingerprint
    if config.transfer is not None:
        named = (config.transfer.part, config.transfer.validation)
        images = [own.fingerprint, own.train_labels.numel(), *(part for part in named if part)]
        if judged_alike(own, data):  # before version 4 of the rows this was judged as another task
            images.append("the victim's task")
    identity = {
        "victim": short_key(victim.key),
        "attack": config.attack.identity(),
        "seed": config.attack_seed,
        "images": images,
        "verification": [config.verification.fidelity_threshold, config.verification.p_value],
    }
    if config.rival is not None:
        identity["rival"] = config.rival.identity()
    prefix = f"{config.attack.name}-{config.scheme.name}-{config.model.name}-{config.model.norm}"
    key = run_key(prefix, identity, width=config.model.width, seed=config.seed)
    return folder_named(Path(config.paths.runs) / "attack", key)


def _found(folder: RunFolder) -> AttackRun | None:
    rows = load_rows(folder.path / "rows.jsonl") if (folder.path / "finished").exists() else {}
    return AttackRun(folder, list(rows.values()), found=True) if rows else None
