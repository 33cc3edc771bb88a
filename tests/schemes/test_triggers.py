"""How many trigger images a step has: as many as show each often enough, in the steps that are really taken."""

from dataclasses import replace

import pytest
import torch
import yaml
from PIL import Image

from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.schemes.triggers import PRESENTATIONS, images_per_step
from ipr.workflows.attack import attack
from ipr.workflows.exhibit import exhibit
from ipr.workflows.rehearsal import rehearsal
from ipr.workflows.request import key_of, scheme_of
from ipr.workflows.train import train


@pytest.mark.parametrize(
    ("size", "steps", "batch_size", "processes", "per_step"),
    [
        (100, 200 * 781, 64, 1, 2),  # the paper's: each image is shown 3,100 times
        (100, 5000, 64, 1, 2),
        (100, 4999, 64, 1, 3),  # just too few steps for 2
        (100, 15 * 156, 64, 1, 5),
        (100, 10 * 156, 64, 1, 7),
        (100, 10 * 156, 64, 2, 8),  # the next that two processes share
        (100, 10 * 156, 64, 4, 8),
        (100, 20 * 22, 64, 1, 16),  # a quarter of the batch, though 23 would be needed
        (100, 20 * 22, 48, 8, 8),  # and no more than it where processes do not share it
        (100, 100, 8, 1, 2),
        (100, 100, 4, 1, 2),  # not less, even where a quarter of the batch is 1
        (100, 100, 8, 4, 4),  # nor than one for each process
        (8, 4, 64, 1, 8),  # the whole set
        (1, 4, 64, 1, 1),
        (3, 4, 64, 2, 2),
        (100, 0, 64, 1, 16),  # a batch that is larger than the data is refused elsewhere
    ],
)
def test_as_many_images_a_step_as_show_each_often_enough(size, steps, batch_size, processes, per_step):
    assert images_per_step(size, steps, batch_size, processes) == per_step


def test_the_smallest_number_that_is_enough_is_taken():
    for steps in range(700, 6000, 371):
        per_step = images_per_step(100, steps, 64)
        assert per_step * steps / 100 >= PRESENTATIONS
        assert per_step == 2 or (per_step - 1) * steps / 100 < PRESENTATIONS


CUT = (
    [],
    ["trainer.limit_train_batches=3", "trainer.max_epochs=3"],
    ["trainer.limit_train_batches=0.3"],
    ["trainer.limit_train_batches=100"],
    ["dataset.validation=0.3"],
    ["dataset.part=1/2", "optimizer.batch_size=20"],
)


@pytest.mark.parametrize("cut", CUT)
@pytest.mark.sampled(2)
def test_steps_are_those_that_training_takes(cut, request_for):
    config = request_for("scheme=baseline", *cut)
    run = train(config)
    taken = torch.load(run.folder.checkpoint, weights_only=True)["global_step"]
    assert taken == scheme_of(config).steps(config, open_images(config.dataset, config.paths)) > 0


@pytest.fixture
def folder(tmp_path):
    """Twelve trigger images."""
    for number in range(1, 13):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "labels.txt").write_text("\n".join(str(number % 10) for number in range(12)))
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "per_step"),
    [
        (["scheme=passport_v3"], 8),  # a quarter of 32
        (["scheme=passport_v3", "trainer.max_epochs=200", "trigger_set.size=40"], 5),  # 4,000 in 800 steps
        (["scheme=passport_v3", "trainer.max_epochs=200", "trigger_set.size=40", "dataset.limit_train=256"], 3),
        (["scheme=passport_v3", "trainer.max_epochs=200", "trigger_set.size=40", "optimizer.batch_size=16"], 3),
        (["scheme=zhang_noise", "trigger_set.size=6"], 6),
        (["scheme=frontier_stitching", "trainer.max_epochs=200", "scheme.epochs=10", "trigger_set.size=2"], 2),
        (["scheme=frontier_stitching", "scheme.epochs=100", "trigger_set.size=20"], 5),  # of the tuning alone
        (["scheme=trigger_set", "trainer.max_epochs=50", "trigger_set=folder"], 6),  # 12 images in 200 steps
        (["scheme=zhang_noise", "trainer.max_epochs=50", "trigger_set=folder", "trigger_set.size=6"], 3),  # none of it
    ],
)
def test_a_run_is_that_of_the_number_which_follows_from_it(asked, per_step, request_for, folder):
    asked += [f"trigger_set.root={folder}"] if "trigger_set=folder" in asked else []
    config = request_for(*asked)
    data = open_images(config.dataset, config.paths)
    assert config.trigger_set.per_step is None
    given = [replace(config, trigger_set=replace(config.trigger_set, per_step=n)) for n in (per_step, per_step - 1)]
    assert key_of(config, data) == key_of(given[0], data) != key_of(given[1], data)
    assert scheme_of(config).per_step(given[1], data) == per_step - 1


def test_the_number_is_kept_and_trained_with(request_for):
    derived = train(request_for("scheme=zhang_noise", "trigger_set.size=6"))
    assert yaml.safe_load(derived.folder.config.read_text())["trigger_set"]["per_step"] == 6
    again = train(request_for("scheme=zhang_noise", "trigger_set.size=6", "trigger_set.per_step=6"))
    assert (again.found, again.folder) == (True, derived.folder)
    fewer = train(request_for("scheme=zhang_noise", "trigger_set.size=6", "trigger_set.per_step=2"))
    assert fewer.folder != derived.folder
    attacked = attack(request_for("scheme=zhang_noise", "trigger_set.size=6", "attack=prune", command="attack"))
    assert attacked.victim.folder == derived.folder
    assert yaml.safe_load(attacked.folder.config.read_text())["trigger_set"]["per_step"] == 6
    plain = train(request_for("scheme=baseline"))
    assert yaml.safe_load(plain.folder.config.read_text())["trigger_set"]["per_step"] is None


def test_a_rehearsal_has_the_steps_of_the_whole_training(request_for):
    config = request_for("scheme=passport_v3", "trainer.fast_dev_run=true", "trainer.max_epochs=1000")
    with rehearsal(config) as short:
        assert (short.trainer.max_epochs, short.trigger_set.per_step) == (1, 3)


def test_a_trigger_set_that_processes_cannot_share_is_refused(request_for, data: ImageData):
    config = request_for("scheme=passport_v3", "trainer.devices=4", "trigger_set.size=3")
    with pytest.raises(InputError, match=r"trigger_set\.per_step=4: the trigger set has 3 images; .*trigger_set\.size"):
        train(config)


def test_v3_is_timed_with_the_images_of_its_training(request_for):
    asked = ["scheme=baseline", "exhibit=timing", "exhibit.rounds=1", "exhibit.batch_size=4"]
    first = exhibit(request_for(*asked, command="exhibit"))
    assert exhibit(request_for(*asked, "trigger_set.per_step=8", command="exhibit")).folder == first.folder
    assert exhibit(request_for(*asked, "trigger_set.per_step=2", command="exhibit")).folder != first.folder
