"""What training and inference take with each passport scheme, beside the plain network (Table X)."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ipr.config.registry import register
from ipr.data.images import normalise
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.machine.device import now
from ipr.passport.layer import Branch
from ipr.passport.surgery import fold, strip
from ipr.randomness import derive_seed
from ipr.schemes.base import Scheme

NORM_OF = {"passport_v1": "bn", "passport_v2": "gn", "passport_v3": "gn"}
"""What the paper pairs with each scheme (Section III-D); its baseline has the same norm."""

Work = Callable[[], object]


def take_turns(
    works: Mapping[str, Work], rounds: int, order: random.Random, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds that each work took in each round; in every round each runs once, in a new random order.

    Args:
        works: what is timed; each runs twice before, unseen by the clock.
        rounds: how often.
        order: draws the order of a round.
        clock: tells the time in seconds; called before and after each work.
    """
    for work in works.values():
        work()
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name in order.sample(list(works), len(works)):
            started = clock()
            works[name]()
            seconds[name].append(clock() - started)
    return seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile; the value itself where there is one."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def clock_of(device: torch.device) -> Callable[[], float]:
    """CPU time of this process, summed over its threads, where it computes on the CPU, as cores are often shared; time
    on the wall, once the device has finished, on a GPU.
    """
    return time.process_time if device.type == "cpu" else partial(now, device)


def training(scheme: Scheme, x: Tensor, y: Tensor, steps: int) -> Work:
    """So many steps of a scheme: loss terms, gradients, and SGD with momentum and weight decay, with no loop around."""
    scheme.to(x.device).train()
    scheme.on_train_epoch_start()
    recipe = scheme.recipe
    # a rate at which nothing runs away, so that no number becomes slow to compute with
    optimizer = torch.optim.SGD(scheme.trained(), 1e-4, momentum=recipe.momentum, weight_decay=recipe.weight_decay)

    def work() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.stack(list(scheme.terms(x, y).values())).sum().backward()
            optimizer.step()

    return work


def inference(network: nn.Module, x: Tensor, steps: int) -> Work:
    """So many passes of a network, which is left in evaluation mode, without gradients."""
    network.to(x.device).eval()

    @torch.no_grad()
    def work() -> None:
        for _ in range(steps):
            network(x)

    return work


@register("timing")
@dataclass
class Timing(Exhibit):
    """Baseline, V1, V2 and V3 side by side in one process, taking turns in random order.

    A scheme is compared with the plain network of its own norm (V1 with batch norm, V2 and V3 with group norm), in the
    same round. Inference is of what a user runs: V1 both with its passport presented, from which scales and shifts are
    computed in every pass, and folded into the convolutions once; V2 and V3 as given away, without a passport. Seconds
    are CPU time on a CPU, time on the wall on a GPU (see `clock_of`). Images are those of the data set, and passports
    random: what is in them takes no time. All is in float32, channels last. A batch of V3 has trigger images besides,
    which are not counted.

    Arrays: none.
    Facts: a row by `work` (`training`, `inference`), `timed` (the scheme) and `form` (`presented`, `folded`, `as given
    away`; None in training) with `timed_norm`, `seconds_per_1000_images` (median), `ratio_median`, `ratio_q1`,
    `ratio_q3` (to the baseline of the same norm; 1 for the baseline itself), `seconds_epoch` (training: an epoch of
    this data set; inference: its test images), `rounds`, `steps`, `batch_size`.
    """

    source = "Table X"
    families = ("none",)
    needs = "all passport schemes are timed beside the baseline at once"
    opens = "machine"

    rounds: int = 15  # measurements of each
    steps: int = 1  # training steps of a measurement
    batch_size: int = 64  # images of a step

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        count = opened.data.train_labels.numel()
        self.require(self.batch_size <= count, "batch_size", f"there are {count} training images")
        device = next(opened.suspect.parameters()).device
        pixels, y = opened.data.train_pixels[: self.batch_size], opened.data.train_labels[: self.batch_size].to(device)
        x = normalise(pixels.to(device), opened.data.mean, opened.data.std)
        order, clock = random.Random(derive_seed(opened.seed, "order of timing")), clock_of(device)

        facts: list[Fact] = []
        for work, works in (("training", self._trainings(opened, x, y)), ("inference", self._inferences(opened, x))):
            seconds = take_turns(works, self.rounds, order, clock)
            for name, taken in seconds.items():
                facts.append(self._row(work, name, taken, seconds, opened))
        return Contents({}, facts)

    def _trainings(self, opened: OpenedRun, x: Tensor, y: Tensor) -> dict[str, Work]:
        wanted = [("baseline", norm) for norm in ("bn", "gn")] + list(NORM_OF.items())
        return {f"{scheme} {norm}": training(opened.build(scheme, norm), x, y, self.steps) for scheme, norm in wanted}

    def _inferences(self, opened: OpenedRun, x: Tensor) -> dict[str, Work]:
        networks: dict[str, nn.Module] = {
            f"baseline {norm}": opened.build("baseline", norm).network for norm in ("bn", "gn")
        }
        example = x[:1].cpu()
        v1 = opened.build("passport_v1", "bn").network
        networks["passport_v1 bn presented"] = v1
        networks["passport_v1 bn folded"] = fold(strip(v1, Branch.PRIVATE), example)
        for scheme in ("passport_v2", "passport_v3"):
            networks[f"{scheme} gn as given away"] = strip(opened.build(scheme, "gn").network)
        return {name: inference(network, x, self.steps) for name, network in networks.items()}

    def _row(
        self, work: str, name: str, taken: list[float], seconds: Mapping[str, list[float]], opened: OpenedRun
    ) -> Fact:
        scheme, norm, *form = name.split(" ", 2)
        low, middle, high = quartiles([a / b for a, b in zip(taken, seconds[f"baseline {norm}"], strict=True)])
        images = self.steps * self.batch_size
        labels = opened.data.train_labels if work == "training" else opened.data.test_labels
        each = quartiles(taken)[1] / images
        return {
            "work": work,
            "timed": scheme,
            "form": form[0] if form else None,
            "timed_norm": norm,
            "seconds_per_1000_images": 1000 * each,
            "seconds_epoch": each * labels.numel(),
            "ratio_median": middle,
            "ratio_q1": low,
            "ratio_q3": high,
            "rounds": self.rounds,
            "steps": self.steps,
            "batch_size": self.batch_size,
        }
