"""The plain network: what every scheme is compared with, and what feature-map passports are taken from."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ipr.config.registry import register
from ipr.schemes.base import About, Scheme


@register("baseline", order=0)
class Baseline(Scheme):
    """Cross-entropy alone."""

    about = About("none", "-", "nothing", "accuracy alone")

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c."""
        logits = self.network(x)
        self.means.count(logits, y)
        return {"cross_entropy": functional.cross_entropy(logits, y)}
