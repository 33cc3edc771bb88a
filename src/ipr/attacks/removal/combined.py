"""Removal attacks one after the other, each on what the one before has left (Lukas et al., S&P 2022)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ipr.attacks.base import CLAIMED, Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import load_all, register
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.schemes.base import Scheme
from ipr.terminal.spelling import choose_among


@dataclass(frozen=True)
class NumberedFit:
    """A `Fit` whose trainings bear the number of their step: one attack may be two steps.

    Attributes:
        fit: trains.
        number: of the step, from 1.
    """

    fit: Fit
    number: int

    def __call__(
        self,
        name: str,
        scheme: Scheme,
        *,
        epochs: int,
        clip_norm: float | None,
        share: int | None = None,
        alone: bool = False,
    ) -> None:
        """See `Fit`."""
        self.fit(f"{self.number}-{name}", scheme, epochs=epochs, clip_norm=clip_norm, share=share, alone=alone)


@register("combined")
@dataclass
class Combined(Attack):
    """Removal attacks one after the other, each with its default settings; the owner's claim is judged after each.

    Lukas et al. (SoK: How robust is neural network watermarking, IEEE S&P 2022) find no single attack that removes
    every mark, and combinations that do: weight shifting, fine-pruning and a third one among them. A step attacks the
    last suspect of the step before. In V1 the first one has the network in use, none the file without the passport's
    scales, and these are free from then on: the signature is read from them, too, and `overwrite` embeds as V2 does.
    """

    kind = "removal"
    section = "not in the paper (Lukas et al., S&P 2022)"
    attacker_has = "what its steps need, and for V1 the distributed passport"
    families = CLAIMED

    # names of removal attacks in their order
    steps: list[str] = field(default_factory=lambda: ["weight_shift", "fine_prune", "label_smoothing"])
    epochs: int | None = None  # of every step that trains; null for what each has by default

    def check(self, scheme: str) -> None:
        """See `Attack.check`: of the steps as well."""
        super().check(scheme)
        self.require(bool(self.steps), "steps", "give removal attacks, e.g. [weight_shift,fine_prune]")
        for step in self.attacks():
            if reason := step.inapplicable(scheme):
                remedy = f"give steps that apply to it, or one of its schemes: {', '.join(step.schemes())}"
                problem = f"{step.name} does not apply to scheme={scheme}, because {reason}"
                raise InputError("attack.steps", f"[{','.join(self.steps)}]", problem, remedy)
            step.check(scheme)

    def identity(self) -> dict[str, Any]:
        """See `Attack.identity`: with all settings of the steps, whose defaults may change."""
        return {"name": self.name, "steps": [step.identity() for step in self.attacks()]}

    def attacks(self) -> list[Attack]:
        """The steps, each with its settings.

        Raises:
            InputError: one is no removal attack, or has steps itself.
        """
        known: dict[str, type[Attack]] = load_all("attack")
        removals = [name for name, kind in known.items() if kind.kind == "removal" and not issubclass(kind, Combined)]
        for name in self.steps:
            if name in removals:
                continue
            problem = f"there is no attack {name}"
            if name in known:
                itself = known[name].kind == "removal"
                problem = f"{name} {'has steps itself' if itself else 'forges claims and changes no network'}"
            raise InputError("attack.steps", f"[{','.join(self.steps)}]", problem, choose_among(name, removals))
        return [self._lasting(known[name](name=name)) for name in self.steps]

    def _lasting(self, step: Attack) -> Attack:
        """A step that trains for as long as is asked for."""
        trains = getattr(step, "epochs", 0) != 0
        asked: dict[str, Any] = {"epochs": self.epochs} if trains and self.epochs is not None else {}
        return replace(step, **asked)

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        used = victim.in_use(example_of(data, victim.suspect))
        held = replace(victim, suspect=used, locked=False, judged=frozenset())
        for number, step in enumerate(self.attacks(), 1):
            (last,) = deque(step.run(held, data, NumberedFit(fit, number), seed), maxlen=1)
            held = replace(held, suspect=last.suspect)
            done = f"steps={'+'.join(self.steps[:number])}"
            yield Attacked(last.suspect, {done: victim.claim}, freed=victim.locked)
