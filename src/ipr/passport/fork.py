"""Many scales and shifts through one network at once: the branches of V2 and V3, or the passports of rival claims.

They differ at the passport layers alone, so what comes before is computed once: the network's graph is split into a
trunk, which no passport layer feeds, and a tail, which runs once for each scale and shift. Values and gradients are
those of one full pass for each.

Batch norms in the tail see other numbers with other scales, so that no average over all of them fits any. Hence the
network's running statistics are those of the first answer, and others have statistics of their own
(`passport/statistics.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ipr.models.inspection import answer_of, evaluating, tensor_of
from ipr.passport.layer import Affine, Branch, PassportLayer, affines_of, passport_layers, presenting
from ipr.passport.statistics import Statistics, batch_norms, of_one_batch, untracked, using
from ipr.world import own_world

UNTRACEABLE = (fx.proxy.TraceError, TypeError, ValueError, LookupError, RuntimeError, AttributeError, AssertionError)
"""What is raised where Python decides from a tensor's values, or from its kind."""


@dataclass(frozen=True)
class _Halves:
    """The network's graph in two; `tail` takes what `trunk` returns, then gamma and beta of each layer in `layers`.

    Attributes:
        norms: the batch norms of the tail.
    """

    trunk: fx.GraphModule
    tail: fx.GraphModule
    layers: tuple[str, ...]
    norms: tuple[_BatchNorm, ...]


class Forked:
    """A protected network that answers with several scales and shifts at once. It shares the network's modules.

    Made by `fork`. The tails run one after the other: on CPUs that is faster than rows side by side
    (docs/performance.md). Batch norms in training take the statistics of the batch for each answer; the network's
    running statistics become those of the first.

    Attributes:
        network: the protected network.
        shares_trunk: whether the graph could be split at rest; if not, every scale and shift takes a full pass. In
            training, too, where Python then decides from a tensor's values (by a random depth, say).
    """

    def __init__(self, network: nn.Module, shares_trunk: bool) -> None:
        self.network, self.shares_trunk = network, shares_trunk
        self._layers = passport_layers(network)
        self._all_norms = batch_norms(network.modules())
        self._halves: dict[bool, _Halves | None] = {}
        self._compiled = False
        self._tracer: type[fx.Tracer] = _Coarse

    def __getstate__(self) -> dict[str, Any]:
        """Without the halves, which do not survive pickling and are split anew."""
        return self.__dict__ | {"_halves": {}}

    def compile(self) -> None:
        """Lets `torch.compile` make trunk, tail and full passes faster, each when it first runs."""
        self._halves, self._compiled = {}, True
        self.network.compile()

    @property
    def norms(self) -> tuple[_BatchNorm, ...]:
        """The batch norms that see other numbers with other scales: those of the tail, or all where there is none."""
        halves = self._split(self.network.training)
        return self._all_norms if halves is None else halves.norms

    def __call__(
        self, x: Tensor, affines: Sequence[Mapping[str, Affine]], statistics: Sequence[Statistics] = ()
    ) -> list[Tensor]:
        """The network's answers with each of several scales and shifts.

        Args:
            x: its input, shape (B, ...).
            affines: for each answer the scale and shift of every passport layer, each (1, C): `affines_of` a branch, or
                what a claim presents.
            statistics: for each answer those of `norms`; {} leaves the network's own, as does leaving all out.

        Returns:
            The answers, each (B, ...).
        """
        answering = self._answering(x)
        answers: list[Tensor] = []
        for number, own in enumerate(affines):
            moved_before = untracked(self._all_norms if answers else ())
            with moved_before, using(statistics[number] if statistics else {}):
                answers.append(answering(own))
        return answers

    def statistics(self, x: Tensor, affines: Sequence[Mapping[str, Affine]]) -> list[Statistics]:
        """What `norms` see with each of several scales and shifts: exact over all of `x`, taken as one batch.

        Args:
            x: images, (N, ...), N from 2 on; their labels are not needed.
            affines: see `__call__`.

        Raises:
            InputError: there is but one image.
        """
        if not self.norms:
            return [{} for _ in affines]
        with evaluating(self.network):
            answering = self._answering(x)
            return [of_one_batch(self.norms, partial(answering, own)) for own in affines]

    def _answering(self, x: Tensor) -> Callable[[Mapping[str, Affine]], Tensor]:
        """What answers to `x` with a scale and shift; what they do not change is computed here, once."""
        halves = self._split(self.network.training)
        if halves is None:
            return partial(self._whole, x)
        shared = halves.trunk(x)
        return lambda own: tensor_of(
            self.network, halves.tail(*shared, *(part for name in halves.layers for part in own[name]))
        )

    def _whole(self, x: Tensor, own: Mapping[str, Affine]) -> Tensor:
        with presenting(self._layers, own):
            return answer_of(self.network, x)

    def _follow(self, tracer: type[fx.Tracer]) -> None:
        self._halves, self._tracer = {}, tracer

    def _split(self, training: bool) -> _Halves | None:
        """The two halves; traced once for each mode, as a network may look at `self.training`. None for full passes."""
        if not self.shares_trunk:
            return None
        if training not in self._halves:
            self._halves[training] = halves = _split_or_none(self.network, self._tracer)
            if self._compiled and halves is not None:
                halves.trunk.compile()
                halves.tail.compile()
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
        for tracer in (_Coarse, _Fine):  # a module that hands on several values may have to be followed
            forked._follow(tracer)
            try:
                together = torch.stack(forked(example, trial))
            except UNTRACEABLE:
                continue
            if forked._split(training=False) is not None and torch.allclose(together, apart, rtol=1e-3, atol=1e-4):
                return forked
    forked.shares_trunk = False
    return forked


def norms_behind(network: nn.Module) -> tuple[_BatchNorm, ...]:
    """The batch norms that see other numbers with other scales, in a protected network; all where none can tell."""
    halves = _split_or_none(network, _Fine) or _split_or_none(network, _Coarse)
    return batch_norms(network.modules()) if halves is None else halves.norms


class _Coarse(fx.Tracer):
    """Follows what holds a passport layer, and nothing else: what other modules do inside is no matter of the split."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PassportLayer) or not any(isinstance(inner, PassportLayer) for inner in m.modules())


class _Fine(fx.Tracer):
    """Follows all but norms and convolutions: what a norm does depends on statistics that are changed from outside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, PassportLayer | _BatchNorm | nn.Conv2d)
        return own or super().is_leaf_module(m, module_qualified_name)


def _split_or_none(network: nn.Module, tracer: type[fx.Tracer]) -> _Halves | None:
    try:
        return _split(network, tracer().trace(network))
    except UNTRACEABLE:
        return None


def _split(network: nn.Module, whole: fx.Graph) -> _Halves:
    """Splits a network's graph at the first passport layers."""
    names = {id(layer): name for name, layer in passport_layers(network).items()}
    layers = {
        node: names[id(module)]
        for node in whole.nodes
        if node.op == "call_module" and isinstance(module := network.get_submodule(str(node.target)), PassportLayer)
    }
    behind: dict[fx.Node, None] = {}  # in the graph's order
    for node in whole.nodes:
        if node in layers or any(source in behind for source in node.all_input_nodes):
            behind[node] = None
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
    called = [network.get_submodule(str(node.target)) for node in behind if node.op == "call_module"]
    inner = dict.fromkeys(module for one in called for module in one.modules())
    return _Halves(
        fx.GraphModule(network, trunk), fx.GraphModule(network, tail), tuple(layers.values()), batch_norms(inner)
    )
