"""Extraction: the losses and rates as their papers write them, students that hold nothing of the victim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ipr.attacks.base import EMBEDDING, READ_FROM_WEIGHTS, example_of, schemes_of
from ipr.attacks.removal.data_free import NOISE, DataFree, ImageGenerator, disagreement
from ipr.attacks.removal.distill import Distill, Distillation, soft_loss
from ipr.attacks.removal.knockoff import Knockoffs
from ipr.attacks.students import falling
from ipr.errors import InputError
from ipr.judging.unread import fits, unread
from ipr.workflows.attack import attack
from references import memorise, small


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture
def logits():
    source = np.random.default_rng(0)
    return source.normal(size=(6, 10)) * 4, source.normal(size=(6, 10)) * 4


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
def test_soft_labels_cost_the_divergence_of_softened_answers(logits, temperature):
    student, teacher = logits
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    found = soft_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert float(soft_loss(torch.from_numpy(teacher), torch.from_numpy(teacher), temperature)) == pytest.approx(0)


class Says(torch.nn.Module):
    """A network that says the same whatever it is asked."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.from_numpy(logits))

    def forward(self, x):
        return self.logits


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_alpha_shares_the_loss_between_soft_and_true_labels(logits, alpha):
    student, teacher = logits
    y = torch.tensor([0, 3, 3, 9, 1, 7])
    scheme = Distillation(Says(student), falling(0.1, 0.0), 10, Says(teacher), 3.0, alpha)
    p, q = softmax(teacher / 3), softmax(student / 3)
    soft = alpha * 9 * (p * np.log(p / q)).sum(1).mean()
    true = -(1 - alpha) * np.log(softmax(student)[range(6), y]).mean()
    found = sum(scheme.terms(torch.zeros(6, 1), y).values())
    assert float(found.detach()) == pytest.approx(soft + true, rel=1e-9)


@pytest.mark.parametrize("hard", [False, True])
def test_a_knockoff_learns_answers_and_no_labels(logits, hard):
    student, teacher = logits
    target = np.eye(10)[teacher.argmax(1)] if hard else softmax(teacher)
    expected = -(target * np.log(softmax(student))).sum(1).mean()
    scheme = Knockoffs(Says(student), falling(0.1, 0.0), 10, Says(teacher), hard)
    for y in (torch.zeros(6, dtype=torch.int64), torch.full((6,), 99)):  # labels of other classes
        assert float(scheme.terms(torch.zeros(6, 1), y)["answers"].detach()) == pytest.approx(expected, rel=1e-9)


def test_the_rate_falls_to_a_fifth_at_epochs_20_35_and_50_of_60():
    recipe = falling(0.1, 5e-4)
    rates = {epoch: recipe.lr * recipe.rate_factor((epoch + 0.5) / 60) for epoch in (0, 19, 20, 34, 35, 49, 50, 59)}
    assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_a_student_holds_nothing_of_the_victim_and_its_teacher_learns_nothing(victim_of, data):
    victim, taught = victim_of("passport_v1", "alexnet", "bn"), []

    def fit(name, scheme, **_):
        scheme.train()
        scheme.on_train_epoch_start()
        before = {k: v.clone() for k, v in scheme.teacher.state_dict().items()}
        x = torch.randn(8, 3, 16, 16)
        scheme.terms(x, torch.zeros(8, dtype=torch.int64))["soft_labels"].backward()
        assert all(torch.equal(v, before[k]) for k, v in scheme.teacher.state_dict().items())
        assert all(p.grad is None for p in scheme.teacher.parameters())
        assert all(p.grad is not None for p in scheme.trained())
        taught.append(scheme.teacher.eval()(x))
        assert torch.equal(taught[-1], victim.in_use(x[:1]).eval()(x))  # with the passport that came with V1

    (one,) = Distill(name="distill").run(victim, data, fit, 0)
    (other,) = Distill(name="distill").run(victim, data, fit, 1)
    victims = [p for p in victim.suspect.state_dict().values() if p.dim() == 4]
    for weights in one.suspect.state_dict().values():
        assert not any(weights.shape == p.shape and torch.equal(weights, p) for p in victims)
    assert not torch.equal(one.suspect.conv1.weight, other.suspect.conv1.weight)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (15, 3), (33, 1)])
def test_made_up_images_are_normalised_and_of_the_tasks_size(size, channels):
    images = ImageGenerator(size, channels)(torch.randn(64, NOISE))
    assert images.shape == (64, channels, size, size)
    assert images.isfinite().all()
    if size % 4 == 0:  # else the norm has seen what is cut away
        assert images.mean((0, 2, 3)).abs().max() < 1e-4
        assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_disagreement_is_the_mean_absolute_difference_of_logits(logits):
    student, teacher = logits
    found = disagreement(torch.from_numpy(student), torch.from_numpy(teacher))
    assert float(found) == pytest.approx(np.abs(student - teacher).mean(), rel=1e-12)


def test_data_free_extraction_looks_at_no_image_and_comes_to_agree_with_the_victim(victim_of, data):
    victim = victim_of("passport_v2", "alexnet", "bn")
    memorise(victim.suspect, data)
    black = replace(data, train_pixels=torch.zeros_like(data.train_pixels), train_labels=data.train_labels.flip(0))
    attack_of = DataFree(name="data_free", rounds=6, batch_size=16)
    (one,), (again,) = (attack_of.run(victim, images, None, 0) for images in (data, black))
    weights = again.suspect.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.suspect.state_dict().items())
    images = ImageGenerator(16, 3)(torch.randn(64, NOISE)).detach()
    with torch.no_grad():
        answers = victim.suspect.eval()(images)
        before, after = (
            disagreement(n.train()(images), answers) for n in (attack_of.begun(victim, data, 0), one.suspect)
        )
    assert after < 0.7 * before
    assert one.iterations == 6


@pytest.mark.parametrize("scheme", schemes_of(*EMBEDDING))
def test_a_claim_fits_its_network_and_another_one_only_if_images_decide(scheme, victim_of, data):
    victim, other = victim_of(scheme, "alexnet", "bn"), small("resnet18", "bn")
    images = data.test_images
    assert fits(victim.claim, victim.suspect, example_of(data, victim.suspect))
    assert fits(victim.claim, other, example_of(data, other)) == (scheme not in schemes_of(*READ_FROM_WEIGHTS))
    (verdict,) = unread(other, [victim.claim], images)
    if victim.claim.triggers is None:
        assert verdict.trigger_accuracy is None
    elif scheme in schemes_of("key images"):
        found = victim.claim.read(other, images.mean, images.std)
        assert verdict.trigger_accuracy == found.agreement


def test_a_student_that_cannot_be_is_refused_by_name(victim_of, data):
    with pytest.raises(InputError, match=r"attack\.student=nonsense: is not a model; choose among"):
        next(Distill(name="distill", student="nonsense").run(victim_of("uchida"), data, None, 0))


@pytest.mark.parametrize("scheme", ["passport_v3", "uchida", "trigger_set"])
def test_a_student_of_another_architecture_is_judged_honestly(scheme, request_for, trained):
    asked = request_for(
        f"scheme={scheme}", "attack=distill", "attack.student=resnet18", "attack.width=0.0625", "attack_epochs=1",
        "trigger_set.size=8", "trigger_set.per_step=2", command="attack",
    )  # fmt: skip
    trained(asked)
    (row,) = attack(asked).rows
    assert not row.mark_read
    assert (row.bits_total, row.bits_agreeing) == {
        "passport_v3": (224, 0), "uchida": (256, 0), "trigger_set": (None, None)
    }[scheme]  # fmt: skip
    assert (row.trigger_accuracy is None) == (scheme == "uchida")
    assert row.p_value_log10 == 0 or scheme == "trigger_set"
    kept = row.accuracy_before - row.accuracy_after <= asked.verification.fidelity_threshold
    assert (row.fidelity_kept, row.attack_succeeded) == (kept, kept)
    assert not row.forged


def test_the_owners_claim_fails_on_a_network_that_never_saw_the_victim(request_for, trained):
    """The ceiling of every removal is no copy: half of the bits agree by chance."""
    asked = request_for("scheme=passport_v2", "trainer.max_epochs=8", "attack=from_scratch", "attack_epochs=2",
                        command="attack")  # fmt: skip
    victim = trained(asked)
    (row,) = attack(asked).rows
    assert victim.record.mark_read
    assert not row.mark_read
    assert 0.35 < row.bits_agreeing / row.bits_total < 0.65
