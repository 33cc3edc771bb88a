"""The passport layer (Eq. 3 and 4, Algorithms 1 and 3): a drop-in for the norm that follows a convolution.

Three facts make it cheap, each exact, gradients included:

1. gamma is linear in W: Avg(W * P)_c = <W_c, S>, where S is the mean of P's (padded, strided) input patches over the
   output positions. S is computed once per passport (`patch_mean`); no convolution over P runs in the forward pass.
2. Branches and rival passports differ only in gamma and beta. A layer therefore answers with K affines at once: the
   first layers to see them repeat their normalised input K times along the batch axis, the later ones carry them on.
3. At rest gamma and beta are constants: they fold into an ordinary affine norm (`ipr.passport.surgery.strip`).

Shapes: B batch, C channels out, G groups of the convolution, D = C_in / G * k * k numbers of a patch, K affines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum

import torch
from torch import Tensor, nn
from torch.nn import functional


class Branch(IntEnum):
    """`idx` of Algorithm 3: which scale and shift a passport layer answers with."""

    PUBLIC = 0
    PRIVATE = 1


def patch_mean(passport: Tensor, conv: nn.Conv2d) -> Tensor:
    """S: the mean patch of a passport, so that Avg(W * P) = <W, S> for every W of `conv`'s shape.

    Args:
        passport: one or many inputs of `conv`, shape (N, C_in, H, W).
        conv: gives stride, padding, dilation and groups; its weights are not used.

    Returns:
        Shape (N, G, D), of the passport's type; summed in float64.
    """
    weight = conv.weight
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    padded = functional.pad(passport.double(), conv._reversed_padding_repeated_twice, mode=mode)
    kernel = (weight.shape[2], weight.shape[3])
    patches = functional.unfold(padded, kernel, dilation=_pair(conv.dilation), stride=_pair(conv.stride))
    means: Tensor = patches.mean(-1).unflatten(1, (conv.groups, -1))
    return means.to(passport.dtype)


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def scale_and_shift(weight: Tensor, patch_means: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4: gamma = Avg(W * P_gamma) and beta = Avg(W * P_beta), for K passports at once.

    Args:
        weight: W_p of the convolution, shape (C, C_in / G, k, k).
        patch_means: S of each passport, shape (K, 2, G, D); index 0 is P_gamma's, 1 is P_beta's.

    Returns:
        gamma and beta, each of shape (K, C).
    """
    groups = patch_means.shape[2]
    filters = weight.reshape(groups, weight.shape[0] // groups, -1)
    both = torch.einsum("god,ksgd->ksgo", filters, patch_means).flatten(2)
    return both[:, 0], both[:, 1]


def affine(normalised: Tensor, gamma: Tensor, beta: Tensor, fork: bool) -> Tensor:
    """Eq. 3 for K affines side by side along the batch axis.

    Args:
        normalised: O(X_p); shape (B, C, ...) where the affines part, (K * B, C, ...) where they are carried on.
        gamma: scales, shape (K, C).
        beta: shifts, shape (K, C).
        fork: whether this is where they part.

    Returns:
        Shape (K * B, C, ...); rows k * B to (k + 1) * B are affine k's.
    """
    shape = (gamma.shape[0], 1, -1) + (1,) * (normalised.dim() - 2)
    rows = normalised.unsqueeze(0) if fork else normalised.unflatten(0, (gamma.shape[0], -1))
    return torch.addcmul(beta.view(shape), rows, gamma.view(shape)).flatten(0, 1)


Affine = tuple[Tensor, Tensor]
"""gamma and beta of K passports at one layer, each of shape (K, C)."""


class PassportLayer(nn.Module):
    """A norm whose scale and shift derive from a passport and the weights of the convolution before it.

    The public affine (`weight`, `bias`) keeps the plain norm's names, or is absent as in a norm with `affine=False`
    (scheme V1). The passport's patch means are a non-persistent buffer: no `state_dict` ever holds them. The
    convolution is read, not owned: it is kept in a tuple so that it is not registered twice, and the tie survives
    `copy.deepcopy`.

    Attributes:
        branches: which branches the next forward answers with; set it through `answering_with`.
        patch_means: S of the passport, shape (1, 2, G, D).
        presented: scales and shifts, each (K, C), to answer with in place of the passport's own; set it through
            `presenting`.
        forks: whether K > 1 affines part at this layer (True) or are carried on (False); None where the network's
            graph does not allow them side by side.
    """

    patch_means: Tensor
    branches: tuple[Branch, ...]
    presented: Affine | None
    forks: bool | None

    def _become_passport_layer(self, conv: nn.Conv2d, passport: Tensor) -> None:
        """Ties the layer to its convolution and its passport (2, C_in, H, W)."""
        self._conv = (conv,)
        self.branches = (Branch.PRIVATE,)
        self.presented = None
        self.forks = None
        means = patch_mean(passport.to(conv.weight), conv).unsqueeze(0)
        self.register_buffer("patch_means", means, persistent=False)

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution whose weights the passport is applied to."""
        return self._conv[0]

    def passport_affine(self) -> tuple[Tensor, Tensor]:
        """Eq. 4 for the passport, each (1, C) in the weights' precision; or the K affines presented, each (K, C)."""
        if self.presented is not None:
            return self.presented
        with torch.autocast(self.patch_means.device.type, enabled=False):
            return scale_and_shift(self.conv.weight, self.patch_means)

    def public_affine(self) -> tuple[Tensor, Tensor]:
        """gamma_publ and beta_publ of Algorithm 3, each (1, C); 1 and 0 where there is no public affine."""
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        if weight is None or bias is None:
            ones = torch.ones_like(self.conv.weight[:, 0, 0, 0])
            return ones[None], torch.zeros_like(ones)[None]
        return weight[None], bias[None]

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """The norm with the given affine, or with none."""
        raise NotImplementedError("abstract: a subclass is one kind of norm")

    def forward(self, x: Tensor) -> Tensor:
        """Algorithm 1 or 3. x: (B, C, ...), or (K * B, C, ...) where K affines are carried on."""
        affines = [
            self.public_affine() if branch is Branch.PUBLIC else self.passport_affine() for branch in self.branches
        ]
        if len(affines) == 1:
            gamma, beta = affines[0]
        else:
            gamma = torch.cat([scale for scale, _ in affines])
            beta = torch.cat([shift for _, shift in affines])
        if gamma.shape[0] == 1:
            return self.normalise(x, gamma[0], beta[0])
        return affine(self.normalise(x, None, None), gamma, beta, bool(self.forks))


class PassportBatchNorm2d(PassportLayer, nn.BatchNorm2d):
    """A passport layer over batch norm."""

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """`nn.BatchNorm2d.forward` with the affine given."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = 0.0 if self.momentum is None else self.momentum
        return functional.batch_norm(
            x, self.running_mean, self.running_var, weight, bias, self.training, momentum, self.eps
        )


class PassportGroupNorm(PassportLayer, nn.GroupNorm):
    """A passport layer over group norm."""

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """`nn.GroupNorm.forward` with the affine given."""
        return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


def passport_layers(network: nn.Module) -> dict[str, PassportLayer]:
    """The passport layers of a network by the name of the convolution they belong to, in the network's order.

    Raises:
        ValueError: the network has none.
    """
    names = {id(module): name for name, module in network.named_modules()}
    layers = {names[id(m.conv)]: m for m in network.modules() if isinstance(m, PassportLayer)}
    if not layers:
        raise ValueError("the network has no passport layer; protect it first (ipr.protect)")
    return layers


@contextmanager
def answering_with(network: nn.Module, *branches: Branch) -> Iterator[None]:
    """Inside, every passport layer answers with these branches; afterwards, with what it answered with before."""
    layers = list(passport_layers(network).values())
    before = [layer.branches for layer in layers]
    try:
        for layer in layers:
            layer.branches = branches
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.branches = was


@contextmanager
def presenting(network: nn.Module, affines: Mapping[str, Affine]) -> Iterator[None]:
    """Inside, the passport layers answer with other scales and shifts (Eq. 5), K of each; afterwards with their own."""
    layers = passport_layers(network)
    before = {name: layer.presented for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            gamma, beta = affines[name]
            layer.presented = gamma.to(layer.conv.weight), beta.to(layer.conv.weight)
        yield
    finally:
        for name, layer in layers.items():
            layer.presented = before[name]


def forward_side_by_side(network: nn.Module, x: Tensor, *branches: Branch) -> Tensor:
    """The network's answers for every branch and every passport presented, through one trunk where that is exact.

    Passports are told apart at the first passport layers only, so what comes before runs once. Two situations call
    for one full pass per affine instead: a graph that joins forked and unforked rows, and a batch norm in training,
    whose statistics would mix the rows of all affines.

    Args:
        network: a protected network.
        x: its input, shape (B, ...).
        branches: the branches to answer with, PRIVATE standing for all K passports presented.

    Returns:
        Shape (number of affines, B, ...).
    """
    layers = passport_layers(network)
    possible = all(layer.forks is not None for layer in layers.values())
    mixes = any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in network.modules())
    if possible and not mixes:
        with answering_with(network, *branches):
            answers: Tensor = network(x)
        return answers.reshape(-1, *x.shape[:1], *answers.shape[1:])
    rows = []
    for branch in branches:
        with answering_with(network, branch):
            if branch is Branch.PUBLIC:
                rows.append(network(x))
                continue
            affines = {name: layer.passport_affine() for name, layer in layers.items()}
            for k in range(next(iter(affines.values()))[0].shape[0]):
                with presenting(network, {name: (g[k : k + 1], b[k : k + 1]) for name, (g, b) in affines.items()}):
                    rows.append(network(x))
    return torch.stack(rows)
