"""An attack while it is carried out: it trains what it trains, every point is judged, and the rows are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
import yaml
from torch import nn

from ipr.attacks.base import Attacked, Fit, Victim, example_of
from ipr.attacks.config import AttackConfig
from ipr.claims.base import Claim
from ipr.data.images import ImageData, LabelledImages
from ipr.errors import InputError
from ipr.files import naming, write_atomically
from ipr.judging.alignment import Alignment, align, misfit
from ipr.judging.as_dated import Terms, best, decided
from ipr.judging.claim_kinds import load_claim
from ipr.judging.decision import Decision
from ipr.judging.fidelity import accuracy
from ipr.judging.outcome import Outcome, nearest, outcome_of, unmarked
from ipr.judging.unread import charged, fits, unread
from ipr.judging.verdict import Verdict, judge_claims
from ipr.machine.device import device_for, now
from ipr.passport.claim import PassportClaim
from ipr.passport.kinds import own_pair
from ipr.passport.surgery import find_layers
from ipr.schemes.base import Scheme
from ipr.schemes.start import check_start, load_suspect, start_network
from ipr.signature import agreeing_bits, detect
from ipr.store.folder import RunFolder
from ipr.store.lease import Lease
from ipr.tracking.loggers import tracking
from ipr.tracking.wandb_run import Tracker
from ipr.training.fit import fit
from ipr.training.guards import KeepLease
from ipr.training.metrics import read_metrics
from ipr.workflows.attack_rows import ALIGNED, AttackRow, victim_facts
from ipr.workflows.attackers_images import judged_alike, shared_images
from ipr.workflows.request import facts_of, scheme_of, without_secrets
from ipr.workflows.shown_name import attack_name
from ipr.workflows.train import Run, judging, started
from ipr.workflows.trained_before import found_before


@dataclass
class CarryingOut:
    """One attack while it is carried out: trains what it trains, judges every point, and keeps the rows.

    Attributes:
        config: the request.
        data: the victim's images, and what is judged on unless the attacker has others.
        own: the images that the attacker has.
        run: the victim.
        folder: where the rows are kept.
        rows: of the points that were judged before an interruption.
        lease: on the folder.
    """

    config: AttackConfig
    data: ImageData
    own: ImageData
    run: Run
    folder: RunFolder
    rows: dict[str, AttackRow]
    lease: Lease

    def __post_init__(self) -> None:
        config, run = self.config, self.run
        self.where = device_for(config.trainer.accelerator)
        self.clock = _Clock(self.where)
        self.shared, self.images = shared_images(self.own, self.data), config.transfer
        if self.images is not None:  # other processes open them, and are to normalise them as this one
            self.images = replace(self.images, mean=[*self.own.mean], std=[*self.own.std])
        suspect = load_suspect(config.model, self.data, run.folder.weights).to(self.where)
        claim = load_claim(run.folder.claim) if run.folder.claim.exists() else None  # the baseline has none
        locked = scheme_of(config).locked
        self.victim = Victim(suspect, claim, locked, start=self._start, model=config.model)
        self.before = accuracy(self.victim.in_use(example_of(self.data, suspect)), self.data.test_images)

    def rows_of_all_points(self) -> list[AttackRow]:
        """Carries the attack out to its end; rows are on disk as soon as their point is judged."""
        config, shown = self.config, without_secrets(self.config)
        write_atomically(self.folder.config, yaml.safe_dump(shown, sort_keys=False))
        lines = [json.dumps(asdict(row)) + "\n" for row in self.rows.values()]  # without a half-written last one
        write_atomically(self.folder.path / "rows.jsonl", "".join(lines))
        self.folder.checkpoint.parent.mkdir(mode=0o700, exist_ok=True)  # what is forged may hold what an insider knows
        facts = [config.attack.name, config.scheme.name, config.model.name, config.model.norm, config.dataset.name]
        moved = config.transfer.name if config.transfer is not None else None
        facts += [moved] if moved is not None else []
        with tracking(
            config.logger,
            self.folder,
            name=attack_name(config.attack.name, moved, config, self.folder.key),
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

    def _start(self) -> nn.Module:
        """The plain network that the victim's training began with.

        Raises:
            InputError: `init` has changed since, or is gone.
        """
        check_start(self.config, self.run.record.init)
        return start_network(started(self.config, self.data), self.data)

    def _fit(
        self,
        tracker: Tracker,
        name: str,
        scheme: Scheme,
        *,
        epochs: int,
        clip_norm: float | None,
        share: int | None = None,
        alone: bool = False,
    ) -> None:
        """See `attacks.base.Fit`."""
        config, metrics = self.config, self.folder.path / f"metrics-{name}.csv"
        checkpoint = self.folder.checkpoint.parent / name / "last.ckpt"
        if share is not None and (processes := config.trainer.processes) > 1:
            problem = f"{processes} processes do not train on a share of the images"
            raise InputError("trainer.devices", config.trainer.devices, problem, "attack with one process")
        with self.clock.stopped():
            if alone:
                found_before(config, self.data, self.own, epochs, checkpoint, metrics)
            fit(
                scheme,
                self.own if share is None else self.own.share(share),
                config,
                epochs=epochs,
                clip_norm=clip_norm,
                seed=config.attack_seed,
                checkpoint=checkpoint,
                metrics=metrics,
                tell=partial(tracker.epoch, training="" if name == config.attack.name else name),
                callbacks=[KeepLease(self.lease)],
                images=self.images,
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
        """The rows of an attacked suspect whose points were not judged before, written down: as it is, and aligned."""
        network = one.suspect.to(self.where, torch.float32)  # whatever it was trained in, as its file is
        claims = dict(one.claims)
        for point in one.claims:
            claims |= {_joined(point, name): rival for name, rival in rivals.items()}
        made: dict[str, AttackRow] = {}
        aligned: Alignment | None = None
        untouched = one.suspect is self.victim.suspect
        for form in ("", ALIGNED) if self.config.attack.undone else ("",):
            wanted = {_joined(point, form): claim for point, claim in claims.items()}
            wanted = {point: claim for point, claim in wanted.items() if point not in self.rows}
            if wanted:
                aligned = aligned or (None if untouched else self._aligned(network))
                shown, ways = (aligned.network, aligned.ways) if form and aligned else (network, 1)
                outcomes = self._outcomes(shown, wanted, freed=one.freed, ways=ways)
                decisions = self._decisions(outcomes, wanted, aligned, same=untouched or None)
                seconds = self.clock.seconds / one.trainings
                made |= {
                    point: self._row(point, outcome, decisions.get(point), one.iterations, seconds)
                    for point, (outcome, _) in outcomes.items()
                }
        if not made:
            return []
        self.lease.check()
        with naming(self.folder.path / "rows.jsonl"), (self.folder.path / "rows.jsonl").open("a") as file:
            file.write("".join(json.dumps(asdict(row)) + "\n" for row in made.values()))
        self.rows |= made
        return list(made.values())

    def _aligned(self, network: nn.Module) -> Alignment | None:
        """The suspect in the form of the victim, as a judge brings it there; None of another architecture."""
        try:
            return align(network, self.victim.suspect, example_of(self.own, network))
        except InputError:
            return None

    def _outcomes(
        self, network: nn.Module, wanted: Mapping[str, Claim | None], *, freed: bool, ways: int
    ) -> dict[str, tuple[Outcome, Verdict | None]]:
        own, owner, same_task = self.own, self.victim.claim, judged_alike(self.own, self.data)
        images = own.test_images
        if owner is None:
            limit, after = self.config.verification.fidelity_threshold, accuracy(network, images)
            return {point: (unmarked(self.before, after, limit, same_task=same_task), None) for point in wanted}
        bits = _freed_bits(network, self.victim.passport_claim, own) if freed else None
        claims = {point: claim for point, claim in wanted.items() if claim is not None}
        verdicts = [charged(verdict, ways) for verdict in self._verdicts(network, list(claims.values()), images)]
        of = partial(outcome_of, owner, accuracy_before=self.before, same_task=same_task, bits_freed=bits)
        return {
            point: (of(claim, verdict), verdict)
            for (point, claim), verdict in zip(claims.items(), verdicts, strict=True)
        }

    def _decisions(
        self,
        outcomes: Mapping[str, tuple[Outcome, Verdict | None]],
        wanted: Mapping[str, Claim | None],
        aligned: Alignment | None,
        *,
        same: bool | None,
    ) -> dict[str, Decision]:
        """What a judge would decide; he reads a copy aligned as well, unless that is a point of its own."""
        attack, owner, data = self.config.attack, self.victim.claim, self.data
        claims = {point: claim for point, claim in wanted.items() if claim is not None}
        if not claims or not judged_alike(self.own, data):
            return {}
        same = aligned.same if aligned else same
        terms = {
            point: Terms(claim is owner or attack.dated, claim is not owner and attack.drawn, same, attack.served)
            for point, claim in claims.items()
        }
        again: list[Verdict] = []
        if aligned and aligned.similar and not attack.undone:
            read = self._verdicts(aligned.network, list(claims.values()), data.test_images)
            again = [charged(verdict, aligned.ways) for verdict in read]
        found: dict[str, Decision] = {}
        for number, (point, claim) in enumerate(claims.items()):
            verdict = outcomes[point][1]
            assert verdict is not None
            given = charged(verdict, aligned.ways) if again and aligned else verdict
            readings = [given, *again[number : number + 1]]
            found[point] = best([(one, decided(claim, one, data, terms[point])) for one in readings])
        return found

    def _verdicts(self, network: nn.Module, claims: list[Claim], images: LabelledImages) -> list[Verdict]:
        """Of the judge; of claims that do not fit what became of the network, that they are not read."""
        if misfit(network, self.victim.suspect) is None:
            fitting = claims
        else:
            fitting = [claim for claim in claims if fits(claim, network, example_of(self.own, network))]
        with judging(images, f"judging {len(claims)} claims") as progress:
            read = iter(judge_claims(network, fitting, images, progress=progress) if fitting else [])
        rest = iter(unread(network, [claim for claim in claims if not _among(claim, fitting)], images))
        return [next(read) if _among(claim, fitting) else next(rest) for claim in claims]

    def _row(
        self, point: str, outcome: Outcome, decision: Decision | None, iterations: int | None, seconds: float
    ) -> AttackRow:
        config, record = self.config, self.run.record
        whole = record.train_seconds
        deciding = decision.deciding if decision else ()
        return AttackRow(
            **asdict(outcome),
            **facts_of(config),
            key=self.folder.key,
            attack=config.attack.name,
            kind=config.attack.kind,
            point=point,
            victim=self.run.folder.key,
            transfer=config.transfer.name if config.transfer else None,
            train_images=self.data.train_labels.numel(),
            test_images=self.data.test_labels.numel(),
            decision=decision.outcome if decision else None,
            deciding=", ".join(condition.name for condition in deciding),
            attacker_images=self.own.train_labels.numel(),
            shared_images=self.shared,
            victim_epochs=config.trainer.max_epochs,
            **victim_facts(record),
            attack_epochs=getattr(config.attack, "epochs", None) or None,
            iterations=iterations,
            attack_seed=config.attack_seed,
            seconds=round(seconds, 3),
            share_of_training=seconds / whole if whole else 0.0,
        )


def _among(claim: Claim, claims: list[Claim]) -> bool:
    return any(claim is other for other in claims)  # tensors are not compared


def _joined(*names: str) -> str:
    return " ".join(filter(None, names))


class _Clock:
    """The seconds that each suspect took: the attack's own work, and its trainings by their own clocks."""

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
    layers = find_layers(network, example_of(data, network), owner.layers)
    scales = {layer.conv: own_pair(network.get_submodule(layer.norm), layer.channels)[0] for layer in layers}
    return sum(agreeing_bits(detect(scales[name]).cpu(), bits) for name, bits in owner.signature.items())
