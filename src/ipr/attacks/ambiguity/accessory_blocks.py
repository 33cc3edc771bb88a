"""The accessory blocks of Chen et al. (CVPR 2023, 2303.11595), through which a forger trains scales.

Scales that are trained directly seldom cross 0; those that come out of a small network do. Both blocks have a skip
connection and one hidden layer, gamma'' = W_2^T LeakyReLU(W_1^T gamma + b_1) + b_2 + gamma.

Deviation: W_2 and b_2 start at 0, so that training starts from gamma itself; the paper does not say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Cerb(nn.Module):
    """CERB: one block for the scales of a layer, C -> C / 8 -> C.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into = nn.Linear(channels, max(1, channels // 8))
        self.out = nn.Linear(self.into.out_features, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, gamma: Tensor) -> Tensor:
        """Gamma and gamma'', each (C,)."""
        found: Tensor = self.out(functional.leaky_relu(self.into(gamma))) + gamma
        return found


class Ierb(nn.Module):
    """IERB: a block for each scale by itself, 1 -> 10 -> 1.

    Args:
        channels: C, how many blocks.
    """

    HIDDEN = 10

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.empty(channels, self.HIDDEN).uniform_(-1, 1))  # as nn.Linear(1, 10) draws them
        self.into_bias = nn.Parameter(torch.empty(channels, self.HIDDEN).uniform_(-1, 1))
        self.out = nn.Parameter(torch.zeros(channels, self.HIDDEN))
        self.out_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, gamma: Tensor) -> Tensor:
        """Gamma and gamma'', each (C,)."""
        hidden = functional.leaky_relu(self.into * gamma[:, None] + self.into_bias)
        return (self.out * hidden).sum(1) + self.out_bias + gamma


BLOCKS: dict[str, type[nn.Module] | None] = {"plain": None, "cerb": Cerb, "ierb": Ierb}
"""What scales may come out of, by name: themselves, or a block."""
