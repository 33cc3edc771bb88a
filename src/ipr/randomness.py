"""Explicit random generators, each derived from one seed and the purpose it serves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


def derive_seed(seed: int, purpose: str, key: str | None = None) -> int:
    """An independent 63-bit seed for one purpose of a run.

    Args:
        seed: the seed of the run; 0 is a seed like any other.
        purpose: what the numbers are for; different purposes give unrelated streams.
        key: the owner's secret. Without it anyone who knows the seed can draw the same numbers.
    """
    return int.from_bytes(derive_bytes(seed, purpose, key)[:8], "big") >> 1


def derive_bytes(seed: int, purpose: str, key: str | None = None) -> bytes:
    """32 independent bytes for one purpose of a run; see `derive_seed`."""
    return hashlib.sha256(f"{seed}\0{purpose}\0{key or ''}".encode()).digest()


def generator(seed: int, purpose: str, key: str | None = None, device: torch.device | str = "cpu") -> Generator:
    """A generator that starts at `derive_seed(seed, purpose, key)`."""
    return started_at(derive_seed(seed, purpose, key), device)


def started_at(seed: int, device: torch.device | str = "cpu") -> Generator:
    """A generator that starts at a seed which was derived before: a claim's `Origin` names it."""
    return Generator(device=device).manual_seed(seed)


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Inside, torch's own generator of the CPU starts at a seed; afterwards it goes on as before. No GPU is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
