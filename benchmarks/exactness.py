"""How far float32 is from float64: the fast forms and the paper's literal ones, over seeds.

    python benchmarks/exactness.py

A float64 network and a float32 copy of it have the same weights, passport and images. Errors are root mean squares over
all elements; a ratio below 1 says that the fast form is nearer to float64 than the literal one.
"""

from __future__ import annotations

import copy
import statistics

import torch
from torch import Tensor, nn

import measure
from ipr.passport.fork import fork
from ipr.passport.layer import Branch, affines_of, patch_mean, scale_and_shift
from ipr.passport.surgery import protect
from networks import batch, passport_for, plain
from reference_forms import cross_entropies, naive_affine, naive_protect, two_passes

Quantities = dict[str, list[Tensor]]


def fast(network: nn.Module, passport: dict[str, Tensor], x: Tensor, y: Tensor) -> Quantities:
    """What this project computes: <W, S>, and one trunk for both branches."""
    affines = []
    for name, maps in passport.items():
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        affines += list(scale_and_shift(conv.weight.detach(), patch_mean(maps, conv)[None]))
    protected = protect(network, passport, x[:1], public_affine=True).train()
    logits = fork(protected, x[:1])(x, [affines_of(protected, branch) for branch in Branch])
    return {"scale and shift": affines} | _loss(protected, logits, y)


def literal(network: nn.Module, passport: dict[str, Tensor], x: Tensor, y: Tensor) -> Quantities:
    """What the paper prints: Avg(W * P), and one pass for each branch."""
    affines = []
    for name, maps in passport.items():
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        affines += [part.detach()[None] for part in naive_affine(conv, maps)]
    naive = naive_protect(network, passport).train()
    return {"scale and shift": affines} | _loss(naive, two_passes(naive, x), y)


def _loss(network: nn.Module, logits: list[Tensor], y: Tensor) -> Quantities:
    cross_entropies(logits, y).sum().backward()
    gradients = {name.replace("norm.", ""): p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {
        "logits": [branch.detach() for branch in logits],
        "gradients": [gradients[name] for name in sorted(gradients)],
    }


def error(found: list[Tensor], exact: list[Tensor]) -> float:
    """Root mean square over all elements of all tensors."""
    squares = sum(float((f.double() - e).square().sum()) for f, e in zip(found, exact, strict=True))
    return float((squares / sum(e.numel() for e in exact)) ** 0.5)


def errors(name: str, width: float, seed: int) -> dict[str, tuple[float, float]]:
    """Errors of the fast and of the literal form, by quantity, for one draw of weights, passport and images."""
    network, source = plain(name, "gn", width), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=source))
    x, y = batch(16)
    x = x + torch.randn(x.shape, generator=source)
    passport = passport_for(network, name)
    passport = {k: maps + 0.1 * torch.randn(maps.shape, generator=source) for k, maps in passport.items()}
    doubled = copy.deepcopy(network).double(), {k: maps.double() for k, maps in passport.items()}, x.double(), y
    exact, confirmed = fast(*doubled), literal(*doubled)
    assert all(error(exact[quantity], confirmed[quantity]) < 1e-9 for quantity in exact)
    one, other = fast(network, passport, x, y), literal(network, passport, x, y)
    return {q: (error(one[q], exact[q]), error(other[q], exact[q])) for q in exact}


def main(seeds: int, width: float) -> None:
    """Prints a row for each network and quantity."""
    print("| network | quantity | error, fast form | error, literal form | ratio | n |\n|---|---|---|---|---|---|")
    for name in ("alexnet", "resnet18"):
        found = [errors(name, width, seed) for seed in range(seeds)]
        for quantity in found[0]:
            ours, theirs = zip(*(one[quantity] for one in found), strict=True)
            ratio = measure.spread([a / b for a, b in zip(ours, theirs, strict=True)])
            means = f"{statistics.fmean(ours):.2e} | {statistics.fmean(theirs):.2e}"
            print(f"| {name} | {quantity} | {means} | {ratio} | {seeds} |")
    print(f"\n{measure.facts()}")


if __name__ == "__main__":
    main(*measure.rounds_and_width(__doc__, 10))
