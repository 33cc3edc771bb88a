"""Free removal and its undoing: how alike copies and strangers are, and what owners read of them.

    python benchmarks/alignment.py             # all tables, on the digits
    python benchmarks/alignment.py strangers   # one of: owners, copies, forms, strangers, crowd, times

`owners` trains V1, V2 and V3 on AlexNet and ResNet-18 with both norms, carries out `permute`, `flip_groups` and
`rescale` one after the other, and judges as given and aligned. `copies` fine-tunes, prunes and quantises these networks
before. `strangers` trains plain networks from seeds of their own, for 0 to 3 epochs, and aligns every ordered pair
of equal shape; of each it reads a claim whose random passport spells its signature on the reference, as a genuine one
would. `forms` puts dummy channels in and folds norms, alone and with what a thief may do in between. `crowd` aligns
many pairs of networks, most of which no other pair has seen, some with four times the channels. `times` is a ResNet-50
of torchvision's shape. docs/alignment.md has the tables.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.removal.prune import pruned
from ipr.attacks.removal.same_answers import permuted, rescaled, with_flipped_groups
from ipr.attacks.removal.structural_obfuscation import WAYS, hidden, obfuscated
from ipr.claims.base import Thresholds
from ipr.data.cache import load_images
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.data.opening import open_images
from ipr.data.sources import DatasetRequest
from ipr.judging.alignment import align
from ipr.judging.channel_order import match, turn
from ipr.judging.claim_kinds import load_claim
from ipr.judging.verdict import Verdict, judge_claims
from ipr.models import build_model
from ipr.models.channels import symmetry
from ipr.models.widths import gather
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport
from ipr.passport.layer import Branch
from ipr.passport.surgery import find_layers, fold, protect, strip
from ipr.randomness import generator
from ipr.requests.compose import configuration
from ipr.schemes.start import load_suspect
from ipr.signature import agreeing_bits, detect
from ipr.workflows.train import train

SMALL = (
    "dataset=digits", "dataset.image_size=8", "model.width=0.25", "optimizer.batch_size=32", "trainer.max_epochs=4",
    "dataset.limit_test=300", "trainer.progress_bar=false", "trainer.accelerator=cpu", "verification.forged=1",
    "logger=csv", "passport=random", "passport.energy=3", "trigger_set.size=40", "trigger_set.per_step=4",
)  # fmt: skip
MODELS = (("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn"), ("resnet18", "gn"))
SCHEMES = ("passport_v1", "passport_v2", "passport_v3")
STRANGERS = 17
"""Networks of each shape: 17 * 16 ordered pairs."""


def removed(network: nn.Module, images: Tensor, seed: int) -> nn.Module:
    """All three free removals, one after the other."""
    source = generator(seed, "removed")
    found = symmetry(network, images[:1])
    network = permuted(network, found, source)
    network = with_flipped_groups(network, found, 0.5, source)
    return rescaled(network, found, 8.0, 1.0, images, source)


def tuned(network: nn.Module, data: ImageData, epochs: int, lr: float) -> nn.Module:
    """A copy that is trained on, all of it, without passport."""
    copied = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(copied.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    x, y = normalise(data.train_pixels, data.mean, data.std), data.train_labels
    source = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(y.numel(), generator=source).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(copied(x[batch]), y[batch]).backward()
            nn.utils.clip_grad_norm_(copied.parameters(), 1.0)
            optimizer.step()
    return copied.eval()


def quantised(network: nn.Module, bits: int) -> nn.Module:
    """A copy whose weights of convolutions and linear layers take 2^bits - 1 values, evenly, layer by layer."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for module in copied.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                step = module.weight.abs().max() / (2 ** (bits - 1) - 1)
                module.weight.copy_((module.weight / step).round() * step)
    return copied


class Owner:
    """A trained run: what was given away, and the claim."""

    def __init__(self, scheme: str, model: str, norm: str, runs: Path, *settings: str) -> None:
        asked = (f"scheme={scheme}", f"model={model}", f"model.norm={norm}", f"paths.runs={runs}")
        config = configuration("train", *asked, *settings)
        run = train(config)
        self.name = f"{scheme[9:].upper()} {model} {norm}"
        self.data = open_images(config.dataset, config.paths)
        self.reference = load_suspect(config.model, self.data, run.folder.weights)
        claim = load_claim(run.folder.claim)
        assert isinstance(claim, PassportClaim)
        self.claim = claim
        self.example = normalise(self.data.train_pixels[:1], self.data.mean, self.data.std)
        self.thiefs = normalise(self.data.train_pixels[:64], self.data.mean, self.data.std)
        self.images = LabelledImages(self.data.test_pixels, self.data.test_labels, self.data.mean, self.data.std)

    def held(self) -> dict[str, nn.Module]:
        """What a thief may hold: the file, and for V1 the network with the passport folded in."""
        if not self.name.startswith("V1"):
            return {self.name: self.reference}
        protected = protect(self.reference, self.claim.passport, self.example, public_affine=True)
        return {f"{self.name}, locked": self.reference, f"{self.name}, folded": strip(protected, Branch.PRIVATE)}

    def judged(self, suspect: nn.Module) -> Verdict:
        """The owner's claim, judged."""
        return judge_claims(suspect, [self.claim], self.images)[0]


def read(verdict: Verdict) -> str:
    """Bits and accuracy of a verdict as a cell."""
    agreeing, total = sum(verdict.reading.agreeing.values()), sum(verdict.reading.total.values())
    return f"{agreeing} of {total}, {100 * verdict.fidelity.accuracy:.1f}"


def difference(one: nn.Module, other: nn.Module, images: LabelledImages) -> float:
    """The largest difference of logits on the test images, relative to the largest logit."""
    x = next(images.batches(300, torch.device("cpu")))[0]
    with torch.no_grad():
        ours, theirs = one.eval()(x), other.eval()(x)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def owners_table(owners: list[Owner]) -> Iterator[str]:
    """What the owner reads after all three free removals."""
    yield "| network | answers changed by | as trained | as given | aligned |"
    yield "|---|---|---|---|---|"
    for owner in owners:
        for name, network in owner.held().items():
            suspect = removed(network, owner.thiefs, 0)
            changed = difference(suspect, network, owner.images)
            found = align(suspect, owner.reference, owner.example)
            cells = [read(owner.judged(one)) for one in (network, suspect, found.network)]
            yield f"| {name} | {changed:.0e} | {' | '.join(cells)} |"


def copies_table(owners: list[Owner]) -> Iterator[str]:
    """The same, of networks that were changed before."""
    yield "| network | done to it | similarity | not removed, as given | removed, as given | removed, aligned |"
    yield "|---|---|---|---|---|---|"
    for owner in owners:
        for name, network in owner.held().items():
            if "locked" in name:
                continue
            changes = {
                "fine-tuned, 5 epochs at 0.01": tuned(network, owner.data, 5, 0.01),
                "fine-tuned, 5 epochs at 0.05": tuned(network, owner.data, 5, 0.05),
                "pruned, 60 %": pruned(network, 0.6),
                "quantised, 5 bits": quantised(network, 5),
            }
            for change, changed in changes.items():
                suspect = removed(changed, owner.thiefs, 0)
                found = align(suspect, owner.reference, owner.example)
                alike = statistics.median(found.similarity.values())
                cells = [read(owner.judged(one)) for one in (changed, suspect, found.network)]
                yield f"| {name} | {change} | {alike:.2f} | {' | '.join(cells)} |"


def noisy(network: nn.Module, noise: float) -> nn.Module:
    """A copy with noise on all that is trained, in shares of each tensor's standard deviation."""
    copied, source = copy.deepcopy(network), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in copied.parameters():
            spread = parameter.std() if parameter.numel() > 1 else torch.zeros(())
            parameter.add_(noise * spread * torch.randn(parameter.shape, generator=source))
    return copied


def dummies(network: nn.Module, example: Tensor, added: float) -> nn.Module:
    """A copy with dummy channels of all three ways."""
    return obfuscated(network, symmetry(network, example), added, WAYS, generator(0, "dummies"))


def forms_table(owners: list[Owner]) -> Iterator[str]:
    """The same for suspects of other widths, or without norms: what the thief did in between, and what comes back."""
    yield "| network | done to it | similarity | without dummies | dummies, hidden, aligned | answers changed |"
    yield "|---|---|---|---|---|---|"
    between: dict[str, tuple[float, Callable[[nn.Module, ImageData], nn.Module]]] = {
        "a quarter more channels": (0.25, lambda network, data: network),
        "twice the channels": (1.0, lambda network, data: network),
        "a quarter, then tuned, 1 epoch at 0.01": (0.25, lambda network, data: tuned(network, data, 1, 0.01)),
        "a quarter, then tuned, 1 epoch at 0.05": (0.25, lambda network, data: tuned(network, data, 1, 0.05)),
        "a quarter, then noise of 3 %": (0.25, lambda network, data: noisy(network, 0.03)),
    }
    for owner in owners:
        for name, network in owner.held().items():
            if "locked" in name:
                continue
            cases = [(what, added, change, False) for what, (added, change) in between.items()]
            if name.endswith("bn") or " bn," in name:
                what = "a quarter more channels, then norms folded"
                cases.append((what, *between["a quarter more channels"], True))
            for what, added, change, folds in cases:
                wide = change(dummies(network, owner.example, added), owner.data)
                suspect = hidden(wide, owner.thiefs, generator(0, "hidden"))
                suspect = fold(suspect, owner.example) if folds else suspect
                found = align(suspect, owner.reference, owner.example)
                alike = statistics.median(found.similarity.values())
                cells = [read(owner.judged(change(network, owner.data)))]
                cells += [read(owner.judged(found.network)), f"{difference(found.network, suspect, owner.images):.0e}"]
                yield f"| {name} | {what} | {alike:.2f} | {' | '.join(cells)} |"


CROWD = {"untrained": 600, "four times the channels": 40, "trained": 16}
"""How many pairs of each shape are drawn anew; of trained networks how many there are, of which all pairs are taken."""


def crowd_table(data: ImageData) -> Iterator[str]:
    """How alike many independent networks are."""
    yield "| shape | networks | pairs | similarity: mean | most | aligned |"
    yield "|---|---|---|---|---|---|"
    example = normalise(data.train_pixels[:1], data.mean, data.std)
    for model, norm in MODELS:
        for kind, count in CROWD.items():
            alike, aligned = [], 0
            for suspect, reference in pairs_of(kind, count, model, norm, data):
                found = align(suspect, reference, example)
                alike.append(statistics.median(found.similarity.values()))
                aligned += found.similar
            cells = f"{len(alike)} | {statistics.fmean(alike):.2f} | {max(alike):.2f} | {aligned}"
            yield f"| {model} {norm} | {kind} | {cells} |"


def pairs_of(kind: str, count: int, model: str, norm: str, data: ImageData) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Suspects and references that have nothing to do with one another."""
    if kind == "trained":
        yield from itertools.permutations([plain(model, norm, data, 1000 + s, epochs=s % 4) for s in range(count)], 2)
        return
    for number in range(count):
        one, other = (plain(model, norm, data, 10_000 + 2 * number + n, epochs=0) for n in range(2))
        if kind != "untrained":
            for channels in symmetry(one, normalise(data.train_pixels[:1], data.mean, data.std)).free:
                gather(one, channels, torch.arange(4 * channels.channels) % channels.channels)
            for module in one.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
        yield one, other


def times_table() -> Iterator[str]:
    """Seconds of aligning a ResNet-50 of torchvision's shape, by the clock and of all processors together."""
    yield "| done to it | parameters | similarity | seconds | processor seconds |"
    yield "|---|---|---|---|---|"
    torch.manual_seed(0)
    network = build_model("torchvision:resnet50", norm="bn", width=1, channels_in=3, image_size=64, num_classes=1000)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    network.eval().requires_grad_(False)
    wide = dummies(network, images[:1], 0.25)
    cases = {"permuted, turned, scaled": network, "a quarter more channels, then the same": wide}
    for what, held in cases.items():
        suspect = hidden(held, images, generator(0, "hidden"))
        started = time.perf_counter(), time.process_time()
        found = align(suspect, network, images[:1])
        seconds, busy = time.perf_counter() - started[0], time.process_time() - started[1]
        size, alike = sum(p.numel() for p in suspect.parameters()), statistics.median(found.similarity.values())
        yield f"| {what} | {size / 1e6:.1f} M | {alike:.2f} | {seconds:.1f} | {busy:.1f} |"


def plain(model: str, norm: str, data: ImageData, seed: int, epochs: int) -> nn.Module:
    """A network that was trained by itself, from a seed of its own."""
    torch.manual_seed(seed)
    sizes = {"channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes)}
    width = 0.125 if model == "alexnet" else 0.0625
    return tuned(build_model(model, norm=norm, width=width, **sizes), data, epochs, 0.02)


def spelled(reference: nn.Module, example: Tensor, seed: int) -> PassportClaim:
    """A claim whose random passport spells its signature on the reference, so that all bits are read from it."""
    places = find_layers(reference, example)
    passport = random_passport(places, generator(seed, "passport"))
    bits = {place.conv: torch.ones(place.channels, dtype=torch.int8) for place in places}
    claim = PassportClaim(passport, bits, thresholds=Thresholds(0.9))
    return replace(claim, signature={n: detect(gamma[0]) for n, (gamma, _) in claim.affines(reference).items()})


def bits_of(network: nn.Module, claim: PassportClaim) -> float:
    """The share of the claim's bits that a network spells."""
    agreeing = sum(agreeing_bits(detect(g[0]), claim.signature[n]) for n, (g, _) in claim.affines(network).items())
    return agreeing / claim.marks().numel()


def strangers_table(data: ImageData) -> Iterator[str]:
    """How alike independent networks are, and what they read of each other's claims."""
    yield "| shape | pairs | similarity: mean | most | aligned | bits: mean | most | aligned by force: mean | most |"
    yield "|---|---|---|---|---|---|---|---|---|"
    example = normalise(data.train_pixels[:1], data.mean, data.std)
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    verified = 0
    for model, norm in MODELS:
        networks = [plain(model, norm, data, seed, epochs=seed % 4) for seed in range(STRANGERS)]
        found = symmetry(networks[0], example)
        alike, as_is, forced, aligned = [], [], [], 0
        for seed, (suspect, reference) in enumerate(itertools.permutations(networks, 2)):
            result, claim = align(suspect, reference, example), spelled(reference, example, seed)
            alike.append(statistics.median(result.similarity.values()))
            aligned += result.similar
            as_is.append(bits_of(result.network, claim))
            if seed % 4 == 0:  # of every fourth
                near = copy.deepcopy(suspect)
                turn(near, reference, found, match(near, reference, found), least=0)
                forced.append(bits_of(near, claim))
            if result.similar:
                verdict = judge_claims(result.network, [claim], images)[0]
                verified += verdict.fidelity.holds and verdict.reading.p_value <= verdict.p_value_threshold
        cells = [f"{statistics.fmean(alike):.2f}", f"{max(alike):.2f}", f"{aligned}"]
        cells += [f"{statistics.fmean(as_is):.3f}", f"{max(as_is):.3f}"]
        cells += [f"{statistics.fmean(forced):.3f}", f"{max(forced):.3f}"]
        yield f"| {model} {norm} | {len(alike)} | {' | '.join(cells)} |"
    yield f"\nClaims that hold after alignment: {verified}."


def main(tables: list[str]) -> None:
    """Prints the tables asked for."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if {"owners", "copies", "forms"} & {*tables}:
            owners = [Owner(scheme, model, norm, folder, *SMALL) for model, norm in MODELS for scheme in SCHEMES]
            for name, table in (("owners", owners_table), ("copies", copies_table), ("forms", forms_table)):
                if name in tables:
                    print(*table(owners), "", sep="\n", flush=True)
        data = load_images(DatasetRequest("digits", None, 8, download=False, data_folder=folder), folder)
        for name, lines in (("strangers", strangers_table), ("crowd", crowd_table)):
            for line in lines(data) if name in tables else ():
                print(line, flush=True)
        for line in times_table() if "times" in tables else ():
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["owners", "copies", "forms", "strangers", "crowd", "times"])
