"""Many scales and shifts through one network at once: the branches of V2 and V3, or the passports of rival claims.

They differ at the passport layers alone, so what comes before is computed once: the network's graph is split into a
trunk, which no passport layer feeds, and a tail, which runs once for each scale and shift. Values and gradients are
those of one full pass for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ipr.models.inspection import answer_of, evaluating
from ipr.passport.layer import Affine, Branch, PassportLayer, affines_of, passport_layers, presenting
from ipr.world import own_world


@dataclass(frozen=True)
class _Halves:
    """The network's graph in two; `tail` takes what `trunk` returns, then gamma and beta of each layer in `layers`."""

    trunk: fx.GraphModule
    tail: fx.GraphModule
    layers: tuple[str, ...]


class Forked:
    """A protected network that answers with several scales and shifts at once. It shares the network's modules.

    Made by `fork`. The tails run one after the other: on CPUs that is faster than rows side by side
    (docs/performance.md).

    Attributes:
        network: the protected network.
        shares_trunk: whether the graph could be split; if not, every scale and shift takes a full pass. So it does
            while a batch norm is in training, whose running statistics a shared trunk would move once, not once a pass.
    """

    def __init__(self, network: nn.Module, shares_trunk: bool) -> None:
        self.network, self.shares_trunk = network, shares_trunk
        self._layers = passport_layers(network)
        self._mixing = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self._halves: dict[bool, _Halves] = {}
        self._compiled = False

    def __getstate__(self) -> dict[str, Any]:
        """Without the halves, which do not survive pickling and are split anew."""
        return self.__dict__ | {"_halves": {}}

    def compile(self) -> None:
        """Lets `torch.compile` make trunk, tail and full passes faster, each when it first runs."""
        self._halves, self._compiled = {}, True
        self.network.compile()

    def __call__(self, x: Tensor, affines: Sequence[Mapping[str, Affine]]) -> list[Tensor]:
        """The network's answers with each of several scales and shifts.

        Args:
            x: its input, shape (B, ...).
            affines: for each answer the scale and shift of every passport layer, each (1, C): `affines_of` a branch, or
                what a claim presents.

        Returns:
            The answers, each (B, ...).
        """
        if self.shares_trunk and not any(norm.training for norm in self._mixing):
            halves = self._split(self.network.training)
            shared = halves.trunk(x)
            return [halves.tail(*shared, *(part for name in halves.layers for part in own[name])) for own in affines]
        answers = []
        for own in affines:
            with presenting(self._layers, own):
                answers.append(answer_of(self.network, x))
        return answers

    def _split(self, training: bool) -> _Halves:
        """The two halves; traced once for each mode, as a network may look at `self.training`."""
        if training not in self._halves:
            halves = _split(self.network)
            if self._compiled:
                halves.trunk.compile()
                halves.tail.compile()
            self._halves[training] = halves
        return self._halves[training]


@own_world()
def fork(network: nn.Module, example: Tensor) -> Forked:
    """A protected network, ready to answer with several scales and shifts at once.

    Args:
        network: a protected network; its mode, weights and statistics stay as they are.
        example: an input for it, e.g. one image, shape (1, C, H, W): the split is tried on it against full passes, and
            not used where they disagree (a graph that changes a shared value in place).
    """
    forked = Forked(network, shares_trunk=True)
    public = affines_of(network, Branch.PUBLIC)
    trial = [public, {name: (gamma + 1, beta - 1) for name, (gamma, beta) in public.items()}]
    with evaluating(network):
        apart = torch.stack(Forked(network, shares_trunk=False)(example, trial))
        try:
            together = torch.stack(forked(example, trial))
            forked.shares_trunk = torch.allclose(together, apart, rtol=1e-3, atol=1e-4)
        except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError, NotImplementedError):
            forked.shares_trunk = False  # what Python decides from a tensor's values cannot be traced
    return forked


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PassportLayer) or super().is_leaf_module(m, module_qualified_name)


def _split(network: nn.Module) -> _Halves:
    """Traces a network and splits its graph at the first passport layers."""
    whole = _Tracer().trace(network)
    names = {id(layer): name for name, layer in passport_layers(network).items()}
    layers = {
        node: names[id(module)]
        for node in whole.nodes
        if node.op == "call_module" and isinstance(module := network.get_submodule(str(node.target)), PassportLayer)
    }
    behind: set[fx.Node] = set()
    for node in whole.nodes:
        if node in layers or any(source in behind for source in node.all_input_nodes):
            behind.add(node)
    shared = [n for n in whole.nodes if n not in behind and any(user in behind for user in n.users)]

    trunk = fx.Graph()
    copied: dict[fx.Node, Any] = {}
    for node in whole.nodes:
        if node not in behind and node.op != "output":
            copied[node] = trunk.node_copy(node, copied.__getitem__)
    trunk.output(tuple(copied[node] for node in shared))

    tail = fx.Graph()
    copied = {node: tail.placeholder(f"shared_{i}") for i, node in enumerate(shared)}
    affines = {node: (tail.placeholder(f"gamma_{i}"), tail.placeholder(f"beta_{i}")) for i, node in enumerate(layers)}
    for node in whole.nodes:
        if node in behind:
            copied[node] = tail.node_copy(node, copied.__getitem__)
            if node in layers:
                copied[node].args = (*copied[node].args, affines[node])
    return _Halves(fx.GraphModule(network, trunk), fx.GraphModule(network, tail), tuple(layers.values()))
