"""What forgers and thieves get: every way to a wrong verdict that was found, by the old rule and by `ipr verify`.

    python benchmarks/forgers.py runs/forgers

trains small networks on the digits where they are not in that folder yet (AlexNet, and one ResNet-18, at a quarter of
the width, 8 pixels), forges a claim to each in every way below, with the functions that `ipr attack` uses, and prints a
table in Markdown. *Before* is Definition 1 with what the claim declares for itself: an accuracy within its fidelity of
its target, or any where it declares none; a chance of a guess of at most its p-value; of a watermark a commitment no
later than the day of the release. *After* is the outcome of `ipr verify` under the rule `sound`. What a forger cannot
have before he sees the network is not dated. Where he makes several claims the one that comes furthest is told, by the
very images that are judged on: that errs on his side.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from forged_copies import nudged, put_in_place
from ipr.attacks.ambiguity.erb import Erb
from ipr.attacks.ambiguity.forge_projection import ForgeDeepSigns, ForgeUchida
from ipr.attacks.ambiguity.guessed_passports import LiftPassport, Ones, SingularVectors
from ipr.attacks.base import Attack, Fit, Victim, constant_rate
from ipr.claims.base import Claim, Thresholds
from ipr.claims.commitment import commit, save_commitment
from ipr.claims.origin import SIGNATURE, Origin
from ipr.config.rule import Rule
from ipr.config.schema import CommitmentConfig, EndpointConfig, TrainConfig, VerifyConfig
from ipr.data.cache import cached_at
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.data.opening import open_images
from ipr.data.sources import DatasetRequest, find_source
from ipr.errors import InputError
from ipr.judging.calibration import Calibration, WrongClaims, false_claim_rate
from ipr.judging.calibration_file import calibration_facts, seal_calibration
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import BATCH
from ipr.judging.signing import judge_key
from ipr.judging.verdict import Verdict, claim_of_signs, judge_claims
from ipr.judging.wrong_claims import universal
from ipr.models.claimed import network_of
from ipr.passport.bound import NONCE_BYTES, Binding, bound_signature
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.layer import Branch
from ipr.passport.lift import lift, public_scales
from ipr.passport.surgery import ConvNorm, find_layers, protect, strip
from ipr.randomness import derive_seed, generator, started_at
from ipr.requests.compose import configuration
from ipr.schemes.base import Scheme
from ipr.schemes.passport import SignatureLoss
from ipr.schemes.passport_v2 import PassportV2
from ipr.schemes.start import load_suspect
from ipr.signature import binomial_tail, draw_signature
from ipr.store.record import hardware, versions
from ipr.store.weights import as_safetensors
from ipr.training.fit import fit
from ipr.watermarks.base import WatermarkClaim
from ipr.workflows.request import scheme_of
from ipr.workflows.train import train
from ipr.workflows.verify import verify

RELEASED = "2026-03-01"
IN_TIME = "2026-01-31"
LONG_AGO = "2020-01-01"

REQUEST = (
    "model.width=0.25", "dataset.image_size=8", "logger=csv", "trainer.progress_bar=false", "verification.forged=10",
    "passport.key=benchmark", "passport.energy=3",
)  # fmt: skip

VICTIMS = {
    "V1": ("scheme=passport_v1", "passport=random"),
    "V1 shuffled": ("scheme=passport_v1", "passport=shuffled"),
    "V2": ("scheme=passport_v2", "passport=random", "model.norm=gn"),
    "V2 with batch norm": ("scheme=passport_v2", "passport=random", "model.norm=bn"),
    "V2, ResNet-18": ("scheme=passport_v2", "passport=random", "model.norm=gn", "model=resnet18"),
    "V3": ("scheme=passport_v3", "passport=random", "model.norm=gn"),
    "baseline": ("scheme=baseline", "model.norm=bn"),
    "uchida": ("scheme=uchida",),
    "deepsigns": ("scheme=deepsigns",),
}
"""What is attacked, by the name it has in the table."""

GRINDING_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """A trained victim: the request that made it, its weights file, the network, and the owner's claim, if any."""

    name: str
    request: TrainConfig
    data: ImageData
    weights: Path
    network: nn.Module
    claim: Claim | None

    @property
    def owner(self) -> PassportClaim:
        """The owner's claim, of a passport scheme."""
        assert isinstance(self.claim, PassportClaim)
        return self.claim

    @property
    def images(self) -> LabelledImages:
        """What is judged on."""
        return LabelledImages(self.data.test_pixels, self.data.test_labels, self.data.mean, self.data.std)

    @property
    def layers(self) -> list[ConvNorm]:
        """The protected layers, or those that a passport of this architecture would protect."""
        example = normalise(self.data.train_pixels[:1], self.data.mean, self.data.std)
        named = self.claim.layers if isinstance(self.claim, PassportClaim) else self.request.model.passport_layers
        return find_layers(self.network, example, named)


@dataclass(frozen=True)
class Tried:
    """What was brought to the judge.

    Attributes:
        claims: one or more; the one that comes furthest is told.
        registered: the day of the commitment; None for none.
        network: the suspect, where it is another than the victim.
        reference: whether the judge is given the weights that were committed to, to match the suspect to.
        note: what else is told.
        images: what is judged on, where they are others than the victim's.
        committed: the network that was committed to, where it is another than the victim.
        brings: what else is put in front of the judge: writes it into a folder, and returns settings of `ipr verify`,
            `calibration` or `paths.cache`.
    """

    claims: Sequence[Claim]
    registered: str | None = None
    network: nn.Module | None = None
    reference: bool = False
    note: str = ""
    images: LabelledImages | None = None
    committed: nn.Module | None = None
    brings: Callable[[Path, Claim], Mapping[str, str]] | None = None


@dataclass(frozen=True)
class Way:
    """A row: what is done, what it takes, to which victims, and how."""

    what: str
    needs: str
    victims: tuple[str, ...]
    done: Callable[[Place], Tried]


def before(verdict: Verdict, claim: Claim, registered: str | None) -> bool:
    """The rule of the first versions."""
    limits = claim.thresholds
    target = verdict.fidelity.accuracy if limits.target_accuracy is None else limits.target_accuracy
    faithful = abs(verdict.fidelity.accuracy - target) <= limits.fidelity + 1e-12
    read = verdict.reading.p_value <= limits.p_value
    dated = registered is not None and registered <= RELEASED
    return faithful and read and (dated or isinstance(claim, PassportClaim))


def after(place: Place, tried: Tried, claim: Claim, folder: Path) -> str:
    """The outcome of `ipr verify` under the rule `sound`, or why the claim could not be judged."""
    weights, where, committed = place.weights, folder / "claim", place.weights
    if tried.network is not None:
        weights = folder / "suspect.safetensors"
        weights.write_bytes(as_safetensors(tried.network.state_dict()))
    if tried.committed is not None:
        committed = folder / "committed.safetensors"
        committed.write_bytes(as_safetensors(tried.committed.state_dict()))
    try:
        claim.save(where)
        known = CommitmentConfig()
        if tried.registered is not None:
            commitment = commit(claim, load_file(committed))
            save_commitment(commitment, where)
            known = CommitmentConfig(commitment.digest, tried.registered, RELEASED)
        asked = VerifyConfig(
            suspect=str(weights),
            claim=str(where),
            dataset=place.request.dataset,
            paths=place.request.paths,
            rule=Rule(name="sound"),
            commitment=known,
            endpoint=EndpointConfig(),
            reference=str(committed) if tried.reference else None,
            tried=len(tried.claims),
            forged=10,
        )
        more: Mapping[str, str] = {} if tried.brings is None else tried.brings(folder, claim)
        paths = replace(asked.paths, cache=more.get("paths.cache", asked.paths.cache))
        return verify(replace(asked, paths=paths, calibration=more.get("calibration"))).decision.outcome
    except InputError as refused:
        return f"refused ({refused.problem})"


def row(way: Way, place: Place) -> str:
    """One line of the table."""
    started = time.perf_counter()
    tried = way.done(place)
    seconds = time.perf_counter() - started
    try:
        claim, verdict = furthest(place, tried)
    except InputError as refused:  # the old rule took it
        cells = (way.what, way.needs, place.name, f"{seconds:.1f} s", "", "", "", f"refused ({refused.problem})")
        return "| " + " | ".join(cells) + " |"
    with tempfile.TemporaryDirectory() as folder:
        outcome = after(place, tried, claim, Path(folder))
    agreeing, total = sum(verdict.reading.agreeing.values()), sum(verdict.reading.total.values())
    cells = (
        way.what, way.needs, place.name, f"{seconds:.1f} s", f"{100 * verdict.fidelity.accuracy:.1f}",
        f"{agreeing} of {total}{tried.note}",
        "verified" if before(verdict, claim, tried.registered) else "not verified", outcome,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def furthest(place: Place, tried: Tried) -> tuple[Claim, Verdict]:
    """The claim that comes furthest by the old rule, then by its bits and its accuracy, and what was measured of it."""
    suspect = place.network if tried.network is None else tried.network
    verdicts = judge_claims(suspect, tried.claims, tried.images or place.images)

    def reached(i: int) -> tuple[bool, float, float]:
        believed = before(verdicts[i], tried.claims[i], tried.registered)
        return believed, verdicts[i].reading.agreement, verdicts[i].fidelity.accuracy

    best = max(range(len(verdicts)), key=reached)
    return tried.claims[best], verdicts[best]


HEADER = """| what is done | what it takes | to | time | accuracy, % | claimed bits read | before | after |
|---|---|---|---|---|---|---|---|"""


def by_attack(attack: Attack) -> Callable[[Place], Tried]:
    """A way that `ipr attack` has too."""

    def done(place: Place) -> Tried:
        assert place.claim is not None
        victim = Victim(place.network, place.claim, scheme_of(place.request).locked)
        points = attack.run(victim, place.data, _trains(place, attack.name), 0)
        claims = [claim for one in points for claim in one.claims.values() if claim is not None]
        return Tried([_not_all_equal(claim) for claim in claims])

    return done


def _not_all_equal(claim: Claim) -> Claim:
    """A signature of equal bits is refused; so a forger claims one wrong bit a layer, which changes no decision."""
    bits = claim.marks()
    if not isinstance(claim, PassportClaim) or bool((bits != bits[0]).any()):
        return claim
    turned = {name: torch.cat([-own[:1], own[1:]]) for name, own in claim.signature.items()}
    return replace(claim, signature=turned)


def _trains(place: Place, attack: str) -> Fit:
    """Trains as `ipr attack` does, with checkpoints, so that a second run of this script finds what was trained."""
    config, folder = place.request, place.weights.parent / attack

    def trains(
        name: str,
        scheme: Scheme,
        *,
        epochs: int,
        clip_norm: float | None,
        share: int | None = None,
        alone: bool = False,
    ) -> None:
        known = place.data if share is None else place.data.share(share)
        folder.mkdir(parents=True, exist_ok=True)
        kept, metrics = folder / name / "last.ckpt", folder / f"{name}.csv"
        fit(scheme, known, config, epochs=epochs, clip_norm=clip_norm, seed=0, checkpoint=kept, metrics=metrics)

    return trains


def genuine(place: Place) -> Tried:
    """The owner, who committed before the release."""
    return Tried([_claim(place)], registered=IN_TIME, reference=True)


def own_thresholds(place: Place) -> Tried:
    """A random passport, its signature drawn at random, and limits that everything keeps."""
    passport = with_energy(random_passport(place.layers, generator(0, "own thresholds")), place.network, 3.0)
    return Tried([_anybodys(place, passport, Thresholds(None, 1.0, 1.0), generator(0, "signature"))])


def zero_passport(place: Place) -> Tried:
    """A scale of 0 is read as -1, so the bits -1 are all there."""
    passport = {layer.conv: torch.zeros(2, *layer.input_shape) for layer in place.layers}
    return Tried([_anybodys(place, passport, Thresholds(None), None)])


def dated_universal(place: Place, *, same: bool = False) -> Tried:
    """Keys that fit most networks, committed years before any of them; with `same` one row throughout, up to sign."""
    claim = _claim(place)
    assert isinstance(claim, WatermarkClaim)
    measured = judge_claims(place.network, [claim], place.images)[0].fidelity.accuracy
    limits = replace(claim.thresholds, target_accuracy=measured)
    found = universal(claim, place.network, place.data, 4, 0)[same::2]
    return Tried([replace(one, thresholds=limits) for one in found], registered=LONG_AGO)


def on_the_day(attack: Attack) -> Callable[[Place], Tried]:
    """A forged claim, committed to on the very day of the release."""

    def done(place: Place) -> Tried:
        return replace(by_attack(attack)(place), registered=RELEASED)

    return done


def grind(place: Place, *, slow: bool = False, flips: bool = False) -> Tried:
    """Nonces are tried until time is up: of a bound signature a few more bits agree with what a lifted passport spells.

    With `flips`, groups of channels whose bits disagree in more than half are turned over in the forger's copy, which
    changes no answer.
    """
    started, tries = time.perf_counter(), 0
    best = (-1, str(Binding(bytes(NONCE_BYTES), slow=slow)))
    scales = public_scales(place.network, place.layers)
    passport = lift(scales, place.network, place.layers).passport
    sizes = {layer.conv: layer.channels for layer in place.layers}
    while tries == 0 or time.perf_counter() - started < GRINDING_SECONDS:
        binding = Binding(tries.to_bytes(NONCE_BYTES), slow=slow)
        bits = bound_signature(passport, sizes, "Mallory", binding)
        best = max(best, (sum(int(_agree(place, n, scales, bits, flips).sum()) for n in sizes), str(binding)))
        tries += 1
    bits = bound_signature(passport, sizes, "Mallory", Binding.parse(best[1]))
    network = place.network
    if flips:
        turned = {n: ~(_spelled(scales[n]) == bits[n]) & _agree(place, n, scales, bits, True) for n in sizes}
        network = turned_over(place, {n: _whole_groups(place, n, one) for n, one in turned.items()})
    claim = replace(
        place.owner.forged(passport=passport, text_bytes=0, triggers=None),
        signature=bits, owner="Mallory", binding=best[1],
    )  # fmt: skip
    total = sum(sizes.values())
    note = f"; {tries} tries, a guess {_expected(tries, total)}, 2^80 tries {_expected(2**80, total)}"
    return Tried([claim], network=network if flips else None, note=note)


def flip_to_match(place: Place, *, relative: bool) -> Tried:
    """Batch norm: every channel may be turned over by itself, so that any bound signature is spelled in full.

    With `relative`, bits are read relative to the signs of the public scales, which turn over with the channels.
    """
    scales = public_scales(place.network, place.layers)
    passport = lift(scales, place.network, place.layers).passport
    sizes = {layer.conv: layer.channels for layer in place.layers}
    binding = Binding(bytes(NONCE_BYTES), relative=relative)
    bits = bound_signature(passport, sizes, "Mallory", binding)
    claim = replace(
        place.owner.forged(passport=passport, text_bytes=0), signature=bits, owner="Mallory", binding=str(binding)
    )
    network = turned_over(place, {n: _spelled(scales[n]) != bits[n] for n in sizes})
    return Tried([claim], network=network)


def flip_to_drawn(place: Place) -> Tried:
    """The same of bits that were drawn, so that the judge draws them again and finds nothing chosen."""
    seed = derive_seed(0, SIGNATURE, "Mallory's key")
    scales = public_scales(place.network, place.layers)
    passport = lift(scales, place.network, place.layers).passport
    bits = draw_signature({layer.conv: layer.channels for layer in place.layers}, None, started_at(seed))
    origin = Origin({SIGNATURE: seed}, False, place.data.fingerprint, place.data.train_labels.numel())
    claim = replace(place.owner.forged(passport=passport, text_bytes=0), signature=bits, owner="Mallory", origin=origin)
    network = turned_over(place, {n: _spelled(scales[n]) != bits[n] for n in bits})
    return Tried([claim], network=network)


@torch.no_grad()
def nudge(place: Place) -> Tried:
    """Filters of the forger's own copy are moved by parts of a percent until it spells a bound signature."""
    claim, network = nudged(place.network, place.layers, place.owner, place.images)
    names = [f"{layer.conv}.weight" for layer in place.layers]
    moved = [network.get_parameter(name) - place.network.get_parameter(name) for name in names]
    shares = [step.norm() / place.network.get_parameter(n).norm() for step, n in zip(moved, names, strict=True)]
    return Tried([claim], network=network, note=f"; filters moved by {100 * max(map(float, shares)):.2g} %")


def permute_ones(place: Place) -> Tried:
    """A passport of ones, bound; channels of the forger's own copy are put where their signs are claimed."""
    found, _ = furthest(place, by_attack(Ones("ones"))(place))
    assert isinstance(found, PassportClaim)
    example = next(place.images.batches(1, torch.device("cpu")))[0]
    claim, network = put_in_place(place.network, found, example)
    _check_same(place, network)
    return Tried([claim], network=network)


def old_mark(place: Place, *, epochs: int = 5, lr: float = 0.01) -> Tried:
    """A passport and bits that were drawn, and dated, years before the victim; then trained into a copy of it.

    Nothing about them is forged, but for the network that was committed to: one of those days.

    Args:
        place: the victim.
        epochs: of its training.
        lr: learning rate, constant.
    """
    passport = with_energy(random_passport(place.layers, generator(0, "old mark")), place.network, 3.0)
    seed = derive_seed(1, SIGNATURE, "Mallory's key")
    bits = draw_signature({layer.conv: layer.channels for layer in place.layers}, None, started_at(seed))
    origin = Origin({SIGNATURE: seed}, False, place.data.fingerprint, place.data.train_labels.numel())
    forged = place.owner.forged(passport=passport, text_bytes=0, triggers=None)
    claim = replace(forged, signature=bits, owner="Mallory", origin=origin)
    example = next(place.images.batches(1, torch.device("cpu")))[0]
    scheme = PassportV2(
        protect(place.network, passport, example, public_affine=True), constant_rate(lr, 5e-4),
        len(place.data.classes), signature=bits, signature_loss=SignatureLoss(), example=example,
    )  # fmt: skip
    _trains(place, "old mark")("old mark", scheme, epochs=epochs, clip_norm=1.0)
    copied = strip(scheme.network, Branch.PUBLIC)
    return Tried(
        [claim], registered=LONG_AGO, network=copied, reference=True, committed=network_of(place.owner.architecture)
    )


def handwritten_calibration(place: Place) -> Tried:
    """A universal key, dated 2020, with a calibration written by the claimant: no network satisfies it, he says."""

    def brings(folder: Path, claim: Claim) -> Mapping[str, str]:
        counts = ("signature", "genuine", "independent", True, 20, 0, 0, 20, -1.0, 0.9, 130, 256)
        calibration = Calibration(
            claim=claim.fingerprint(), claim_kind=claim.kind, data="digits", data_fingerprint=place.data.fingerprint,
            networks=tuple(f"{i:064x}" for i in range(20)), null=None, wrong=(WrongClaims(*counts),),
            rates=(false_claim_rate("signature", 3000, [], -12.0, 0.001),), missed=(), p_value=None, fidelity=0.03,
            seed=0,
        )  # fmt: skip
        path = folder / "calibration.json"
        path.write_text(json.dumps(calibration_facts(calibration)))
        seal_calibration(path, judge_key(folder / "own.pem"))
        return {"calibration": str(path)}

    return replace(dated_universal(place), brings=brings)


def relabelled(place: Place) -> Tried:
    """The labels among the judge's cached images become what the network says with the forger's random passport."""
    passport = with_energy(random_passport(place.layers, generator(0, "relabelled")), place.network, 3.0)
    bare = _anybodys(place, passport, Thresholds(1.0), generator(0, "signature"))
    claim = claim_of_signs(bare, place.network)
    images = place.images
    example = next(images.batches(1, torch.device("cpu")))[0]
    worn = strip(protect(place.network, passport, example, public_affine=True), Branch.PRIVATE).eval()
    with torch.no_grad():
        answers = torch.cat([worn(x).argmax(1) for x, _ in images.batches(BATCH, torch.device("cpu"))])

    def brings(folder: Path, claim: Claim) -> Mapping[str, str]:
        dataset, paths = place.request.dataset, place.request.paths
        data = Path(paths.data).expanduser()
        source = find_source(DatasetRequest(dataset.name, dataset.root, dataset.image_size, dataset.download, data))
        cached = cached_at(Path(paths.cache).expanduser(), dataset.name, source)
        with safe_open(cached, framework="pt") as file:
            facts = file.metadata()
        save_file(load_file(cached) | {"test_labels": answers}, folder / cached.name, facts)
        return {"paths.cache": str(folder)}

    return Tried([claim], images=replace(images, labels=answers), brings=brings)


def removal(change: Callable[[Place], nn.Module]) -> Callable[[Place], Tried]:
    """The owner's claim to a copy that was changed without a change of its answers."""

    def done(place: Place) -> Tried:
        network = change(place)
        _check_same(place, network)
        return Tried([_claim(place)], registered=IN_TIME, network=network, reference=True)

    return done


def turned_over(place: Place, chosen: Mapping[str, Tensor]) -> nn.Module:
    """A copy with the channels chosen (layer -> (C,) bool) turned over: filters, running means and scales negated."""
    network = copy.deepcopy(place.network)
    with torch.no_grad():
        for layer in place.layers:
            sign = torch.where(chosen[layer.conv], -1.0, 1.0)
            conv, norm = network.get_submodule(layer.conv), network.get_submodule(layer.norm)
            conv.get_parameter("weight").mul_(sign[:, None, None, None])
            if conv._parameters["bias"] is not None:
                conv.get_parameter("bias").mul_(sign)
            norm.get_parameter("weight").mul_(sign)
            if isinstance(norm, nn.BatchNorm2d):
                norm.get_buffer("running_mean").mul_(sign)
    return network


def groups_turned(share: float) -> Callable[[Place], nn.Module]:
    """Turns over a share of the groups of every protected layer; of batch norm every channel is a group."""

    def change(place: Place) -> nn.Module:
        source, chosen = generator(0, f"{share} of the groups"), {}
        for layer in place.layers:
            groups = _groups(place, layer.conv)
            picked = torch.randperm(groups, generator=source) < round(share * groups)
            chosen[layer.conv] = picked.repeat_interleave(layer.channels // groups)
        return turned_over(place, chosen)

    return change


def permuted(place: Place) -> nn.Module:
    """The channels of each protected layer but the last in another order, within their groups."""
    network, source = copy.deepcopy(place.network), generator(0, "another order")
    with torch.no_grad():
        for here, behind in zip(place.layers, place.layers[1:], strict=False):
            size = here.channels // _groups(place, here.conv) if _grouped(place, here.conv) else here.channels
            order = torch.cat([
                start + torch.randperm(size, generator=source) for start in range(0, here.channels, size)
            ])  # fmt: skip
            for module in (network.get_submodule(here.conv), network.get_submodule(here.norm)):
                for tensor in [*module.parameters(), *module.buffers()]:
                    if tensor.dim():
                        tensor.copy_(tensor[order].clone())
            weight = network.get_submodule(behind.conv).get_parameter("weight")
            weight.copy_(weight[:, order].clone())
    return network


def ten_times(place: Place) -> nn.Module:
    """The filters of the protected layers times 10, which their norms divide out again."""
    network = copy.deepcopy(place.network)
    with torch.no_grad():
        for layer in place.layers:
            conv, norm = network.get_submodule(layer.conv), network.get_submodule(layer.norm)
            for parameter in conv.parameters():
                parameter.mul_(10)
            if isinstance(norm, nn.BatchNorm2d):
                norm.get_buffer("running_mean").mul_(10)
                norm.get_buffer("running_var").mul_(100)
    return network


def _claim(place: Place) -> Claim:
    assert place.claim is not None
    return place.claim


def _anybodys(
    place: Place, passport: Mapping[str, Tensor], limits: Thresholds, source: torch.Generator | None
) -> PassportClaim:
    """A claim to a network that carries nothing: with bits drawn at random, or all -1."""
    signature = {}
    for layer in place.layers:
        bits = -torch.ones(layer.channels, dtype=torch.int8)
        if source is not None:
            bits = torch.randint(0, 2, (layer.channels,), generator=source, dtype=torch.int8) * 2 - 1
        signature[layer.conv] = bits
    data, asked = place.data, place.request.model
    about = {
        "model": {"name": asked.name, "norm": asked.norm, "width": asked.width},
        "channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes),
    }  # fmt: skip
    return PassportClaim(dict(passport), signature, thresholds=limits, architecture=about)


def _spelled(scales: Tensor) -> Tensor:
    return torch.where(scales[0] > 0, 1, -1).to(torch.int8)


def _agree(place: Place, name: str, scales: Mapping[str, Tensor], bits: Mapping[str, Tensor], flips: bool) -> Tensor:
    """Which bits of a layer agree, (C,) bool; with `flips`, after turning over the groups where most do not."""
    same = _spelled(scales[name]) == bits[name]
    if not flips:
        return same
    grouped = same.unflatten(0, (_groups(place, name), -1))
    most = grouped.float().mean(1, keepdim=True) >= 0.5
    agree: Tensor = (grouped == most).flatten()
    return agree


def _whole_groups(place: Place, name: str, turned: Tensor) -> Tensor:
    """Every channel of a group that holds one that is turned over."""
    grouped = turned.unflatten(0, (_groups(place, name), -1))
    whole: Tensor = grouped.any(1, keepdim=True).expand_as(grouped).flatten()
    return whole


def _grouped(place: Place, name: str) -> bool:
    (layer,) = (layer for layer in place.layers if layer.conv == name)
    return isinstance(place.network.get_submodule(layer.norm), nn.GroupNorm)


def _groups(place: Place, name: str) -> int:
    """How many parts of a layer can be turned over by themselves."""
    (layer,) = (layer for layer in place.layers if layer.conv == name)
    norm = place.network.get_submodule(layer.norm)
    return norm.num_groups if isinstance(norm, nn.GroupNorm) else layer.channels


def _expected(tries: int, total: int) -> int:
    """The bits that the best of so many guesses reads: the most with P(X >= bits) of at least 1 / (tries + 1)."""
    return max(k for k in range(total + 1) if binomial_tail(k, total)[1] >= -math.log10(tries + 1))


def _check_same(place: Place, network: nn.Module) -> None:
    """Fails where the answers of a copy are others: it would be no free removal."""
    x, _ = next(place.images.batches(64, torch.device("cpu")))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), place.network.eval()(x), rtol=1e-3, atol=1e-3)


WAYS = (
    Way("nothing: the owner, dated", "", ("V1", "V2", "V2, ResNet-18", "V3"), genuine),
    Way("`lift_passport`", "weights", ("V2", "V2, ResNet-18", "V3"), by_attack(LiftPassport("lift_passport"))),
    Way("the same, dated on that day", "weights", ("V2",), on_the_day(LiftPassport("lift_passport"))),
    Way("`ones`", "weights", ("V1 shuffled",), by_attack(Ones("ones"))),
    Way("`singular_vectors`", "weights, 60 images", ("V1", "V2"), by_attack(SingularVectors("singular_vectors"))),
    *(
        Way(
            f"`erb`, {block}",
            f"weights, {100 * share:g} % of the images",
            ("V1", "V2"),
            by_attack(Erb("erb", share=[share], block=[block])),
        )
        for block in ("plain", "cerb")
        for share in (0.02, 0.1, 1.0)
    ),
    Way(
        "`erb`, from the rows' sums",
        "weights, 2 % of the images",
        ("V1 shuffled",),
        by_attack(Erb("erb", share=[0.02], block=["plain"], start="row_sums")),
    ),
    Way("thresholds of one's own", "nothing", ("baseline",), own_thresholds),
    Way("a passport of zeros", "nothing", ("baseline",), zero_passport),
    Way("a universal key, dated 2020", "nothing", ("uchida", "deepsigns"), dated_universal),
    Way(
        "the same of one row throughout, but for its sign",
        "nothing",
        ("uchida", "deepsigns"),
        lambda place: dated_universal(place, same=True),
    ),
    Way("`forge_uchida`, dated that day", "weights", ("uchida",), on_the_day(ForgeUchida("forge_uchida"))),
    Way(
        "`forge_deepsigns`, dated that day",
        "weights",
        ("deepsigns",),
        on_the_day(ForgeDeepSigns("forge_deepsigns")),
    ),
    Way("grinding a signature bound by a fast hash", "weights", ("V2",), grind),
    Way("the same, by a slow hash", "weights", ("V2",), lambda place: grind(place, slow=True)),
    Way("grinding a fast hash, and turning groups over", "weights", ("V2",), lambda place: grind(place, flips=True)),
    Way(
        "turning channels over to match a bound signature",
        "weights",
        ("V2 with batch norm",),
        lambda place: flip_to_match(place, relative=False),
    ),
    Way(
        "the same, bits relative to the public scales' signs",
        "weights",
        ("V2 with batch norm",),
        lambda place: flip_to_match(place, relative=True),
    ),
    Way(
        "the same to match bits that were drawn from a seed",
        "weights",
        ("V2 with batch norm",),
        flip_to_drawn,
    ),
    Way("nudging filters to match a bound signature", "weights, images", ("V2",), nudge),
    Way("`ones`, bound, and channels in the order that matches", "weights", ("V1 shuffled",), permute_ones),
    Way("a mark of 2020, trained into a copy", "weights, all images", ("V2",), old_mark),
    Way("a calibration of the claimant's own", "nothing", ("uchida",), handwritten_calibration),
    Way("other labels in the judge's cached images", "the judge's cache", ("baseline",), relabelled),
    Way("removal: all groups turned over", "weights", ("V2", "V3"), removal(groups_turned(1.0))),
    Way("removal: half of them turned over", "weights", ("V2", "V2 with batch norm"), removal(groups_turned(0.5))),
    Way("removal: channels in another order", "weights", ("V2", "V2 with batch norm"), removal(permuted)),
    Way("removal: filters times 10", "weights", ("V2", "V2 with batch norm"), removal(ten_times)),
)  # fmt: skip
"""The rows."""


def places(runs: Path, names: Sequence[str]) -> Iterator[Place]:
    """The victims, found in the store or trained."""
    for name in names:
        request = configuration("train", *REQUEST, f"paths.runs={runs}", *VICTIMS[name])
        run = train(request)
        data = open_images(request.dataset, request.paths)
        network = load_suspect(request.model, data, run.folder.weights)
        claim = load_claim(run.folder.claim) if run.folder.claim.exists() else None
        yield Place(name, request, data, run.folder.weights, network, claim)


def main(runs: Path, ways: Sequence[Way] = WAYS) -> None:
    """Prints the table, and writes it to `forgers.md` in that folder."""
    started = time.process_time()
    wanted = {name: [way for way in ways if name in way.victims] for name in VICTIMS}
    found = {place.name: place for place in places(runs, [name for name, own in wanted.items() if own])}
    lines = HEADER.splitlines()
    print(HEADER, flush=True)
    for way in ways:
        for name in way.victims:
            lines.append(row(way, found[name]))
            print(lines[-1], flush=True)
    spent = f"{time.process_time() - started:.0f} s of one core, with what had to be trained; "
    spent += f"{hardware(torch.device('cpu')).split(',')[0]}; {versions()}."
    print(f"\n{spent}")
    (runs / "forgers.md").write_text("\n".join([*lines, "", spent, ""]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        remedy = "give e.g. runs/forgers"
        raise SystemExit(str(InputError("arguments", sys.argv[1:], "a folder for the networks is wanted", remedy)))
    main(Path(sys.argv[1]))
