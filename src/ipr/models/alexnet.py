"""AlexNet for small images (Table III, left)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ipr.config.registry import register
from ipr.models.parts import initialise, norm_layer, scaled


@register("alexnet")
class AlexNet(nn.Module):
    """Five convolutions, each with a norm and ReLU, and one linear layer; pooling behind Conv1, Conv2 and Conv5."""

    def __init__(self, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        make_norm = norm_layer(norm)
        c1, c2, c3, c4, c5 = (scaled(channels, width) for channels in (64, 192, 384, 256, 256))
        self.conv1 = nn.Conv2d(channels_in, c1, 5, padding=2, bias=False)
        self.norm1 = make_norm(c1)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=2, bias=False)
        self.norm2 = make_norm(c2)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1, bias=False)
        self.norm3 = make_norm(c3)
        self.conv4 = nn.Conv2d(c3, c4, 3, padding=1, bias=False)
        self.norm4 = make_norm(c4)
        self.conv5 = nn.Conv2d(c4, c5, 3, padding=1, bias=False)
        self.norm5 = make_norm(c5)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(c5 * (image_size // 8) ** 2, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels_in, image_size, image_size) to logits (B, num_classes)."""
        x = self.pool(torch.relu(self.norm1(self.conv1(x))))
        x = self.pool(torch.relu(self.norm2(self.conv2(x))))
        x = torch.relu(self.norm3(self.conv3(x)))
        x = torch.relu(self.norm4(self.conv4(x)))
        x = self.pool(torch.relu(self.norm5(self.conv5(x))))
        logits: Tensor = self.linear(x.flatten(1))
        return logits
