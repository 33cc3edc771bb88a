"""A model: three convolutions and a linear layer, which learns small images in seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ipr.models.parts import initialise, norm_layer, scaled


class SmallNet(nn.Module):
    """Three convolutions, each with a norm and ReLU, average pooling and one linear layer.

    Args:
        norm: `bn` or `gn`.
        width: multiplies the channels.
        channels_in: channels of an image.
        image_size: its height and width, in pixels; any will do.
        num_classes: number of logits.
    """

    def __init__(self, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        make_norm = norm_layer(norm)
        c1, c2, c3 = (scaled(channels, width) for channels in (32, 64, 64))
        self.conv1 = nn.Conv2d(channels_in, c1, 3, padding=1, bias=False)
        self.norm1 = make_norm(c1)
        self.conv2 = nn.Conv2d(c1, c2, 3, stride=2, padding=1, bias=False)
        self.norm2 = make_norm(c2)
        self.conv3 = nn.Conv2d(c2, c3, 3, stride=2, padding=1, bias=False)
        self.norm3 = make_norm(c3)
        self.linear = nn.Linear(c3, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels_in, H, W) to logits (B, num_classes)."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        x = torch.relu(self.norm3(self.conv3(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
