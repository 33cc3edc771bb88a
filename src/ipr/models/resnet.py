"""ResNet-18 (Table III, right) and ResNet-50 for small images.

The standard network of He et al. with a 3x3 stem and no first pooling. The authors' code applies a further ReLU to
each half before the addition; that is in no table or text of the paper and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ipr.config.registry import register
from ipr.models.parts import initialise, norm_layer, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int, make_norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = make_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = make_norm(channels)
        self.shortcut = _shortcut(channels_in, channels, stride, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels, H / stride, W / stride)."""
        out = torch.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip; four times as many channels come out."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int, make_norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        channels_out = channels * self.expansion
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm1 = make_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.norm2 = make_norm(channels)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.norm3 = make_norm(channels_out)
        self.shortcut = _shortcut(channels_in, channels_out, stride, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        out = torch.relu(self.norm1(self.conv1(x)))
        out = torch.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return torch.relu(out + self.shortcut(x))


def _shortcut(channels_in: int, channels_out: int, stride: int, make_norm: Callable[[int], nn.Module]) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), make_norm(channels_out))


class ResNet(nn.Module):
    """A stem, four stages named as in Table III (`conv2_x` ... `conv5_x`), average pooling and one linear layer."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        norm: str,
        width: float,
        channels_in: int,
        image_size: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        del image_size  # pooled away: any size fits
        make_norm = norm_layer(norm)
        stem, *stages = (scaled(channels, width) for channels in (64, 64, 128, 256, 512))
        self.conv1 = nn.Conv2d(channels_in, stem, 3, padding=1, bias=False)
        self.norm1 = make_norm(stem)
        self.conv2_x = _stage(block, stem, stages[0], depths[0], 1, make_norm)
        self.conv3_x = _stage(block, stages[0] * block.expansion, stages[1], depths[1], 2, make_norm)
        self.conv4_x = _stage(block, stages[1] * block.expansion, stages[2], depths[2], 2, make_norm)
        self.conv5_x = _stage(block, stages[2] * block.expansion, stages[3], depths[3], 2, make_norm)
        self.linear = nn.Linear(stages[3] * block.expansion, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels_in, H, W) to logits (B, num_classes)."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    channels_in: int,
    channels: int,
    depth: int,
    stride: int,
    make_norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    first = block(channels_in, channels, stride, make_norm)
    rest = [block(channels * block.expansion, channels, 1, make_norm) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


@register("resnet18")
def resnet18(**sizes: Any) -> ResNet:
    """ResNet-18: two basic blocks a stage. Takes what `ResNet` does, all but block and depths."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **sizes)


@register("resnet50")
def resnet50(**sizes: Any) -> ResNet:
    """ResNet-50: three, four, six and three bottlenecks. Takes what `ResNet` does, all but block and depths."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **sizes)
