"""What a scheme is: what it says of itself, how its claim is drawn, how it is built, and a sum of named loss terms.

A scheme is one file with one class (or several that are variants of each other) and one YAML file of its name in
`conf/scheme/`. docs/extending.md writes one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, Literal

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional

from ipr.claims.base import Claim
from ipr.config.recipe import Recipe
from ipr.config.registry import load_all
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.data.module import batches_per_epoch
from ipr.data.share import WHOLE, Share
from ipr.schemes.captured import CapturedStep
from ipr.schemes.means import EpochMeans
from ipr.schemes.start import start_network
from ipr.schemes.triggers import TriggerSamples, images_per_step

Trained = Callable[[], nn.Module]
"""Finds or trains the plain network of a run's architecture, data and seed; called only where it is needed."""


@dataclass(frozen=True)
class About:
    """What a scheme says of itself: for documents, and for attacks and exhibits to choose by.

    Attributes:
        family: `none`, `passport` (scales follow from it), `adapter` (weights do), `projection` (bits in weights or
            activations), `key images`, or `fingerprint` (nothing is embedded; the claim is made from the trained
            network).
        source: who published it, and where the paper speaks of it.
        embeds: what training adds.
        reads: what a judge reads.
    """

    family: Literal["none", "passport", "adapter", "projection", "key images", "fingerprint"]
    source: str
    embeds: str
    reads: str


class Scheme(L.LightningModule, ABC):
    """Trains a network on the sum of its loss terms.

    Args:
        network: what is trained; only its `state_dict` is ever saved.
        recipe: how.
        num_classes: number of classes.
        triggers: trigger or key images that are appended to every batch; None for none.

    Attributes:
        Config: the dataclass of what can be set of it, `scheme.FIELD=...`.
        about: what it says of itself.
        claim_kind: the class of its claims, which `draw_claim` draws; None where nothing is embedded.
        tunes: whether its training begins with a trained plain network, `Trained`, and goes on for `scheme.epochs`, or
            not at all (fingerprints).
        locked: whether the network that is given away works with its passport alone.
        more_bits: what to raise where all of the bits can be guessed.
        stronger: what to raise where too few bits are read.
        share: which part of every batch this process takes.
        left_out: positions of training images that it is not trained on, (M,), int64; None for none.
        capture: whether a step is recorded once and replayed (`CapturedStep`); in one process, without a scaler of
            the loss. Hooks of callbacks around backward pass and optimiser are not called then.
        moves_all: whether every step has a gradient for everything that is trained.
        criterion: the loss of logits and labels, a mean: L_c; of passport schemes.
        optimizer_of: makes somebody's own optimiser of `trained`; None for SGD by the recipe.
    """

    Config: ClassVar[type[SchemeConfig]] = SchemeConfig
    about: ClassVar[About]
    claim_kind: ClassVar[type[Claim] | None] = None
    tunes: ClassVar[bool] = False
    locked: ClassVar[bool] = False
    more_bits: ClassVar[str] = "scheme.bits"
    stronger: ClassVar[str] = "scheme.weight"

    share: Share = WHOLE
    left_out: Tensor | None = None
    capture: bool = False
    moves_all: bool = True
    criterion: Callable[[Tensor, Tensor], Tensor]
    optimizer_of: Callable[[list[nn.Parameter]], OptimizerLRScheduler] | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.claim_kind is not None and all("draw_claim" not in vars(c) for c in cls.__mro__ if c is not Scheme):
            raise TypeError(f"{cls.__name__} lacks draw_claim, and has claims")

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, triggers: TriggerSamples | None = None
    ) -> None:
        super().__init__()
        recipe.check()
        self.network, self.recipe, self.num_classes = network, recipe, num_classes
        self.triggers = triggers
        self.criterion = functional.cross_entropy  # of the instance: a module that takes its place goes to the device
        self.means = EpochMeans()
        self._captured: CapturedStep | None = None

    @classmethod
    def appends_images(cls, scheme: SchemeConfig) -> bool:
        """Whether trigger or key images (`trigger_set.per_step`) are appended to every batch."""
        return False

    @classmethod
    def trigger_count(cls, config: TrainConfig, data: ImageData) -> int:
        """How many trigger or key images there are, where the scheme appends some.

        Raises:
            InputError: those of a folder cannot be used.
        """
        return config.trigger_set.size

    @classmethod
    def steps(cls, config: TrainConfig, data: ImageData) -> int:
        """How many steps `build` is trained for.

        Raises:
            InputError: `trainer.limit_train_batches` leaves none.
        """
        images, limit = data.trained_on.numel(), config.trainer.limit_train_batches
        return cls.epochs(config) * batches_per_epoch(images, config.optimizer.batch_size, limit)

    @classmethod
    def per_step(cls, config: TrainConfig, data: ImageData) -> int:
        """How many trigger images are appended to a batch, t: `trigger_set.per_step`, or what follows where it is null.

        Raises:
            InputError: see `trigger_count` and `steps`.
        """
        if config.trigger_set.per_step is not None:
            return config.trigger_set.per_step
        size, steps = cls.trigger_count(config, data), cls.steps(config, data)
        return images_per_step(size, steps, config.optimizer.batch_size, config.trainer.processes)

    @classmethod
    def purposes(cls, config: TrainConfig) -> dict[str, str]:
        """What its random secrets are drawn for, as a claim's origin names it -> what their seed is derived for."""
        return {}

    @classmethod
    def identity(cls, config: TrainConfig, data: ImageData) -> dict[str, Any]:
        """What determines a run of it besides `scheme.*`, model, data set, recipe and seed; of secrets, a digest.

        Raises:
            InputError: trigger images that are asked for cannot be used.
        """
        return {}

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> Claim | None:
        """The secrets of a new run; None where nothing is embedded.

        Raises:
            InputError: a setting does not fit the network or the images.
        """
        return None

    @classmethod
    def build(cls, config: TrainConfig, data: ImageData, claim: Claim | None, trained: Trained) -> Scheme:
        """What trains a run, with its network at the start.

        Args:
            config: the request.
            data: its images.
            claim: its secrets.
            trained: see `Trained`.
        """
        return cls(start_network(config, data), config.optimizer, len(data.classes))

    def completed(self, claim: Claim) -> Claim:
        """The claim with what training has made of it: asked at the end, and where a network in training is measured.

        Args:
            claim: as it was drawn.

        Returns:
            By default the claim itself: a training moves no secret. Else one with other tensors and the same facts.
        """
        return claim

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """How many epochs `build` is trained for."""
        return config.trainer.max_epochs

    @abstractmethod
    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The loss terms of one batch by name; their sum is minimised. x: (B, channels, H, W), y: (B,).

        Of several processes each gets its share; gradients and logged terms are averaged over them.
        """

    def setup(self, stage: str) -> None:
        """Learns what this process's share is."""
        self._captured = None
        self.share = Share(self.trainer.global_rank, self.trainer.world_size)

    def on_train_epoch_start(self) -> None:
        """Draws the order of the trigger images."""
        if self.triggers is not None:
            self.triggers.start_epoch(self.current_epoch)

    def check_shares(self, processes: int) -> None:
        """Refuses a number of processes that cannot share the trigger images of a step.

        Raises:
            InputError: naming what they cannot share.
        """
        if self.triggers is not None:
            self.triggers.check_shares(processes)

    def with_triggers(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The batch with its trigger images and their labels behind it; as it is where the scheme has none."""
        return (x, y) if self.triggers is None else self.triggers.appended(x, y, self.step_number, self.share)

    def compile_network(self) -> None:
        """Lets `torch.compile` make what `terms` runs faster, in place: the `state_dict` keeps its names."""
        self.network.compile()

    def trained(self) -> list[nn.Parameter]:
        """What the optimiser moves: by default whatever of the network is not frozen."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the terms of one batch, which the means of the epoch take up."""
        return self.means.add(self.terms(x, y), y.numel())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        """One step; nothing in it waits for the device.

        Returns:
            The loss; None where the step is captured, gradients and SGD included.
        """
        x, y = batch
        if batch_idx == 0:
            self.means.start_epoch()
        if not self.capture:
            return self.means.add(self.terms(x, y), y.numel())  # `loss`
        if self._captured is None:
            optimizer, clip_norm = self.optimizers(use_pl_optimizer=False), self.trainer.gradient_clip_val
            assert isinstance(optimizer, torch.optim.Optimizer)
            clip = None if clip_norm is None else partial(self.clip, self.trained(), float(clip_norm))
            self._captured = CapturedStep(self.loss, optimizer, clip, self.global_step, self.means.tally)
        self._captured(x, y, self.kind_of_step())
        return None

    def kind_of_step(self) -> Hashable:
        """What tells the operations of the present step from those of others; None where all are alike."""
        return None

    @property
    def step_number(self) -> int | Tensor:
        """How many steps were taken; a scalar on the device where steps are captured, which a replayed one reads."""
        return self.global_step if self._captured is None else self._captured.number

    def clip(self, parameters: Sequence[nn.Parameter], norm: float) -> None:
        """Bounds the gradient's norm, captured or not: by default over all that is trained.

        Args:
            parameters: those of `trained`, with their gradients, which are scaled in place.
            norm: the largest norm, above 0.
        """
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By `clip` where the norm is bounded; Lightning's own refuses fused optimisers, scaler or none."""
        if gradient_clip_algorithm not in (None, "norm"):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            self.clip([one for group in optimizer.param_groups for one in group["params"]], float(gradient_clip_val))

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Lightning's, unless the step that is captured has done it."""
        if not self.capture:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        elif optimizer_closure is not None:
            optimizer_closure()

    @property
    def fused(self) -> bool:
        """Whether SGD is one kernel for all parameters: on a GPU, but not with a scaler (16-mixed), which has to undo
        its scaling before gradients are clipped; a fused optimiser undoes it afterwards.
        """
        return self.device.type == "cuda" and self.trainer.scaler is None

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Lightning's, unless the step that is captured has done it."""
        if not self.capture:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the epoch's means with its last batch: `train/loss`, `train/accuracy` and every term by its name."""
        if self.trainer.is_last_batch or self.trainer.should_stop:
            together = self.share.processes > 1
            means = {f"train/{name}": value for name, value in self.means.means().items()}
            how: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": 1, "sync_dist": together}
            self.log_dict(means, **how)
            right, answers = self.means.answers()
            if right is not None and answers:
                if together:  # counts are added up, so that the fraction is that of one process to the last bit
                    summed = self.trainer.strategy.reduce(right, reduce_op="sum")
                    assert isinstance(summed, Tensor)
                    right, answers = summed, answers * self.share.processes
                self.log("train/accuracy", right / answers, prog_bar=True, **how)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD and the recipe's schedule, advanced at every step; or what `optimizer_of` makes."""
        if self.optimizer_of is not None:
            return self.optimizer_of(self.trained())
        recipe, fused = self.recipe, self.fused
        optimizer = torch.optim.SGD(
            self.trained(),
            recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=fused,
            foreach=not fused,  # the same numbers as one after the other
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.rate_factor((step + 0.5) / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Has the learning rate be a number in every checkpoint, so that training goes on captured or not."""
        for state in checkpoint.get("optimizer_states", []):
            for group in state["param_groups"]:
                group["lr"] = float(group["lr"])


@cache
def abouts() -> dict[str, About]:
    """What every scheme says of itself, by name: ours in the order of their table, then those of other packages."""
    return {name: scheme.about for name, scheme in load_all("scheme").items()}
