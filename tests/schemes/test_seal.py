"""SEAL: its weights and gradients written out, what training completes, and what the second passport is worth."""

import copy
import stat
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from ipr.attacks.ambiguity.factorise import LOUD, QUIET, factorised, invariant_basis
from ipr.attacks.base import Victim
from ipr.config.recipe import Recipe
from ipr.config.registry import load
from ipr.config.rule import SOUND
from ipr.data.images import normalise
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.as_dated import Terms, decided
from ipr.judging.claim_kinds import check_sound, load_claim
from ipr.judging.decision import INCONCLUSIVE, NOT_VERIFIED, decide
from ipr.judging.evidence import from_weights
from ipr.judging.redraw import redraw
from ipr.judging.verdict import judge
from ipr.schemes.start import load_suspect, plain_network, start_network
from ipr.training.metrics import MetricsFile
from ipr.watermarks.adapters import SealClaim, drawn_passports
from ipr.workflows.train import train
from references import small

RECIPE = Recipe(0.01, 0.9, 1e-4, "step", 0.0, None)
PLACES = ["conv3", "conv4", "conv5"]
LEARNED = ("scheme=seal", "trainer.max_epochs=8", "dataset.limit_train=600", "dataset.limit_test=100",
           "verification.forged=20", "passport.key=k")  # fmt: skip


def setting(norm, dtype):
    """The scheme on a small network, both adapters at random, and a copy of the network as it began."""
    network, began = small("alexnet", norm).to(dtype), small("alexnet", norm).to(dtype)
    claim = SealClaim.drawn(network, PLACES, 5, 7.0, torch.Generator().manual_seed(4), thresholds=None)
    made = load("scheme", "seal")(network, RECIPE, 10, claim=claim, seed=1).train()
    with torch.no_grad():
        made.up.normal_(std=0.02)
    return made, began.train(), claim


def written_out(made, claim, began, which):
    """W0 + B C A entry by entry: sum over k and l of B_ik C_kl A_lj."""
    weights, row, column = {}, 0, 0
    c = claim.passports[which].to(made.up) * 7.0 / 5**0.5
    for number, name in enumerate(PLACES):
        w0 = began.get_parameter(f"{name}.weight").detach()
        channels, n = w0.shape[0], w0[0].numel()
        b, a = made.up.detach()[row : row + channels], made.down.detach()[:, column : column + n]
        weights[name] = w0 + torch.einsum("ik,kl,lj->ij", b, c[number], a).reshape(w0.shape)
        row, column = row + channels, column + n
    return weights


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_what_is_given_away_is_a_plain_network_with_w0_and_the_adapters_in_its_weights(dtype, error):
    made, began, claim = setting("bn", dtype)
    completed = made.completed(claim)
    own = made.network.state_dict()
    assert own.keys() == began.state_dict().keys()
    for name, weight in written_out(made, claim, began, 0).items():
        assert (own[f"{name}.weight"] - weight).abs().max() < error
        assert not torch.equal(own[f"{name}.weight"], began.get_parameter(f"{name}.weight"))
    for name, tensor in began.state_dict().items():
        assert name.removesuffix(".weight") in PLACES or torch.equal(own[name], tensor), name
    shown = completed.presented_in(made.network)
    for name, weight in written_out(made, claim, began, 1).items():
        assert (shown.get_parameter(f"{name}.weight") - weight).abs().max() < error
    assert torch.equal(made.network.get_parameter("conv3.weight"), own["conv3.weight"])  # it was left as it was


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_loss_and_gradients_are_those_of_two_plain_passes(norm):
    """By the chain rule on paper: dL/dB = sum over both of G A^T C^T, dL/dA of C^T B^T G, G the gradient by W."""
    made, began, claim = setting(norm, torch.float64)
    x, y = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.arange(6)
    terms = made.terms(x, y)
    sum(terms.values()).backward()
    up, down, others = torch.zeros_like(made.up), torch.zeros_like(made.down), {}
    for which, branch in enumerate(("public", "private")):
        plain = small("alexnet", norm).double().train()
        with torch.no_grad():
            for name, weight in written_out(made, claim, began, which).items():
                plain.get_parameter(f"{name}.weight").copy_(weight)
        loss = functional.cross_entropy(plain(x), y)
        assert terms[f"cross_entropy_{branch}"].item() == pytest.approx(loss.item(), abs=1e-12)
        loss.backward()
        row, column = 0, 0
        for number, name in enumerate(PLACES):
            g = plain.get_parameter(f"{name}.weight").grad.flatten(1)
            c = claim.passports[which, number].double() * 7.0 / 5**0.5
            rows, columns = slice(row, row + g.shape[0]), slice(column, column + g.shape[1])
            up[rows] += g @ made.down.detach()[:, columns].T @ c.T
            down[:, columns] += c.T @ made.up.detach()[rows].T @ g
            row, column = rows.stop, columns.stop
        for name, parameter in plain.named_parameters():
            if name.removesuffix(".weight") not in PLACES:
                others[name] = others.get(name, 0) + parameter.grad
        if branch == "public":
            statistics = {n: b for n, b in plain.named_buffers() if "running" in n}
    torch.testing.assert_close(made.up.grad, up, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(made.down.grad, down, rtol=1e-9, atol=1e-12)
    for name, gradient in others.items():
        torch.testing.assert_close(made.network.get_parameter(name).grad, gradient, rtol=1e-9, atol=1e-12)
    for name, tensor in statistics.items():  # what is given away is not spoiled by the second passport
        torch.testing.assert_close(made.network.get_buffer(name), tensor, rtol=1e-9, atol=1e-12)


def test_passports_are_signs_of_invertible_matrices_and_follow_from_the_source():
    drawn = drawn_passports(40, 4, torch.Generator().manual_seed(0))  # half of all matrices of 4 x 4 signs are singular
    assert (drawn.shape, drawn.dtype) == ((2, 40, 4, 4), torch.int8)
    assert set(drawn.unique().tolist()) == {-1, 1}
    assert (torch.linalg.det(drawn.double()).abs() > 0.5).all()  # a determinant of whole numbers
    assert torch.equal(drawn, drawn_passports(40, 4, torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn[0], drawn[1])


@pytest.fixture
def owner(request_for, trained):
    """A trained run: the request, its images, the suspect as it was given away, and the claim."""
    asked = request_for(*LEARNED)
    run = trained(asked)
    data = open_images(asked.dataset, asked.paths)
    return asked, data, load_suspect(asked.model, data, run.folder.weights), load_claim(run.folder.claim), run


def test_the_network_works_with_either_passport_and_with_no_other(owner):
    asked, data, suspect, claim, run = owner
    verdict = judge(suspect, claim, data.test_images, forged=20)
    assert verdict.accuracy_without > 0.9
    assert verdict.fidelity.accuracy > 0.9
    assert max(verdict.accuracy_forged) < 0.5
    assert len(verdict.accuracy_forged) == 20
    assert sum(verdict.reading.agreeing.values()) == sum(verdict.reading.total.values()) == 3 * 64
    record = run.record
    assert (record.accuracy_genuine, record.accuracy_without) == (verdict.fidelity.accuracy, verdict.accuracy_without)
    assert (record.bits_agreeing, record.forged, record.forged_passing) == (192, 20, 0)
    assert (record.passport, record.energy) == (None, None)
    stranger = judge(plain_network(asked.model, data, 9), claim, data.test_images, forged=0)
    assert not stranger.mark_read
    assert stranger.reading.agreement == pytest.approx(0.5, abs=0.15)
    shuffled = replace(claim, passports=claim.passports.flip(0))  # the roles are not the same: C is in the weights
    assert judge(suspect, shuffled, data.test_images, forged=0).reading.agreement < 0.7


def test_the_judge_takes_the_statistics_for_the_second_passport_from_his_own_images(owner):
    """Whatever the suspect keeps: here those of another network, which would leave little of its accuracy."""
    _, data, suspect, claim, _ = owner
    other = copy.deepcopy(suspect)
    for norm in other.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean += 3
    shown = claim.presented_in(suspect).train()
    for norm in shown.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    x = normalise(data.test_pixels, data.mean, data.std)
    with torch.no_grad():
        shown(x)
        right = (shown.eval()(x).argmax(1) == data.test_labels).float().mean().item()
    for judged in (suspect, other):
        verdict = judge(judged, claim, data.test_images, forged=0)
        assert verdict.fidelity.accuracy == pytest.approx(right, abs=1e-6)
    assert verdict.accuracy_without < 0.6


def test_passports_that_weigh_little_are_worth_nothing_and_it_is_told(request_for, trained):
    """With s = 0.1 hardly anything is between the adapters, so that random passports serve as well."""
    run = trained(request_for(*LEARNED, "scheme.scale=0.1"))
    assert run.record.accuracy_forged_max >= run.record.accuracy_genuine > 0.9
    kept_out = next(check for check in run.checks if check.name == "forgers kept out")
    assert kept_out.holds is False
    assert "scheme.scale" in kept_out.remedy


def test_the_owners_claim_is_inconclusive_even_with_a_date(owner):
    """Passports are drawn again; nobody can tell how the adapters were come by."""
    _, data, suspect, claim, _ = owner
    found = {part.name: part.holds for part in redraw(claim, data).parts}
    assert found == {"passports": True, "adapters": None}
    other = replace(claim, passports=-claim.passports)
    assert {part.name: part.holds for part in redraw(other, data).parts}["passports"] is False
    verdict = judge(suspect, claim, data.test_images, forged=20)
    decision = decided(claim, verdict, data, Terms(dated=True, drawn=False, same=True))
    assert decision.outcome == INCONCLUSIVE
    assert [condition.name for condition in decision.deciding] == ["drawn secrets"]
    granted = decided(claim, verdict, data, Terms(dated=True, drawn=True, same=True))  # to whoever overwrites it
    assert granted.outcome == INCONCLUSIVE
    undated = decided(claim, verdict, data, Terms(dated=False, drawn=False, same=True))
    assert undated.outcome == NOT_VERIFIED
    assert {condition.name for condition in undated.deciding} == {"commitment", "accessory"}


def test_a_second_passport_that_random_ones_match_loses_fidelity(owner):
    """Adapters next to nothing: any passport does, and so the claim's shows nothing."""
    _, data, suspect, claim, _ = owner
    idle = replace(claim, up=claim.up * 1e-9)
    verdict = judge(suspect, idle, data.test_images, forged=5)
    assert verdict.fidelity.accuracy == max(verdict.accuracy_forged)
    decision = decide(from_weights(verdict, idle, 0.1), idle.thresholds, rule=SOUND)
    assert {c.name: c.holds for c in decision.conditions}["fidelity"] is False


def test_training_completes_the_claim_and_gives_nothing_of_it_away(owner):
    _, _, _, claim, run = owner
    assert stat.S_IMODE(run.folder.claim.stat().st_mode) == 0o700
    secrets = {tensor.contiguous().numpy().tobytes() for tensor in (claim.up, claim.down)}
    assert all(any(secret) for secret in secrets)
    written = [path for path in run.folder.path.iterdir() if path.is_file()]
    assert not any(secret in path.read_bytes() for secret in secrets for path in written)
    state = torch.load(run.folder.checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(state["up"], claim.up)
    assert torch.equal(state["down"], claim.down)
    assert stat.S_IMODE(run.folder.checkpoint.parent.stat().st_mode) == 0o700


def test_a_training_that_lost_its_weights_comes_to_the_same_claim(request_for):
    run = train(request_for("scheme=seal"))
    claim, weights = load_claim(run.folder.claim), load_file(run.folder.weights)
    for lost in ([run.folder.weights], [run.folder.weights, run.folder.checkpoint]):
        for path in (*lost, run.folder.record):
            path.unlink()
        again = train(request_for("scheme=seal"))
        assert load_claim(again.folder.claim).fingerprint() == claim.fingerprint()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in load_file(again.folder.weights).items())


def test_an_interrupted_training_goes_on_with_what_it_had_trained(request_for, tmp_path, monkeypatch):
    asked = ["scheme=seal", "trainer.max_epochs=3"]
    whole = train(request_for(*asked, f"paths.runs={tmp_path / 'whole'}"))
    plain = MetricsFile.on_train_epoch_start

    def stop(self, trainer, module):
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt
        plain(self, trainer, module)

    broken = request_for(*asked, f"paths.runs={tmp_path / 'broken'}")
    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "on_train_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            train(broken)
    resumed = train(broken)
    assert load_claim(resumed.folder.claim).fingerprint() == load_claim(whole.folder.claim).fingerprint()
    one, two = (load_file(run.folder.weights) for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_w0_is_frozen_and_all_else_is_trained(request_for, owner):
    asked, data, suspect, claim, _ = owner
    began = start_network(asked, data).state_dict()
    for name, weight, up, down in claim.adapted(suspect):
        rest = weight - up @ claim.secrets()[0, claim.named.index(name)] @ down
        assert (rest - began[f"{name}.weight"].double().flatten(1)).abs().max() < 1e-4  # of weights up to 5
    for name, tensor in suspect.named_parameters():
        assert not torch.equal(tensor, began[name]), name


@pytest.mark.parametrize("size", [(20, 45), (45, 20)])
def test_any_weights_hold_any_passports(size):
    """B C A is their strongest part exactly; C_p does next to nothing, and another passport very much."""
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(*size, generator=source, dtype=torch.float64)
    first, second, third = (m.double() * 5 for m in drawn_passports(2, 8, source).flatten(0, 1)[:3])
    up, down = factorised(weight, first, second)
    left, strength, right = torch.linalg.svd(weight, full_matrices=False)
    best = (left[:, :8] * strength[:8]) @ right[:8]
    assert (QUIET * up @ first @ down - best).abs().max() < 1e-6 * strength[0]
    read = torch.linalg.pinv(up) @ weight @ torch.linalg.pinv(down)
    torch.testing.assert_close(read, QUIET * first, rtol=1e-4, atol=1e-4)
    assert torch.linalg.matrix_norm(up @ (second - first) @ down, 2) < 0.2 * strength[0]
    assert torch.linalg.matrix_norm(up @ (third - first) @ down, 2) > strength[0]
    assert LOUD > QUIET


def test_the_basis_makes_blocks_of_what_has_complex_eigenvalues():
    matrix = torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    basis, blocks = invariant_basis(matrix)
    found = torch.linalg.inv(basis) @ matrix @ basis
    same = blocks[:, None] == blocks[None]
    assert found[~same].abs().max() < 1e-10
    assert blocks.bincount().max() == 2


@pytest.mark.parametrize("whose", ["the owner's", "a stranger's"])
def test_a_forgers_claim_shows_all_that_the_owners_shows_on_any_network(whose, owner, request_for, trained):
    asked, data, suspect, claim, _ = owner
    if whose != "the owner's":
        plain = request_for(*LEARNED, "scheme=baseline")
        suspect = load_suspect(asked.model, data, trained(plain).folder.weights)
    (attacked,) = load("attack", "factorise")(name="factorise").run(Victim(suspect, claim), data, None, 0)
    forged = attacked.claims[""]
    check_sound(forged)
    assert forged.dissimilarity(claim) > 0.3
    verdict = judge(suspect, forged, data.test_images, forged=20)
    assert verdict.reading.agreement == 1
    assert verdict.fidelity.accuracy > verdict.accuracy_without - 0.02 > 0.9
    assert max(verdict.accuracy_forged) < 0.5
    limits = replace(forged.thresholds, target_accuracy=verdict.fidelity.accuracy)
    decision = decide(from_weights(verdict, forged, 0.1), limits, rule=SOUND)
    assert decision.consistent  # what was measured; no date, and adapters that anybody may choose
    assert decision.outcome == INCONCLUSIVE


def test_layers_that_are_none_are_refused(request_for):
    with pytest.raises(InputError, match="conv9"):
        train(request_for("scheme=seal", "scheme.layers=[conv9]"))


def test_the_rank_is_no_more_than_the_channels_of_a_layer():
    network = small("alexnet", "bn")
    claim = SealClaim.drawn(network, PLACES, 10**6, 1.0, torch.Generator().manual_seed(0), thresholds=None)
    assert claim.rank == min(network.get_submodule(name).out_channels for name in PLACES)
