"""`ipr.PassportCallback`: the passport's branch and its regulariser beside whatever `training_step` there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.passport.damped import damp
from ipr.passport.layer import Branch, PassportLayer, affines_of, passport_layers, presenting
from ipr.passport.normal_form import sign
from ipr.passport.statistics import batch_norms, untracked
from ipr.signature import Signature, sign_loss


class PassportCallback(L.Callback):
    """Trains a protected network with a Lightning module of one's own (Algorithm 6; Algorithm 2 for V1).

    Its `training_step` runs twice a step, with the passport's scales and with the public ones, and the losses are
    added, with the sign loss (Eq. 6) of the scales. Only the public pass logs, and moves running statistics. In V1
    there is one branch, and one pass. Automatic optimisation only: the module returns its loss.

    Args:
        network: what `ipr.protect` made, and the module trains.
        signature: the bits of each layer, (C,), +1, -1, or 0 where a channel carries none.
        relative: whether a bit is the sign of the private scale beside that of the public one, as of bound signatures
            in V2 and V3, or that of the private scale alone.
        sign_loss_weight: lambda_r of Eq. 1.
        gamma_0: the magnitude asked of each scale (Eq. 6).
        step_energy: the energy as at which scales are trained, where the passport's is higher (docs/passports.md); None
            for its own.

    Raises:
        InputError: the network is not protected, or the signature is not for its layers.
    """

    def __init__(
        self,
        network: nn.Module,
        signature: Signature,
        *,
        relative: bool = False,
        sign_loss_weight: float = 0.1,
        gamma_0: float = 0.1,
        step_energy: float | None = 3.0,
    ) -> None:
        if not any(isinstance(module, PassportLayer) for module in network.modules()):
            raise InputError("network", type(network).__name__, "has no passport layers", "give what ipr.protect made")
        self.layers = passport_layers(network)
        if {*signature} != {*self.layers}:
            problem = f"is for {', '.join(signature)}, and the network has {', '.join(self.layers)}"
            raise InputError("signature", "<its layers>", problem, "draw one for these (ipr.draw_signature)")
        self.network, self.signature = network, signature
        self.relative, self.weight, self.gamma_0, self.step_energy = relative, sign_loss_weight, gamma_0, step_energy
        self.public = any(layer.affine for layer in self.layers.values())
        self._undo: list[Any] = []
        self._own: Any = None

    def wanted_signs(self) -> Tensor:
        """The sign that each scale is to have, (C,) over all layers, 0 for any."""
        bits = torch.cat([self.signature[name] for name in self.layers])
        if not self.relative:
            return bits
        public = [layer.public_affine()[0].squeeze(0).detach() for layer in self.layers.values()]
        return bits.to(public[0].device) * torch.cat([sign(scale) for scale in public])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts both branches into the place of the module's step."""
        if not pl_module.automatic_optimization:
            remedy = "use ipr.passport_layers and ipr.sign_loss in its step (notebooks/05_your_own_training_loop.ipynb)"
            raise InputError("module", type(pl_module).__name__, "optimises by hand", remedy)
        if all(module is not self.network for module in pl_module.modules()):
            raise InputError("module", type(pl_module).__name__, "does not hold the network", "train what is protected")
        if self.step_energy is not None:
            self._undo = list(damp(self.layers, self.step_energy))
        self._own = pl_module.training_step
        self._bits = self.wanted_signs().to(next(self.network.parameters()).device)

        def both(*batch: Any, **named: Any) -> Any:
            return self._both(pl_module, self._own, batch, named)

        pl_module.training_step = both  # type: ignore[method-assign]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the module its own step back."""
        self._end(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """See `on_fit_end`."""
        self._end(pl_module)

    def _end(self, module: L.LightningModule) -> None:
        for handle in self._undo:
            handle.remove()
        self._undo = []
        if self._own is not None:
            del module.training_step  # the class's own is there again
            self._own = None

    def _both(self, module: L.LightningModule, step: Any, batch: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        affines = affines_of(self.layers, Branch.PRIVATE)
        regulariser = self._regulariser({name: scale for name, (scale, _) in affines.items()})
        if not self.public:
            with presenting(self.layers, affines):
                return _added(step(*batch, **named), regulariser)
        with presenting(self.layers, affines), untracked(batch_norms(self.network.modules())), _silent(module):
            private = _loss(step(*batch, **named))
        with presenting(self.layers, affines_of(self.layers, Branch.PUBLIC)):
            return _added(step(*batch, **named), private + regulariser)

    def _regulariser(self, scales: Mapping[str, Tensor]) -> Tensor:
        gamma = torch.cat([scale.squeeze(0) for scale in scales.values()])
        signs = self.wanted_signs().to(gamma.device) if self.relative else self._bits
        return self.weight * sign_loss(gamma, signs, self.gamma_0)


def _loss(output: Any) -> Tensor:
    """The loss in what a `training_step` returns: a tensor, or a mapping that holds one as `loss`."""
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        problem = "returns no loss"
        raise InputError("training_step", f"<{type(output).__name__}>", problem, "return a tensor, or {'loss': tensor}")
    return loss


def _added(output: Any, more: Tensor) -> Any:
    """The same output with a larger loss."""
    loss = _loss(output) + more
    return {**output, "loss": loss} if isinstance(output, Mapping) else loss


@contextmanager
def _silent(module: L.LightningModule) -> Iterator[None]:
    """Inside, what the module logs is left out: each key once a step."""

    def nothing(*_: Any, **__: Any) -> None:
        return

    own = {name: vars(module)[name] for name in ("log", "log_dict") if name in vars(module)}
    module.log = module.log_dict = nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name in ("log", "log_dict"):
            delattr(module, name)
        for name, method in own.items():
            setattr(module, name, method)
