"""Fingerprints: what copies of a network, and networks that were trained by themselves, say to them.

    python benchmarks/fingerprints.py runs/fingerprints

trains plain networks on the digits, takes each owner's fingerprint by every scheme of the family, changes the owners'
networks by the attacks of `ATTACKS`, and asks all of them. The rest are strangers to each owner, the other owners too.
A network counts as found if it agrees in more than `LIMIT` of the marks. What comes out is written as `fingerprints.md`
into that folder; what is there already is found. Some minutes of CPU time.

    python docs/generate.py runs/fingerprints/fingerprints.md

puts it into docs/fingerprints.md.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ipr.attacks.base import schemes_of
from ipr.attacks.removal.prune import pruned
from ipr.claims.base import Reading
from ipr.config.registry import entries
from ipr.data.images import ImageData, normalise
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.judging.binomial import upper_limit
from ipr.judging.cka import unbiased_cka
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import percent
from ipr.judging.outcome import mark
from ipr.machine.device import device_for
from ipr.models.inspection import evaluating
from ipr.requests.compose import configuration
from ipr.schemes.start import load_suspect
from ipr.store.record import hardware, versions
from ipr.workflows.attack import attack
from ipr.workflows.train import Run, train

REQUEST = (
    "logger=csv", "trainer.progress_bar=false", "model=alexnet", "model.width=0.25", "model.norm=bn", "dataset=digits",
    "trainer.max_epochs=8", "passport.key=benchmark",
)  # fmt: skip

OWNERS, STRANGERS = 5, 20
"""Networks whose fingerprints are taken, and further ones."""

EPOCHS = 5
"""Of every attack that trains."""

ATTACKS = {
    "fine-tuned": ("attack=finetune", "attack.start=fine_tune"),
    "fine-tuned, new classifier": ("attack=finetune", "attack.start=retrain"),
    "pruned": ("attack=prune", "attack.rates=[0.2,0.4]"),
    "quantised": ("attack=quantise", "attack.bits=[8,4]"),
    "channels moved": ("attack=permute",),
    "distilled": ("attack=distill",),
}
"""What is done to an owner's network; those that there are not, or that do not apply, are left out."""

MARGINS = (0.0, 1.0, 3.0, 5.0, 10.0)
"""k of IPGuard."""

LIMIT = 0.8
"""The share of marks beyond which a network counts as found."""

RISK = 0.05
"""Of the limit of the rate of strangers that are found."""


@dataclass(frozen=True)
class Asked:
    """What one sort of network says to the fingerprints of all owners: shares of marks, CKA, accuracies, found."""

    shares: list[float]
    similarities: list[float]
    accuracies: list[float]
    found: int


def made(runs: Path, *asked: str) -> Run:
    """The run of a request: found or made."""
    return train(configuration("train", *REQUEST, *asked, f"paths.runs={runs}"))


def networks(runs: Path) -> tuple[list[nn.Module], ImageData]:
    """Plain networks of all seeds, owners first, and the images."""
    config = configuration("train", *REQUEST, "scheme=baseline", f"paths.runs={runs}")
    data = open_images(config.dataset, config.paths)
    found = [made(runs, "scheme=baseline", f"seed={seed}") for seed in range(OWNERS + STRANGERS)]
    return [load_suspect(config.model, data, one.folder.weights) for one in found], data


def strangers_of(runs: Path, scheme: str, *more: str, owners: int) -> list[list[Reading]]:
    """What every other network says to each owner's fingerprint."""
    plain, data = networks(runs)
    said = []
    for owner in range(owners):
        claim = load_claim(made(runs, f"scheme={scheme}", f"seed={owner}", *more).folder.claim)
        others = [one for seed, one in enumerate(plain) if seed != owner]
        said.append([claim.read(one, data.mean, data.std) for one in others])
    return said


def asked_copies(runs: Path, scheme: str, change: str, owners: int, *more: str) -> Asked | None:
    """What copies say that were changed in one way; None where the attack does not apply.

    Args:
        runs: where everything is kept.
        scheme: of the fingerprints.
        change: a key of `ATTACKS`.
        owners: how many owners' networks.
        more: of the request.
    """
    words = ATTACKS[change]
    if (name := words[0].partition("=")[2]) not in entries("attack"):
        return None
    if scheme not in entries("attack")[name].load().schemes():
        return None
    shares, similarities, accuracies, found = [], [], [], 0
    for owner in range(owners):
        base = (*REQUEST, f"scheme={scheme}", f"seed={owner}", *more, f"paths.runs={runs}")
        for row in attack(configuration("attack", *base, *words, f"attack_epochs={EPOCHS}")).rows:
            shares.append(mark(row))
            similarities += [] if row.correlation is None else [row.correlation]
            accuracies.append(row.accuracy_after)
            found += mark(row) > LIMIT
    return Asked(shares, similarities, accuracies, found)


def of_strangers(said: Sequence[Sequence[Reading]]) -> Asked:
    """The strangers of all owners."""
    every = [one for each in said for one in each]
    similar = [one.correlation for one in every if one.correlation is not None]
    return Asked([one.agreement for one in every], similar, [], sum(one.agreement > LIMIT for one in every))


def row(scheme: str, name: str, asked: Asked) -> str:
    """A line of the table."""
    count = len(asked.shares)
    cells = [scheme, name, str(count), percent(statistics.fmean(asked.accuracies)) if asked.accuracies else ""]
    cells += [percent(value) for value in (statistics.fmean(asked.shares), min(asked.shares), max(asked.shares))]
    similar = asked.similarities
    cells.append(f"{statistics.fmean(similar):.3f}; {min(similar):.3f} to {max(similar):.3f}" if similar else "")
    cells.append(f"{asked.found} of {count}")
    return f"| {' | '.join(cells)} |"


def head(*names: str) -> list[str]:
    """The head of a table."""
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def main_table(runs: Path) -> list[str]:
    """Every scheme, what copies and strangers say, and what that is at which rate of strangers."""
    lines = head("scheme", "networks", "n", "accuracy", "agree, mean", "least", "most", "CKA: mean; range", "found")
    told = []
    for scheme in schemes_of("fingerprint"):
        said = strangers_of(runs, scheme, owners=OWNERS)
        derived = {name: asked_copies(runs, scheme, name, OWNERS) for name in ATTACKS}
        lines += [row(scheme, name, asked) for name, asked in derived.items() if asked is not None]
        lines.append(row(scheme, "strangers", alone := of_strangers(said)))
        copies = [one for name, one in derived.items() if one is not None and name != "distilled"]
        found, count = sum(one.found for one in copies), sum(len(one.shares) for one in copies)
        rate = percent(upper_limit(alone.found, len(alone.shares), RISK))
        told.append(
            f"- `{scheme}`: {found} of {count} copies (not counting the distilled) agree in more than {percent(LIMIT)} "
            f"of the marks, and {alone.found} of {len(alone.shares)} strangers: with 95 % a rate of at most {rate}."
        )
    return [*lines, "", *told]


def margin_table(runs: Path) -> list[str]:
    """What k does: one owner's copies and strangers."""
    lines = head("k", "fine-tuned", "new classifier", "pruned by 40 %", "strangers, mean", "most")
    for margin in MARGINS:
        more = () if margin == 3.0 else (f"scheme.margin={margin:g}",)
        (said,) = strangers_of(runs, "ipguard", *more, owners=1)
        shares = [one.agreement for one in said]
        copies = [asked_copies(runs, "ipguard", name, 1, *more) for name in [*ATTACKS][:3]]
        cells = [one.shares[-1] for one in copies if one is not None]
        told = [percent(value) for value in (*cells, statistics.fmean(shares), max(shares))]
        lines.append(f"| {margin:g} | {' | '.join(told)} |")
    return lines


def activations(network: nn.Module, x: Tensor) -> list[Tensor]:
    """What every convolution and linear layer answers, (B, N)."""
    seen: list[Tensor] = []
    layers = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    handles = [one.register_forward_hook(lambda _, __, out: seen.append(out.flatten(1))) for one in layers]
    with evaluating(network):
        network(x)
    for handle in handles:
        handle.remove()
    return seen


def activation_line(runs: Path) -> str:
    """CKA of activations on test images, the least and the mean over layers, which tells copies from nobody."""
    plain, data = networks(runs)
    x = normalise(data.test_pixels[:256], data.mean, data.std)
    own = activations(plain[0], x)

    def similar(network: nn.Module) -> list[float]:
        return [unbiased_cka(a, b) for a, b in zip(own, activations(network, x), strict=True)]

    copied, others = similar(pruned(plain[0], 0.4)), [similar(one) for one in plain[1:]]
    means = [statistics.fmean(one) for one in others]
    return (
        f"Unbiased CKA of activations on {len(x)} test images, the mean over layers: a copy pruned by 40 % has "
        f"{statistics.fmean(copied):.3f}, {len(others)} strangers {min(means):.3f} to {max(means):.3f}."
    )


def main(runs: Path) -> None:
    """Trains, attacks, asks, prints and writes."""
    torch.set_num_threads(1)
    parts = [*main_table(runs), "", *margin_table(runs), "", activation_line(runs)]
    told = "\n".join(parts) + f"\n\n{hardware(device_for('auto'))}; {versions()}.\n"
    print(told)
    write_atomically(runs / "fingerprints.md", told)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(
            str(InputError("runs", sys.argv[1:], "one folder of runs is wanted", "give runs/fingerprints"))
        )
    main(Path(sys.argv[1]))
