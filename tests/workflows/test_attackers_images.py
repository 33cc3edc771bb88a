"""What images an attacker has: his own part of the victim's data set, another task's, and on what he is judged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.store.folder import run_key, short_key
from ipr.workflows.attack import attack
from ipr.workflows.attackers_images import attackers_images, judged_alike, of_one_task, shared_images

HALVES = ("dataset.part=1/2", "dataset@transfer=digits", "transfer.image_size=8")


@pytest.fixture
def opened(request_for):
    """The victim's images of a request of `ipr attack`, and the attacker's."""

    def both(*asked):
        config = request_for(*asked, "dataset.limit_train=null", command="attack")
        data = open_images(config.dataset, config.paths)
        return data, attackers_images(config, data)

    return both


def pictures(data):
    return {image.numpy().tobytes() for image in data.train_pixels}


def test_another_part_is_disjoint_and_judged_on_the_victims_test_images(opened):
    data, own = opened("attack=prune", *HALVES, "transfer.part=2/2")
    assert not pictures(own) & pictures(data)
    assert len(pictures(own) | pictures(data)) > 1400
    assert own.train_labels.bincount().min() > 50
    assert shared_images(own, data) == 0
    assert judged_alike(own, data)
    assert own.test_labels.numel() == 40  # the victim's limit, not the attacker's
    assert torch.equal(own.test_pixels, data.test_pixels)
    assert (own.mean, own.std) == (data.mean, data.std)


def test_the_victims_own_part_is_said_to_be_his(opened):
    data, own = opened("attack=prune", *HALVES, "transfer.part=1/2", "transfer.limit_train=100")
    assert shared_images(own, data) == own.train_labels.numel() == 100
    assert shared_images(data, data) == data.train_labels.numel()
    lacking, whole = opened("attack=prune", *HALVES)
    shared, his = shared_images(whole, lacking), pictures(lacking)
    assert shared == sum(image.numpy().tobytes() in his for image in whole.train_pixels)
    assert lacking.train_labels.numel() <= shared < whole.train_labels.numel()


def test_one_task_is_the_same_classes_and_test_images(opened):
    data, _ = opened("attack=prune")
    assert of_one_task(replace(data, fingerprint="a folder of the same test images"), data)
    others = replace(data, fingerprint="others", test_pixels=data.test_pixels.flip(0))
    assert not of_one_task(others, data)
    assert not of_one_task(replace(data, classes=("x", *data.classes[1:])), data)


def test_images_of_another_task_are_for_those_who_learn_it_or_only_ask(opened):
    parity = ("dataset@transfer=digits_parity", "transfer.image_size=8")
    data, own = opened("attack=finetune", *parity)
    assert not judged_alike(own, data)
    assert len(own.classes) == 2
    data, own = opened("attack=knockoff", *parity)
    assert judged_alike(own, data)
    assert own.classes == data.classes
    with pytest.raises(InputError, match=r"transfer=digits_parity: attack=distill needs images of the victim's task"):
        opened("attack=distill", *parity)
    for name in ("distill", "knockoff", "finetune"):
        with pytest.raises(InputError, match=r"transfer=digits: has images of 16 pixels.*transfer\.image_size=8"):
            opened(f"attack={name}", "dataset@transfer=digits")


@pytest.mark.parametrize("name", ["prune", "finetune", "overwrite"])
def test_a_row_says_whose_images_were_used_and_fidelity_counts(name, request_for, trained):
    asked = request_for("scheme=uchida", f"attack={name}", "attack_epochs=1", *HALVES, "transfer.part=2/2",
                        "transfer.limit_train=64", command="attack")  # fmt: skip
    trained(asked)
    rows = attack(asked).rows
    assert {(row.transfer, row.attacker_images, row.shared_images) for row in rows} == {("digits", 64, 0)}
    for row in (row for row in rows if not row.forged):
        lost = row.accuracy_before - row.accuracy_after
        assert row.fidelity_kept == (lost <= asked.verification.fidelity_threshold + 1e-9)


def test_without_transfer_nothing_is_named_otherwise_than_before(request_for, trained):
    asked = request_for("scheme=uchida", "attack=quantise", "attack.bits=[4]", command="attack")
    victim = trained(asked)
    data = open_images(asked.dataset, asked.paths)
    made = attack(asked)
    limits = asked.verification
    identity = {
        "victim": short_key(victim.folder.key), "attack": {"name": "quantise", "bits": [4]}, "seed": 0,
        "images": data.fingerprint, "verification": [limits.fidelity_threshold, limits.p_value],
    }  # fmt: skip
    key = run_key("quantise-uchida-alexnet-bn", identity, width=0.25, seed=0)
    assert made.folder.key == key
    (row,) = made.rows
    assert (row.attacker_images, row.shared_images) == (128, 128)
