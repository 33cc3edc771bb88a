"""`ipr.PassportCallback` beside a step written out by hand, in double precision."""

import copy
import warnings

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ipr
from ipr.passport.layer import Branch, affines_of, passport_layers, presenting
from ipr.passport.statistics import batch_norms, untracked
from own import owned


class Module(L.LightningModule):
    """Somebody's own."""

    def __init__(self, network, returns=lambda loss: loss):
        super().__init__()
        self.network, self.returns, self.steps = network, returns, 0

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.steps += 1
        loss = nn.functional.cross_entropy(self.network(x), y)
        self.log("mine", loss, on_step=True, on_epoch=True)
        return self.returns(loss)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def parts():
    """A protected network of each kind, its signature, and a batch."""

    def made(*, public_affine):
        torch.manual_seed(0)
        network = owned.network().double()
        with torch.no_grad():  # scales that differ from one another
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.normal_()
        example = torch.randn(1, 3, 16, 16, dtype=torch.float64)
        layers = ipr.find_layers(network, example)[-2:]
        source = torch.Generator().manual_seed(1)
        passport = ipr.random_passport(layers, source)
        signature = ipr.draw_signature({layer.conv: layer.channels for layer in layers}, None, source)
        protected = ipr.protect(network, passport, example, public_affine=public_affine)
        batch = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.randint(10, (8,))
        return protected, signature, batch

    return made


def fitted(module, callback, batch, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[callback], precision="64-true", **more,
        )  # fmt: skip
        trainer.fit(module, DataLoader(TensorDataset(*batch), 8))
    return trainer


def by_hand(network, signature, batch, *, relative):
    """One step of SGD on the sum of Algorithm 6's terms (of Algorithm 2's where there is no public branch)."""
    x, y = batch
    layers = passport_layers(network)
    public = any(layer.affine for layer in layers.values())
    private = affines_of(layers, Branch.PRIVATE)
    with presenting(layers, private), untracked(batch_norms(network.modules()) if public else ()):
        loss = nn.functional.cross_entropy(network(x), y)
    for name, (gamma, _) in private.items():
        bits = signature[name].double()
        if relative:
            bits = bits * torch.where(layers[name].weight >= 0, 1.0, -1.0)
        loss = loss + 0.1 * torch.clamp(0.1 - gamma[0] * bits, min=0).sum()
    if public:
        with presenting(layers, affines_of(layers, Branch.PUBLIC)):
            loss = loss + nn.functional.cross_entropy(network(x), y)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= 0.1 * gradient
    return network


@pytest.mark.parametrize(("public_affine", "relative"), [(True, False), (True, True), (False, False)])
def test_a_step_is_that_of_the_algorithm(parts, public_affine, relative):
    network, signature, batch = parts(public_affine=public_affine)
    expected = by_hand(copy.deepcopy(network), signature, batch, relative=relative)
    module = Module(network)
    callback = ipr.PassportCallback(network, signature, relative=relative, step_energy=None)
    trainer = fitted(module, callback, batch)
    assert module.steps == (2 if public_affine else 1)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-12, atol=1e-14)
    assert "training_step" not in vars(module)
    with presenting(passport_layers(network), affines_of(passport_layers(network), Branch.PUBLIC)):
        assert float(trainer.callback_metrics["mine_epoch"]) > 0


def test_a_mapping_keeps_what_else_it_holds_and_trains_alike(parts):
    seen = []
    network, signature, batch = parts(public_affine=True)
    other = copy.deepcopy(network)

    class Ends(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(outputs)

    fitted(Module(network), ipr.PassportCallback(network, signature, step_energy=None), batch)
    module = Module(other, returns=lambda loss: {"loss": loss, "more": 7})
    callback = ipr.PassportCallback(other, signature, step_energy=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[callback, Ends()], precision="64-true",
        )  # fmt: skip
        trainer.fit(module, DataLoader(TensorDataset(*batch), 8))
    assert seen[0]["more"] == 7
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_steps_are_damped_where_that_is_asked_for_and_end_being_so(parts):
    """At an energy as low as the step's nothing changes; at a lower one the filters learn less along the passport."""
    network, signature, batch = parts(public_affine=True)
    before = copy.deepcopy(network.state_dict())
    moved = []
    for energy in (None, 1e9, 1e-3):
        own = copy.deepcopy(network)
        fitted(Module(own), ipr.PassportCallback(own, signature, step_energy=energy), batch)
        moved.append({n: v - before[n] for n, v in own.state_dict().items() if n.endswith("weight")})
        assert all(not parameter._backward_hooks for parameter in own.parameters())
    assert all(torch.equal(moved[0][name], moved[1][name]) for name in moved[0])
    assert any(moved[2][name].norm() < moved[0][name].norm() for name in moved[0])


def test_an_error_in_the_step_gives_the_module_its_own_back(parts):
    network, signature, batch = parts(public_affine=True)

    def fails(loss):
        raise RuntimeError("in the step")

    module = Module(network, returns=fails)
    with pytest.raises(RuntimeError, match="in the step"):
        fitted(module, ipr.PassportCallback(network, signature), batch)
    assert {"training_step", "log", "log_dict"} & vars(module).keys() == set()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda n, s: ipr.PassportCallback(ipr.strip(n), s), "no passport layers"),
        (lambda n, s: ipr.PassportCallback(n, dict([*s.items()][:1])), "is for"),
        (lambda n, s: ipr.PassportCallback(copy.deepcopy(n), s), "does not hold the network"),
    ],
)
def test_what_does_not_fit_is_named(parts, wrong, match):
    network, signature, batch = parts(public_affine=True)
    with pytest.raises(ipr.InputError, match=match):
        fitted(Module(network), wrong(network, signature), batch)


def test_a_module_that_optimises_by_hand_and_a_step_without_a_loss_are_refused(parts):
    network, signature, batch = parts(public_affine=True)
    module = Module(network)
    module.automatic_optimization = False
    with pytest.raises(ipr.InputError, match="by hand"):
        fitted(module, ipr.PassportCallback(network, signature), batch)
    with pytest.raises(ipr.InputError, match="returns no loss"):
        fitted(Module(network, returns=lambda loss: None), ipr.PassportCallback(network, signature), batch)
