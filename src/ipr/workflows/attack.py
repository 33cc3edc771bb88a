"""From a request to a judged attack: find or train the victim, attack it, judge every point, keep the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of
from ipr.attacks.config import AttackConfig
from ipr.claims.base import Claim
from ipr.data.images import ImageData
from ipr.data.opening import open_images
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
from ipr.store.find_or_make import making
from ipr.store.folder import RunFolder, folder_named, run_key, short_key
from ipr.store.lease import Lease
from ipr.store.reading import Fitting
from ipr.store.record import provenance
from ipr.store.tags import joined
from ipr.terminal.console import Console
from ipr.tracking.loggers import LoggerTracker
from ipr.tracking.wandb_run import Tracker, tracking
from ipr.training.fit import fit
from ipr.training.guards import KeepLease
from ipr.training.metrics import read_metrics
from ipr.workflows.named_run import named_run
from ipr.workflows.rehearsal import rehearsal
from ipr.workflows.request import check_ready, processes_of, scheme_of, with_limit, without_secrets
from ipr.workflows.train import Run, judging, train
from ipr.workflows.weights_file import load_suspect
from ipr.world import own_world

SCHEMA_VERSION = 2


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
def attack(config: AttackConfig, data: ImageData | None = None) -> AttackRun:
    """The attack that a configuration asks for: found in the store, gone on with, or carried out and judged.

    Args:
        config: the request.
        data: its images, where `open_images` has opened them already; `train` refuses others.

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
    own = data if config.transfer is None else open_images(config.transfer, config.paths)
    _check_combination(config, data, own)
    victim = train(config, data) if config.run is None else named_run(config)
    folder = attack_folder(config, victim.folder, own)
    if (there := _found(folder)) is not None:
        return replace(there, victim=victim)
    with making(folder, config.tags, training_device(config.trainer.accelerator)) as lease:
        if (there := _found(folder)) is not None:  # made by whom this process has waited for
            return replace(there, victim=victim)
        rows = load_rows(folder.path / "rows.jsonl")
        if rows:
            what = f"resumed: {folder.path} goes on; {len(rows)} points are done"
            Console(stderr=True).print(what, highlight=False, soft_wrap=True)
        carrying_out = CarryingOut(config, data, own, victim, folder, rows, lease)
        return AttackRun(folder, carrying_out.rows_of_all_points(), found=False, victim=victim)


def _check_combination(config: AttackConfig, data: ImageData, own: ImageData) -> None:
    """Refuses a rival or a transfer that does not go with the attack, and images that the victim does not take."""
    transfer, rival = config.transfer, config.rival
    if (own.image_size, own.channels) != (data.image_size, data.channels):
        raise InputError(
            "transfer",
            transfer.name if transfer else None,
            f"has images of {own.image_size} pixels and {own.channels} channels, the victim was trained on "
            f"{data.image_size} and {data.channels}",
            f"give transfer.image_size={data.image_size}",
        )
    if rival is not None:
        if (config.attack.kind, rival.kind) != ("removal", "ambiguity"):
            raise InputError(
                "rival",
                rival.name,
                f"is a {rival.kind} attack before attack={config.attack.name}, a {config.attack.kind} attack",
                "name an ambiguity attack as rival of a removal attack, or attack@rival=null",
            )
        rival.check(config.scheme.name)
    if transfer is not None and config.attack.name != "finetune":
        problem = f"attack={config.attack.name} needs the victim's own data"
        raise InputError("transfer", transfer.name, problem, "use attack=finetune")


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
    images: Any = own.fingerprint
    if config.transfer is not None:
        named = (config.transfer.part, config.transfer.validation)
        images = [own.fingerprint, own.train_labels.numel(), *(part for part in named if part)]
    identity = {
        "victim": short_key(victim.key),
        "attack": asdict(config.attack),
        "seed": config.attack_seed,
        "images": images,
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


class CarryingOut:
    """One attack while it is carried out: trains what it trains, judges every point, and keeps the rows.

    Args:
        config: the request.
        data: the victim's images, and what is judged on unless the attacker has others.
        own: the images that the attacker has.
        run: the victim.
        folder: where the rows are kept.
        rows: of the points that were judged before an interruption.
        lease: on the folder.
    """

    def __init__(
        self,
        config: AttackConfig,
        data: ImageData,
        own: ImageData,
        run: Run,
        folder: RunFolder,
        rows: dict[str, AttackRow],
        lease: Lease,
    ) -> None:
        self.config, self.data, self.own, self.run = config, data, own, run
        self.folder, self.rows, self.lease = folder, rows, lease
        self.where = device_for(config.trainer.accelerator)
        self.clock = _Clock(self.where)
        suspect = load_suspect(config.model, data, run.folder.weights).to(self.where)
        claim = load_claim(run.folder.claim) if run.folder.claim.exists() else None  # the baseline has none
        self.victim = Victim(suspect, claim, scheme_of(config).locked)
        test = data.test_images
        self.before = accuracy(self.victim.in_use(example_of(data, suspect)), test)

    def rows_of_all_points(self) -> list[AttackRow]:
        """Carries the attack out to its end; rows are on disk as soon as their point is judged."""
        config, shown = self.config, without_secrets(self.config)
        write_atomically(self.folder.config, yaml.safe_dump(shown, sort_keys=False))
        lines = [json.dumps(asdict(row)) + "\n" for row in self.rows.values()]  # without a half-written last one
        write_atomically(self.folder.path / "rows.jsonl", "".join(lines))
        self.folder.checkpoint.parent.mkdir(mode=0o700, exist_ok=True)  # what is forged may hold what an insider knows
        facts = [config.attack.name, config.scheme.name, config.model.name, config.model.norm, config.dataset.name]
        facts += [config.transfer.name] if config.transfer is not None else []
        with tracking(
            config.logger,
            self.folder.path,
            key=self.folder.key,
            group=self.run.folder.key,
            job_type="attack",
            tags=[*facts, *config.tags],
            facts=shown,
        ) as tracker:
            for row in self.rows.values():  # judged before an interruption
                tracker.point(asdict(row))
            train = partial(self._fit, tracker)
            rivals = self._rivals(train)
            victim = replace(self.victim, judged=frozenset(self.rows))
            attacked = config.attack.run(victim, self.own, train, config.attack_seed)
            while (one := self.clock.timed(attacked)) is not None:
                for row in self._judged(one, rivals):
                    tracker.point(asdict(row))
            (self.folder.path / "finished").touch()
            tracker.summary(asdict(nearest(list(self.rows.values()))))
            tracker.table("points", [asdict(row) for row in self.rows.values()])
        return list(self.rows.values())

    def _fit(
        self,
        tracker: Tracker | LoggerTracker,
        name: str,
        scheme: Scheme,
        *,
        epochs: int,
        clip_norm: float | None,
        share: int | None = None,
    ) -> None:
        """See `attacks.base.Fit`."""
        config, metrics = self.config, self.folder.path / f"metrics-{name}.csv"
        if share is not None and (processes := processes_of(config.trainer)) > 1:
            problem = f"{processes} processes do not train on a share of the images"
            raise InputError("trainer.devices", config.trainer.devices, problem, "attack with one process")
        with self.clock.stopped():
            fit(
                scheme,
                self.own if share is None else self.own.share(share),
                config,
                epochs=epochs,
                clip_norm=clip_norm,
                seed=config.attack_seed,
                checkpoint=self.folder.checkpoint.parent / name / "last.ckpt",
                metrics=metrics,
                tell=partial(tracker.epoch, training="" if name == config.attack.name else name),
                callbacks=[KeepLease(self.lease)],
                images=config.transfer,
            )
        self.clock.seconds += sum(float(row["seconds"]) for row in read_metrics(metrics))

    def _rivals(self, train: Fit) -> dict[str, Claim | None]:
        """The claims of a forger, made on the victim before the removal attack: judged at every point of it."""
        rivals: dict[str, Claim | None] = {}
        if self.config.rival is not None:
            for forged in self.config.rival.run(self.victim, self.data, train, self.config.attack_seed):
                rivals |= {_joined("claim=rival", point): claim for point, claim in forged.claims.items()}
        return rivals

    def _judged(self, one: Attacked, rivals: Mapping[str, Claim | None]) -> list[AttackRow]:
        """The rows of an attacked suspect whose points were not judged before, written down."""
        network = one.suspect.to(self.where, torch.float32)  # whatever it was trained in, as its file is
        claims = dict(one.claims)
        for point in one.claims:
            claims |= {_joined(point, name): rival for name, rival in rivals.items()}
        wanted = {point: claim for point, claim in claims.items() if point not in self.rows}
        if not wanted:
            return []
        outcomes = self._outcomes(network, wanted, freed=one.freed)
        self.lease.check()
        seconds = self.clock.seconds / one.trainings
        made = {point: self._row(point, outcome, one.iterations, seconds) for point, outcome in outcomes.items()}
        with naming(self.folder.path / "rows.jsonl"), (self.folder.path / "rows.jsonl").open("a") as file:
            file.write("".join(json.dumps(asdict(row)) + "\n" for row in made.values()))
        self.rows |= made
        return list(made.values())

    def _outcomes(self, network: nn.Module, wanted: Mapping[str, Claim | None], *, freed: bool) -> dict[str, Outcome]:
        own, owner, same_task = self.own, self.victim.claim, self.own is self.data
        images = own.test_images
        if owner is None:
            limit, after = self.config.verification.fidelity_threshold, accuracy(network, images)
            return {point: unmarked(self.before, after, limit, same_task=same_task) for point in wanted}
        bits = _freed_bits(network, self.victim.passport_claim, own) if freed else None
        claims = {point: claim for point, claim in wanted.items() if claim is not None}
        with judging(images, f"judging {len(claims)} claims") as progress:
            verdicts = judge_claims(network, list(claims.values()), images, progress=progress)
        return {
            point: outcome_of(owner, claim, verdict, accuracy_before=self.before, same_task=same_task, bits_freed=bits)
            for (point, claim), verdict in zip(claims.items(), verdicts, strict=True)
        }

    def _row(self, point: str, outcome: Outcome, iterations: int | None, seconds: float) -> AttackRow:
        config, whole = self.config, self.run.record.train_seconds
        return AttackRow(
            **asdict(outcome),
            key=self.folder.key,
            attack=config.attack.name,
            kind=config.attack.kind,
            point=point,
            victim=self.run.folder.key,
            scheme=config.scheme.name,
            model=config.model.name,
            norm=config.model.norm,
            width=config.model.width,
            dataset=config.dataset.name,
            transfer=config.transfer.name if config.transfer else None,
            train_images=self.data.train_labels.numel(),
            test_images=self.data.test_labels.numel(),
            victim_epochs=config.trainer.max_epochs,
            attack_epochs=getattr(config.attack, "epochs", None),
            iterations=iterations,
            seed=config.seed,
            attack_seed=config.attack_seed,
            tags=joined(config.tags),
            seconds=round(seconds, 3),
            share_of_training=seconds / whole if whole else 0.0,
            **provenance(training_device(config.trainer.accelerator), processes_of(config.trainer)),
        )


def _joined(*names: str) -> str:
    return " ".join(filter(None, names))


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
