"""From a request to a judged attack: find or train the victim, attack it, judge every point, keep the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from ipr.attacks.base import Attack, Attacked, Victim, example_of
from ipr.claims.base import Claim
from ipr.config.schema import MISSING, DatasetConfig, TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.errors import InputError
from ipr.files import naming, write_atomically
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import accuracy
from ipr.judging.outcome import Outcome, nearest, outcome_of, unmarked
from ipr.judging.verdict import judge_claims
from ipr.machine.clock import now
from ipr.machine.device import device_for, training_device
from ipr.passport.claim import PassportClaim
from ipr.passport.surgery import find_layers
from ipr.schemes.base import Scheme
from ipr.signature import agreeing_bits, detect
from ipr.store.find_or_make import once
from ipr.store.folder import RunFolder, folder_named, run_key, short_key
from ipr.store.lease import Lease
from ipr.store.reading import Fitting
from ipr.store.record import commit, hardware, versions
from ipr.store.tags import joined
from ipr.terminal.console import Console
from ipr.tracking.loggers import check_installed
from ipr.tracking.wandb_run import tracking
from ipr.training.fit import fit
from ipr.training.guards import KeepLease
from ipr.training.metrics import read_metrics
from ipr.workflows.build import load_suspect, open_images
from ipr.workflows.named_run import named_run
from ipr.workflows.rehearsal import rehearsal
from ipr.workflows.request import check, processes_of, with_limit, without_secrets
from ipr.workflows.train import Run, judging, train
from ipr.world import own_world

SCHEMA_VERSION = 2


@dataclass
class AttackConfig(TrainConfig):
    """`ipr attack`: the victim by the groups that made it, and the attack."""

    attack: Attack = MISSING  # what is done to the victim
    transfer: DatasetConfig | None = None  # another data set for the attacker (finetune)
    rival: Attack | None = (
        None  # forges a claim on the victim first; judged beside the owner's on what is left (Table I)
    )
    run: str | None = None  # the victim by its folder, or any beginning of its name that no other has; then no groups
    attack_seed: int = 0  # everything random in the attack follows from it
    attack_epochs: int | None = None  # for sweeps: the epochs of every attack that trains, whatever its own default
    skip_inapplicable: bool = False  # for sweeps: pass over what an attack does not apply to


@dataclass(frozen=True)
class AttackRow(Outcome):
    """One judged point of an attack: what it was, its outcome, and its cost. Flat; no field holds a secret.

    Attributes:
        point: where on the attack's curve, e.g. `rate=0.6`; "" where it has one point.
        seconds: what it took to bring this point about, training included, judging not. Points that come of one
            suspect share it: each has all of it, or, of searches trained side by side, its part.
        iterations: steps of a forgery that has no epochs; None elsewhere.
        share_of_training: the same as a fraction of the victim's training.
    """

    key: str = ""
    attack: str = ""
    kind: str = ""
    point: str = ""
    victim: str = ""
    scheme: str = ""
    model: str = ""
    norm: str = ""
    width: float = 1.0
    dataset: str = ""
    transfer: str | None = None
    train_images: int = 0
    test_images: int = 0
    victim_epochs: int = 0
    attack_epochs: int | None = None
    iterations: int | None = None
    seed: int = 0
    attack_seed: int = 0
    tags: str = ""
    seconds: float = 0.0
    share_of_training: float = 0.0
    hardware: str = ""
    threads: int = 0
    versions: str = ""
    commit: str = ""
    finished: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def accuracy_used(self) -> float:
        """What the attacked network reaches, or the network with the forged claim."""
        return self.accuracy_after


@dataclass(frozen=True)
class AttackRun:
    """A finished attack: where it is, its rows, whether it was there already, and what was attacked."""

    folder: RunFolder
    rows: list[AttackRow] = field(default_factory=list)
    found: bool = False
    victim: Run | None = None


@own_world()
def attack(config: AttackConfig) -> AttackRun:
    """The attack that a configuration asks for: found in the store, gone on with, or carried out and judged.

    Raises:
        InputError: the configuration asks for something that cannot be.
    """
    check(config)
    check_installed(config.logger)
    if config.trainer.fast_dev_run:
        with rehearsal(config) as short:
            return attack(replace(short, attack_epochs=1))
    config = with_lengths(config)
    config.attack.check(config.scheme.name)
    data = open_images(config.dataset, config.paths)
    own = data if config.transfer is None else open_images(config.transfer, config.paths)
    if (own.image_size, own.channels) != (data.image_size, data.channels):
        raise InputError(
            "transfer",
            config.transfer.name if config.transfer else None,
            f"has images of {own.image_size} pixels and {own.channels} channels, the victim was trained on "
            f"{data.image_size} and {data.channels}",
            f"give transfer.image_size={data.image_size}",
        )
    if config.rival is not None:
        if (config.attack.kind, config.rival.kind) != ("removal", "ambiguity"):
            raise InputError(
                "rival",
                config.rival.name,
                f"is a {config.rival.kind} attack before attack={config.attack.name}, a {config.attack.kind} attack",
                "name an ambiguity attack as rival of a removal attack, or attack@rival=null",
            )
        config.rival.check(config.scheme.name)
    if config.transfer is not None and config.attack.name != "finetune":
        raise InputError(
            "transfer",
            config.transfer.name,
            f"attack={config.attack.name} needs the victim's own data",
            "use attack=finetune",
        )
    victim = train(config) if config.run is None else named_run(config)
    folder = attack_folder(config, victim.folder, own)

    def make(lease: Lease) -> AttackRun:
        rows = load_rows(folder.path / "rows.jsonl")
        if rows:
            what = f"resumed: {folder.path} goes on; {len(rows)} points are done"
            Console(stderr=True).print(what, highlight=False, soft_wrap=True)
        return AttackRun(folder, _carry_out(config, data, own, victim, folder, rows, lease), found=False)

    where = training_device(config.trainer.accelerator)
    return replace(once(folder, config.tags, where, lambda: _found(folder), make), victim=victim)


def with_lengths(config: AttackConfig) -> AttackConfig:
    """The same request as it is carried out: its attacks train `attack_epochs`, and a limit of batches is a tag."""
    config = with_limit(config)
    config = replace(config, attack=_of_length(config.attack, config.attack_epochs))
    if config.rival is not None:
        config = replace(config, rival=_of_length(config.rival, config.attack_epochs))
    return config


def attack_folder(config: AttackConfig, victim: RunFolder, own: ImageData) -> RunFolder:
    """The folder of the attack that a request asks for, named by what determines its result.

    Args:
        config: the request, `with_lengths`.
        victim: the run that is attacked.
        own: the attacker's images: those of `transfer`, or the victim's.
    """
    elsewhere: list[Any] = []
    if config.transfer is not None:
        named = (config.transfer.part, config.transfer.validation)
        elsewhere = [own.fingerprint, own.train_labels.numel(), *(part for part in named if part)]
    identity = {
        "victim": short_key(victim.key),
        "attack": asdict(config.attack),
        "seed": config.attack_seed,
        "images": elsewhere or own.fingerprint,
        "verification": [config.verification.fidelity_threshold, config.verification.p_value],
    }
    if config.rival is not None:
        identity["rival"] = asdict(config.rival)
    prefix = f"{config.attack.name}-{config.scheme.name}-{config.model.name}-{config.model.norm}"
    key = run_key(prefix, identity, width=config.model.width, seed=config.seed)
    return folder_named(Path(config.paths.runs) / "attack", key)


def _found(folder: RunFolder) -> AttackRun | None:
    rows = load_rows(folder.path / "rows.jsonl") if (folder.path / "finished").exists() else {}
    return AttackRun(folder, list(rows.values()), found=True) if rows else None


def _of_length(attack: Attack, epochs: int | None) -> Attack:
    if epochs is None or not hasattr(attack, "epochs"):
        return attack
    return replace(attack, epochs=epochs)  # type: ignore[call-arg]


def load_rows(path: Path) -> dict[str, AttackRow]:
    """The rows that are there, by point; a half-written last line, of a run that was killed, is passed over.

    Rows of version 1, which called a mark that is read verified, are read too.

    Raises:
        InputError: they were written by another version.
    """
    rows: dict[str, AttackRow] = {}
    if not path.exists():
        return rows
    names = {f.name for f in fields(AttackRow)}
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        try:
            values = json.loads(line)
            if values["schema_version"] == 1:
                values["mark_read"], values["schema_version"] = values.pop("verified"), SCHEMA_VERSION
            if values.keys() != names or values["schema_version"] != SCHEMA_VERSION:
                raise KeyError("other fields than this version's")
            rows[values["point"]] = Fitting().value(AttackRow, values, "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "rows", path, f"cannot be read ({error})", "delete the folder; the same command attacks anew"
            ) from error
    return rows


def find_rows(runs: Path) -> Iterator[AttackRow]:
    """Every row below a folder of runs, ordered by path."""
    for path in sorted(runs.glob("attack/*/rows.jsonl")):
        yield from load_rows(path).values()


def _carry_out(
    config: AttackConfig,
    data: ImageData,
    own: ImageData,
    run: Run,
    folder: RunFolder,
    rows: dict[str, AttackRow],
    lease: Lease,
) -> list[AttackRow]:
    shown, where = without_secrets(config), device_for(config.trainer.accelerator)
    write_atomically(folder.config, yaml.safe_dump(shown, sort_keys=False))
    lines = [json.dumps(asdict(row)) + "\n" for row in rows.values()]  # without a half-written last one
    write_atomically(folder.path / "rows.jsonl", "".join(lines))
    folder.checkpoint.parent.mkdir(mode=0o700, exist_ok=True)  # what is forged may hold what an insider knows
    suspect = load_suspect(config.model, data, run.folder.weights).to(where)
    claim = load_claim(run.folder.claim) if run.folder.claim.exists() else None  # the baseline has none
    victim = Victim(suspect, claim, config.scheme.name)
    test = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    before = accuracy(victim.in_use(example_of(data, suspect)), test)
    images = LabelledImages(own.test_pixels, own.test_labels, own.mean, own.std)
    facts = [config.attack.name, config.scheme.name, config.model.name, config.model.norm, config.dataset.name]
    facts += [config.transfer.name] if config.transfer is not None else []
    with tracking(
        config.logger,
        folder.path,
        key=folder.key,
        group=run.folder.key,
        job_type="attack",
        tags=[*facts, *config.tags],
        facts=shown,
    ) as tracker:
        clock = _Clock(where)
        for row in rows.values():  # judged before an interruption
            tracker.point(asdict(row))

        def trains(
            name: str, scheme: Scheme, *, epochs: int, clip_norm: float | None, share: int | None = None
        ) -> None:
            metrics = folder.path / f"metrics-{name}.csv"
            if share is not None and (processes := processes_of(config.trainer)) > 1:
                problem = f"{processes} processes do not train on a share of the images"
                raise InputError("trainer.devices", config.trainer.devices, problem, "attack with one process")
            with clock.stopped():
                fit(
                    scheme,
                    own if share is None else own.share(share),
                    config,
                    epochs=epochs,
                    clip_norm=clip_norm,
                    seed=config.attack_seed,
                    checkpoint=folder.checkpoint.parent / name / "last.ckpt",
                    metrics=metrics,
                    tell=partial(tracker.epoch, training="" if name == config.attack.name else name),
                    callbacks=[KeepLease(lease)],
                    images=config.transfer,
                )
            clock.seconds += sum(float(row["seconds"]) for row in read_metrics(metrics))

        rivals: dict[str, Claim | None] = {}
        if config.rival is not None:
            for forged in config.rival.run(victim, data, trains, config.attack_seed):
                rivals |= {" ".join(filter(None, ["claim=rival", point])): c for point, c in forged.claims.items()}
        attacked = config.attack.run(replace(victim, judged=frozenset(rows)), own, trains, config.attack_seed)
        while (one := clock.timed(attacked)) is not None:
            network = one.suspect.to(where, torch.float32)  # whatever the precision it was trained in, as its file is
            claims = dict(one.claims)
            for point in one.claims:
                claims |= {" ".join(filter(None, [point, name])): rival for name, rival in rivals.items()}
            wanted = {point: claim for point, claim in claims.items() if point not in rows}
            if not wanted:
                continue
            freed = _freed_bits(network, victim.passport_claim, own) if one.freed else None
            judged = _judged(config, claim, network, wanted, images, before=before, same_task=own is data, freed=freed)
            lease.check()
            seconds = clock.seconds / one.trainings
            made = {
                point: _row(config, data, run, folder, point, outcome, one.iterations, seconds)
                for point, outcome in judged.items()
            }
            with naming(folder.path / "rows.jsonl"), (folder.path / "rows.jsonl").open("a") as file:
                file.write("".join(json.dumps(asdict(row)) + "\n" for row in made.values()))
            rows |= made
            for row in made.values():
                tracker.point(asdict(row))
        (folder.path / "finished").touch()
        tracker.summary(asdict(nearest(list(rows.values()))))
        tracker.table("points", [asdict(row) for row in rows.values()])
    return list(rows.values())


def _judged(
    config: AttackConfig,
    owner: Claim | None,
    network: nn.Module,
    wanted: Mapping[str, Claim | None],
    images: LabelledImages,
    *,
    before: float,
    same_task: bool,
    freed: int | None,
) -> dict[str, Outcome]:
    if owner is None:
        limit = config.verification.fidelity_threshold
        after = accuracy(network, images)
        return {point: unmarked(before, after, limit, same_task=same_task) for point in wanted}
    claims = {point: claim for point, claim in wanted.items() if claim is not None}
    with judging(images, f"judging {len(claims)} claims") as progress:
        verdicts = judge_claims(network, list(claims.values()), images, progress=progress)
    return {
        point: outcome_of(owner, claim, verdict, accuracy_before=before, same_task=same_task, bits_freed=freed)
        for (point, claim), verdict in zip(claims.items(), verdicts, strict=True)
    }


class _Clock:
    """The seconds that each suspect took: the attack's own work, and its trainings by their own clocks.

    Args:
        device: what the attack computes on.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds, self._started, self._device = 0.0, 0.0, device

    def timed(self, attacked: Iterator[Attacked]) -> Attacked | None:
        self.seconds, self._started = 0.0, now(self._device)
        one = next(attacked, None)
        self.seconds += now(self._device) - self._started
        return one

    @contextmanager
    def stopped(self) -> Iterator[None]:
        stopped = now(self._device)
        try:
            yield
        finally:
            self._started += now(self._device) - stopped


def _freed_bits(network: nn.Module, owner: PassportClaim, data: ImageData) -> int:
    places = find_layers(network, example_of(data, network), owner.layers)
    scales = {place.conv: network.get_submodule(place.norm).get_parameter("weight").detach() for place in places}
    return sum(agreeing_bits(detect(scales[name]).cpu(), bits) for name, bits in owner.signature.items())


def _row(
    config: AttackConfig,
    data: ImageData,
    run: Run,
    folder: RunFolder,
    point: str,
    outcome: Outcome,
    iterations: int | None,
    seconds: float,
) -> AttackRow:
    return AttackRow(
        **asdict(outcome),
        key=folder.key,
        attack=config.attack.name,
        kind=config.attack.kind,
        point=point,
        victim=run.folder.key,
        scheme=config.scheme.name,
        model=config.model.name,
        norm=config.model.norm,
        width=config.model.width,
        dataset=config.dataset.name,
        transfer=config.transfer.name if config.transfer else None,
        train_images=data.train_labels.numel(),
        test_images=data.test_labels.numel(),
        victim_epochs=config.trainer.max_epochs,
        attack_epochs=getattr(config.attack, "epochs", None),
        iterations=iterations,
        seed=config.seed,
        attack_seed=config.attack_seed,
        tags=joined(config.tags),
        seconds=round(seconds, 3),
        share_of_training=seconds / run.record.train_seconds if run.record.train_seconds else 0.0,
        hardware=hardware(training_device(config.trainer.accelerator), processes_of(config.trainer)),
        threads=torch.get_num_threads(),
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
