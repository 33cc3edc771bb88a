"""What a forger looks for with the network frozen: scales and shifts, trained alone or many side by side.

Searches of one forger see the same batches and move nothing that another one reads, so what comes before the first
passport layer is computed once a step for all of them (`passport/fork.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Attacked, Fit, Victim
from ipr.claims.base import Claim
from ipr.config.recipe import Recipe
from ipr.passport.claim import PassportClaim
from ipr.passport.fork import fork, norms_behind
from ipr.passport.layer import Affine, passport_layers, presenting
from ipr.passport.statistics import untracked
from ipr.passport.surgery import protect
from ipr.schemes.base import Scheme


class Search(Scheme):
    """Trains what the passport layers' scales and shifts come of; the network, statistics included, stays frozen.

    Batch norms behind a passport layer normalise by the batch, as a judge has them do (`judging/fidelity.py`).

    Args:
        network: a protected network; several searches may share it.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int) -> None:
        super().__init__(network, recipe, num_classes)
        network.requires_grad_(False)
        self.layers = passport_layers(network)
        self.names = list(self.layers)
        self.norms = norms_behind(network)

    def on_train_epoch_start(self) -> None:
        """Keeps everything as it is but what batch norms behind a passport layer normalise by."""
        _only_training(self.network, self.norms)

    @abstractmethod
    def affines(self) -> dict[str, Affine]:
        """The scales and shifts that are tried, by layer, each (1, C)."""

    @abstractmethod
    def claimed(self, owner: PassportClaim) -> Claim:
        """A claim to the owner's layers with what was found."""

    def regularisers(self, affines: Mapping[str, Affine]) -> dict[str, Tensor]:
        """What is minimised besides the cross-entropy, by name; nothing by default.

        Args:
            affines: what `affines` gave in this step.
        """
        return {}

    def terms_of(self, logits: Tensor, affines: Mapping[str, Affine], y: Tensor) -> dict[str, Tensor]:
        """The loss terms, of what the network answers with `affines`. logits: (B, classes), y: (B,)."""
        return {"cross_entropy": functional.cross_entropy(logits, y), **self.regularisers(affines)}

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """See `terms_of`; one pass through the network."""
        affines = self.affines()
        with presenting(self.layers, affines), untracked(self.norms):
            logits = self.network(x)
        self.means.count(logits, y)
        return self.terms_of(logits, affines, y)


class SideBySide(Scheme):
    """Several searches over one network, trained at once. Each comes to the bits that it comes to alone on a CPU.

    All that couples them is the sum of their losses, in which no parameter is another's; a gradient's norm is bounded
    for each on its own. Where the network cannot be split, it runs once a step for each.

    Args:
        searches: by name, over one network and with one recipe; their terms are told as `name/term`, and one accuracy,
            their mean.
        example: see `fork`.
    """

    def __init__(self, searches: Mapping[str, Search], example: Tensor) -> None:
        first, *others = searches.values()
        if any(search.network is not first.network for search in others):
            raise ValueError("searches side by side share one network")
        super().__init__(first.network, first.recipe, first.num_classes)
        self.by_name = dict(searches)
        self.searches = nn.ModuleList(searches.values())
        self.forked = fork(self.network, example)

    def on_train_epoch_start(self) -> None:
        """See `Search`."""
        _only_training(self.network, self.forked.norms)

    def compile_network(self) -> None:
        """See `Scheme.compile_network`: trunk and tail."""
        self.forked.compile()

    def trained(self) -> list[nn.Parameter]:
        """What each search trains, one after the other."""
        return [parameter for search in self.by_name.values() for parameter in search.trained()]

    def clip(self, parameters: Sequence[nn.Parameter], norm: float) -> None:
        """See `Scheme.clip`: of each search by itself."""
        for search in self.by_name.values():
            search.clip(search.trained(), norm)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The terms of every search, from one pass through the trunk."""
        tried = [search.affines() for search in self.by_name.values()]
        with untracked(self.forked.norms):
            answers = self.forked(x, tried)
        self.means.count(torch.cat(answers), y.repeat(len(answers)))
        return {
            f"{name}/{term}": value
            for (name, search), logits, affines in zip(self.by_name.items(), answers, tried, strict=True)
            for term, value in search.terms_of(logits, affines, y).items()
        }


def _only_training(network: nn.Module, norms: Sequence[nn.Module]) -> None:
    network.eval()
    for norm in norms:
        norm.train()


def protected_again(victim: Victim, example: Tensor) -> nn.Module:
    """The suspect with passport layers, as its owner protected it."""
    return protect(victim.suspect, victim.passport_claim.passport, example, public_affine=True)


def missing(dissimilarity: Sequence[float], judged: Collection[str]) -> dict[str, float]:
    """The dissimilarities that are still to be judged, by the names of their trainings; of two alike the first."""
    names: dict[str, float] = {}
    for share in dissimilarity:
        names.setdefault(f"dissimilarity-{share:g}", share)
    return {name: share for name, share in names.items() if point_of(name) not in judged}


def point_of(name: str) -> str:
    """What a training's name tells as a point: `dissimilarity=0.1` of `dissimilarity-0.1`."""
    return name.replace("-", "=", 1)


def forgeries(
    searches: Mapping[str, Search],
    victim: Victim,
    fit: Fit,
    name: str,
    example: Tensor,
    *,
    epochs: int,
    clip_norm: float | None,
) -> Iterator[Attacked]:
    """Trains searches over one network side by side, and claims what they find.

    One alone is trained under its own name. So is each where some points were judged before: an attack that an earlier
    version began, one point after the other, goes on like that from its checkpoints.

    Args:
        searches: by the names of their trainings; those that are judged are left out already.
        victim: what they were made for.
        fit: trains.
        name: of the joint training.
        example: see `fork`.
        epochs: how long.
        clip_norm: the largest gradient norm of each; None for no clipping.
    """

    def outcome(names: Collection[str]) -> Attacked:
        claims = {point_of(own): searches[own].claimed(victim.passport_claim) for own in names}
        return Attacked(victim.suspect, claims, trainings=len(names))

    if len(searches) > 1 and not victim.judged:
        fit(name, SideBySide(searches, example), epochs=epochs, clip_norm=clip_norm)
        yield outcome(searches)
        return
    for own, search in searches.items():
        search.train()  # the search before has left the network in evaluation, of which Lightning warns
        fit(own, search, epochs=epochs, clip_norm=clip_norm)
        yield outcome([own])
