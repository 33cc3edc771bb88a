"""The passport layer (Eq. 3 and 4, Algorithms 1 and 3): a drop-in for the norm that follows a convolution.

gamma is linear in W: Avg(W * P)_c = <W_c, S>, where S is the mean of P's (padded, strided) input patches over the
output positions. S is computed once per passport (`patch_mean`); no convolution over P runs in the forward pass. It is
exact, gradients included.

A linear layer is a convolution of 1x1 over a map of T tokens, (C_in, T, 1): so transformers have passports, too. What
follows there and is no matter of the paper is in `layer_norm.py`.

Shapes: B batch, C channels out, G groups of the convolution, D = k * k * C_in / G numbers of a patch, K passports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.models.inspection import Projection

GROUP_NORM_CRASHES = torch.__version__ < "2.14"
"""torch 2.11 ends the process at the gradient of a group norm's affine alone, where its input lies channels last on a
CPU (an attack on the scales asks for it); torch 2.14 does not, and what lies between was not tried."""


class Branch(IntEnum):
    """`idx` of Algorithm 3: whose scale and shift, the norm's own or the passport's."""

    PUBLIC = 0
    PRIVATE = 1


def patch_mean(passport: Tensor, conv: Projection) -> Tensor:
    """S: the mean patch of a passport, so that Avg(W * P) = <W, S> for every W of `conv`'s shape.

    Args:
        passport: one or many inputs of `conv`, shape (N, C_in, H, W); of a linear layer (N, C_in, T, 1).
        conv: gives stride, padding, dilation and groups; its weights are not used.

    Returns:
        Shape (N, G, D), of the passport's type, in the order of `filters`; summed in float64.
    """
    if isinstance(conv, nn.Linear):
        return passport.double().mean((2, 3)).unsqueeze(1).to(passport.dtype)
    weight = conv.weight
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    padded = functional.pad(passport.double(), _padding(conv, passport), mode=mode)
    kernel = (weight.shape[2], weight.shape[3])
    patches = functional.unfold(padded, kernel, dilation=_pair(conv.dilation), stride=_pair(conv.stride))
    means: Tensor = patches.mean(-1).unflatten(1, (conv.groups, -1, kernel[0] * kernel[1])).mT.flatten(2)
    return means.to(passport.dtype)


def _padding(conv: nn.Conv2d, x: Tensor) -> list[int]:
    """What is added to an input, (N, C_in, H, W): left, right, top and bottom, in pixels.

    timm's convolutions with the padding of TensorFlow choose it by the size of the input, and less of it before.
    """
    if not (type(conv).__module__.startswith("timm.") and "Same" in type(conv).__name__):
        return list(conv._reversed_padding_repeated_twice)
    if not getattr(conv, "same_pad", True):
        return list(conv._reversed_padding_repeated_twice)
    found = []
    for size, kernel, stride, dilation in zip(
        x.shape[:1:-1], conv.kernel_size[::-1], conv.stride[::-1], conv.dilation[::-1], strict=True
    ):
        added = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        found += [added // 2, added - added // 2]
    return found


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def filters(weight: Tensor) -> Tensor:
    """W as a matrix, shape (C, D), channels last within a patch: free of copies where W is kept channels last.

    A linear layer's is one already.
    """
    return weight.movedim(1, -1).flatten(1)


def scale_and_shift(weight: Tensor, patch_means: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4: gamma = Avg(W * P_gamma) and beta = Avg(W * P_beta), for K passports at once.

    Args:
        weight: W_p of the convolution, shape (C, C_in / G, k, k), or of a linear layer, (C, C_in).
        patch_means: S of each passport, shape (K, 2, G, D); index 0 is P_gamma's, 1 is P_beta's.

    Returns:
        gamma and beta, each of shape (K, C).
    """
    groups = patch_means.shape[2]
    with torch.autocast(weight.device.type, enabled=False):  # signs are at stake
        if groups == 1:  # one product of matrices, several times faster than a batch of one
            both = functional.linear(patch_means.flatten(2), filters(weight))
        else:
            both = torch.einsum("god,ksgd->ksgo", filters(weight).unflatten(0, (groups, -1)), patch_means).flatten(2)
    gamma, beta = both.unbind(1)
    return gamma, beta


Affine = tuple[Tensor, Tensor]
"""gamma and beta of K passports at one layer, each of shape (K, C)."""


class PassportLayer(nn.Module):
    """A norm whose scale and shift derive from a passport and the weights of the convolution before it.

    The public affine (`weight`, `bias`) keeps the plain norm's names, or is absent as in a norm with `affine=False`
    (scheme V1). The passport's patch means are a non-persistent buffer: no `state_dict` ever holds them. The
    convolution is read, not owned: it is kept in a tuple so that it is not registered twice, and the tie survives
    `copy.deepcopy`.

    It answers with the passport's scale and shift, or with those that a forward is given. What calls the whole network
    cannot give its layers any: there `presenting` puts them in place.

    Attributes:
        patch_means: S of the passport, shape (1, 2, G, D).
        presented: the scale and shift that `presenting` has put in the place of the passport's own, each (1, C).
        plain_kind: the class of the plain norm.
        plain_affine: which of `weight` and `bias` the plain norm has, also where scheme V1 takes them out.
        replaces: whether the passport's scale and shift stand in the place of the norm's own, or come before them.
    """

    patch_means: Tensor
    presented: Affine | None
    plain_kind: type[nn.Module]
    plain_affine: tuple[str, ...]

    replaces: ClassVar[bool] = True

    def _tie(
        self, conv: Projection, passport: Tensor, plain_kind: type[nn.Module], plain_affine: tuple[str, ...]
    ) -> None:
        """Ties the layer, a plain norm until now, to its convolution and its passport (2, C_in, H, W)."""
        self._conv = (conv,)
        self.plain_kind, self.plain_affine = plain_kind, plain_affine
        self.presented = None
        means = patch_mean(passport.to(conv.weight), conv).unsqueeze(0)
        self.register_buffer("patch_means", means, persistent=False)

    def _untie(self) -> None:
        """Takes away all that a plain norm has not."""
        for name in ("_conv", "plain_kind", "plain_affine", "presented", "patch_means"):
            delattr(self, name)

    @property
    def conv(self) -> Projection:
        """The convolution, or linear layer, whose weights the passport is applied to."""
        return self._conv[0]

    def passport_affine(self) -> Affine:
        """Gamma and beta of Eq. 4, each (1, C) in the weights' precision."""
        return scale_and_shift(self.conv.weight, self.patch_means)

    def public_affine(self) -> Affine:
        """gamma_publ and beta_publ of Algorithm 3, each (1, C); 1 and 0 where there are none."""
        weight, bias, filters = self._parameters["weight"], self._parameters["bias"], self.conv.weight
        gamma = filters.new_ones(filters.shape[0]) if weight is None else weight
        beta = filters.new_zeros(filters.shape[0]) if bias is None else bias
        return gamma.unsqueeze(0), beta.unsqueeze(0)

    def folded(self, gamma: Tensor, beta: Tensor) -> Affine:
        """The plain norm's scale and shift that answer as these do in this layer, each (1, C)."""
        return gamma, beta

    def affine_of(self, branch: Branch) -> Affine:
        """The scale and shift of a branch, each (1, C)."""
        return self.public_affine() if branch is Branch.PUBLIC else self.passport_affine()

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Eq. 3: the norm with the scale and shift given, each (C,)."""
        raise NotImplementedError("abstract: a subclass is one kind of norm")

    def forward(self, x: Tensor, affine: Affine | None = None) -> Tensor:
        """Algorithm 1 or 3: Eq. 3 with the passport's scale and shift, or with those given, each (1, C)."""
        gamma, beta = affine or self.presented or self.passport_affine()
        return self.normalise(x, gamma.squeeze(0), beta.squeeze(0))


class PassportBatchNorm2d(PassportLayer, nn.BatchNorm2d):
    """A passport layer over batch norm."""

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`nn.BatchNorm2d.forward` with the affine given: a `momentum` of None is the average over all batches so far,
        and without running statistics those of the batch are used at rest, too.
        """
        momentum, mean, var = self.momentum or 0.0, self.running_mean, self.running_var
        of_batch = self.training or mean is None
        if self.training and not self.track_running_stats:
            mean = var = None
        elif self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        return functional.batch_norm(x, mean, var, weight, bias, of_batch, momentum, self.eps)


class PassportGroupNorm(PassportLayer, nn.GroupNorm):
    """A passport layer over group norm."""

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`nn.GroupNorm.forward` with the affine given."""
        if GROUP_NORM_CRASHES and x.device.type == "cpu" and not x.requires_grad:
            x = x.contiguous()
        return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


Layers = Mapping[str, PassportLayer]
"""Passport layers by the name of the convolution they belong to."""


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


def affines_of(network: nn.Module | Layers, branch: Branch) -> dict[str, Affine]:
    """The scales and shifts of one branch, each (1, C), by the name of the layer's convolution.

    Args:
        network: a protected network, or its passport layers where they are at hand.
        branch: which.
    """
    return {name: layer.affine_of(branch) for name, layer in _layers_of(network).items()}


@contextmanager
def presenting(network: nn.Module | Layers, affines: Mapping[str, Affine]) -> Iterator[None]:
    """Inside, the layers named answer with these scales and shifts, each (1, C) (Eq. 5); afterwards as before.

    Args:
        network: a protected network, or its passport layers where they are at hand.
        affines: by the name of a layer's convolution.

    Raises:
        ValueError: there are several for a layer.
    """
    layers = _layers_of(network)
    before = {name: layer.presented for name, layer in layers.items()}
    try:
        for name, (gamma, beta) in affines.items():
            if gamma.shape[0] != 1:
                raise ValueError(f"{gamma.shape[0]} scales for {name}; let ipr.fork(network, example) answer for all")
            layer = layers[name]
            layer.presented = gamma.to(layer.conv.weight), beta.to(layer.conv.weight)
        yield
    finally:
        for name, layer in layers.items():
            layer.presented = before[name]


def _layers_of(network: nn.Module | Layers) -> Layers:
    return passport_layers(network) if isinstance(network, nn.Module) else network
