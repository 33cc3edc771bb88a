"""What every scheme shares: the optimiser, the loop's bookkeeping, and a sum of named loss terms."""

from __future__ import annotations

from abc import ABC, abstractmethod

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from ipr.data.share import WHOLE, Share
from ipr.schemes.recipe import Recipe


class Scheme(L.LightningModule, ABC):
    """Trains a network on the sum of its loss terms.

    Args:
        network: what is trained; only its `state_dict` is ever saved.
        recipe: how.
        num_classes: number of classes.

    Attributes:
        share: which part of every batch this process takes.
        moves_all: whether every step has a gradient for everything that is trained.
    """

    share: Share = WHOLE
    moves_all: bool = True

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        # checking its arguments at every step would wait for the device
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)

    @abstractmethod
    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The loss terms of one batch by name; their sum is minimised. x: (B, channels, H, W), y: (B,).

        Of several processes each gets its share; gradients and logged terms are averaged over them.
        """

    def setup(self, stage: str) -> None:
        """Learns what this process's share is."""
        self.share = Share(self.trainer.global_rank, self.trainer.world_size)

    def check_shares(self, processes: int) -> None:
        """Refuses a number of processes that cannot share what a step takes besides its batch.

        Raises:
            InputError: naming what they cannot share.
        """

    def compile_network(self) -> None:
        """Lets `torch.compile` make what `terms` runs faster, in place: the `state_dict` keeps its names."""
        self.network.compile()

    def trained(self) -> list[nn.Parameter]:
        """What the optimiser moves: by default whatever of the network is not frozen."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One step; nothing in it waits for the device."""
        x, y = batch
        terms = self.terms(x, y)
        loss = torch.stack(list(terms.values())).sum()
        logged = {f"train/{name}": term.detach() for name, term in terms.items()} | {"train/loss": loss.detach()}
        together = self.share.processes > 1
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=y.numel(), sync_dist=together)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD and the recipe's schedule, advanced at every step."""
        recipe = self.recipe
        optimizer = torch.optim.SGD(
            self.trained(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.rate_factor((step + 0.5) / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
