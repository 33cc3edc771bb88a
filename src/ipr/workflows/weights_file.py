"""The weights file of a run: written from what was trained, and opened as a suspect's is."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import nn

from ipr.config.schema import (
    ModelConfig,
)
from ipr.data.images import ImageData
from ipr.files import write_atomically
from ipr.schemes.start import architecture_of
from ipr.suspects.suspect import open_suspect


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's public `state_dict` as safetensors, whole or not at all."""
    write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}))


def load_suspect(model: ModelConfig, data: ImageData, path: Path) -> nn.Module:
    """A plain network with the weights of a file (`open_suspect`).

    Raises:
        InputError: the file is missing, damaged, or for another architecture.
    """
    return open_suspect(path, architecture_of(model, data)).network
