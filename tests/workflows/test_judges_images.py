"""A judge's own folder of pictures, read as a claim says: against torchvision's ImageFolder and transforms."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ipr import configuration
from ipr.claims.base import Thresholds
from ipr.claims.recorded_images import RecordedImages, images_fingerprint
from ipr.config.shipped import shipped
from ipr.data.preprocessing import preprocessing_of
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.models import build_model
from ipr.requests.compose import register, typed
from ipr.schemes.uchida import UchidaClaim
from ipr.workflows.calibrate import calibrate
from ipr.workflows.request import key_of
from ipr.workflows.train import train
from ipr.workflows.verify import verify

CLASSES = ("ash", "birch", "cedar", "fir")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FOREIGN = transforms.Compose(
    [
        transforms.Resize(40),
        transforms.CenterCrop(32),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)
MODEL = {
    "name": "alexnet", "norm": "gn", "width": 0.0625, "passport_layers": ["conv3"], "watermark_layer": "conv3",
    "fidelity_threshold": 0.03,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Stripes in four directions, of a colour of chance: wider than high, lower than wide, some turned by EXIF, some
    transparent, below folders of their own; and some test images of another class than they are said to be.
    """
    root, source = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 9)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                height, width = source.integers(44, 80, 2)
                y, x = np.mgrid[:height, :width] / 6
                angle = (label + (part == "test" and number % 4 == 3)) * np.pi / 4
                waves = np.sin(np.cos(angle) * x + np.sin(angle) * y + source.uniform(0, 6))
                colour = source.uniform(60, 120, 3)
                pixels = 127 + waves[..., None] * colour + source.normal(0, 25, (height, width, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                path = root / part / name / f"tree {number % 2}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                if number % 4 == 1:
                    image.putalpha(90)
                exif = Image.Exif()
                exif[0x0112] = 6 if number % 4 == 2 else 1
                image.save(path, exif=exif)
    return root


@pytest.fixture(scope="module")
def foreign(photos, tmp_path_factory):
    """A network that was trained by hand, what it answers to its owner's test images, and a claim to it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("foreign")
    network = build_model("alexnet", norm="gn", width=0.0625, channels_in=3, image_size=32, num_classes=4)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for _ in range(25):
        for x, y in DataLoader(ImageFolder(photos / "train", FOREIGN), batch_size=16, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    images = ImageFolder(photos / "test", FOREIGN)
    network.eval()
    x, y = next(iter(DataLoader(images, batch_size=len(images))))
    with torch.no_grad():
        right = int((network(x).argmax(1) == y).sum())
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, place / "network.safetensors"
    )
    how = preprocessing_of(FOREIGN)
    pixels = torch.stack([how.pixels(images.loader(path)) for path, _ in images.samples])
    recorded = RecordedImages(how, tuple(images.classes), len(images), images_fingerprint(pixels, y, images.classes))
    claim = UchidaClaim.drawn(
        network, "conv3", 32, torch.Generator().manual_seed(1),
        text=None,
        thresholds=Thresholds(right / len(images)),
        architecture={"model": MODEL, "channels_in": 3, "image_size": 32, "num_classes": 4},
        images=recorded,
    )  # fmt: skip
    claim.save(place / "claim")
    return place, claim, right, len(images)


def composed(command, *arguments):
    register(command)
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return typed(compose(command, list(arguments)))


def judged(place, claim, images, tmp_path, *more):
    asked = [f"claim={claim}", f"suspect={place / 'network.safetensors'}", "accelerator=cpu", "forged=3"]
    given = [] if images is None else [f"images={images}"]
    config = composed("verify", *asked, *given, *more)
    return verify(replace(config, paths=replace(config.paths, cache=str(tmp_path / "cache"))))


def fidelity(judgement):
    (found,) = (one for one in judgement.decision.conditions if one.name == "fidelity")
    return found


def test_the_judge_counts_what_the_owner_counted(foreign, photos, tmp_path):
    """Of pictures that are turned and transparent, too; and those are told by what they are."""
    place, _, right, total = foreign
    assert 0.5 < right / total < 1
    for folder in (photos, photos / "test"):
        judgement = judged(place, place / "claim", folder, tmp_path)
        assert (judgement.accuracy, judgement.data.images) == (right / total, total)
        assert (judgement.data.as_claimed, judgement.data.owners) == (True, True)
        assert fidelity(judgement).holds
    fewer = shutil.copytree(photos / "test", tmp_path / "fewer")
    (fewer / "ash" / "tree 0" / "0.png").unlink()
    judgement = judged(place, place / "claim", fewer, tmp_path)
    assert (judgement.data.images, judgement.data.owners) == (total - 1, False)


def test_read_in_another_way_they_are_other_images(foreign, photos, tmp_path, capfd):
    place, _, right, total = foreign
    asked = ("dataset=image_folder", f"dataset.root={photos}", "dataset.image_size=32")
    judgement = judged(place, place / "claim", None, tmp_path, *asked)
    assert judgement.accuracy != right / total
    assert (judgement.data.as_claimed, judgement.data.owners) == (False, False)
    assert "the claim records another way to resize or to normalise its images" in capfd.readouterr().err


def test_classes_are_found_by_their_names(foreign, photos, tmp_path):
    """In whatever order the claim has them; all of them, and no other."""
    place, claim, right, total = foreign
    other = ("fir", "ash", "cedar", "birch")
    state = load_file(place / "network.safetensors")
    moved = [name for name, tensor in state.items() if tensor.shape[0] == 4]
    assert len(moved) == 2  # weight and bias of the classifier
    for name in moved:
        state[name] = state[name][[CLASSES.index(one) for one in other]]
    save_file(state, tmp_path / "network.safetensors")
    replace(claim, images=replace(claim.images, classes=other)).save(tmp_path / "claim")
    judgement = judged(tmp_path, tmp_path / "claim", photos / "test", tmp_path)
    assert (judgement.accuracy, judgement.data.owners) == (right / total, True)
    folder = shutil.copytree(photos / "test", tmp_path / "pictures")
    (folder / "fir").rename(folder / "oak")
    with pytest.raises(InputError, match=r"without fir and with oak"):
        judged(place, place / "claim", folder, tmp_path)
    shutil.rmtree(folder / "oak")
    with pytest.raises(InputError, match=r"has other classes than the claim: without fir;"):
        judged(place, place / "claim", folder, tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"resize": 1}, {"std": (1.0, 1.0, 1.0), "mean": (1.0, 1.0, 1.0)}, {"channels": "LLL", "resize": (2, 2)}],
)
def test_a_claimant_who_has_pictures_spoilt_gains_nothing(foreign, photos, tmp_path, change):
    """What he presents is measured against what the network answers to pictures that are read plainly."""
    place, claim, _, _ = foreign
    how = replace(claim.images.preprocessing, **change)
    spoilt = replace(claim, images=replace(claim.images, preprocessing=how), thresholds=Thresholds(0.25))
    spoilt.save(tmp_path / "claim")
    judgement = judged(place, tmp_path / "claim", photos / "test", tmp_path)
    found = judgement.evidence.accuracies
    assert found.claimed == found.given < found.plainly
    assert fidelity(judgement).holds is False
    assert "with pictures read plainly" in fidelity(judgement).says


def test_what_cannot_be_asked_is_said(foreign, photos, tmp_path):
    place, claim, _, _ = foreign
    with pytest.raises(InputError, match="give one of them"):
        judged(place, place / "claim", photos, tmp_path, "dataset=image_folder", f"dataset.root={photos}")
    replace(claim, images=None).save(tmp_path / "claim")
    with pytest.raises(InputError, match="does not record how its images are read"):
        judged(place, tmp_path / "claim", photos, tmp_path)
    config = composed("calibrate", f"claim={place / 'claim'}", f"images={photos / 'test'}", "networks=1")
    config = replace(config, paths=replace(config.paths, cache=str(tmp_path / "cache")))
    with pytest.raises(InputError, match="holds no training images"):
        calibrate(config)


SMALL = (
    "scheme=uchida", "model=alexnet", "model.width=0.0625", "trainer.max_epochs=2", "trainer.progress_bar=false",
    "trainer.accelerator=cpu", "logger=csv", "optimizer.batch_size=16", "dataset=image_folder", "dataset.image_size=32",
    "scheme.bits=16",
)  # fmt: skip
AS_FOREIGN = (
    "dataset.resize=40",
    f"dataset.mean={list(MEAN)}".replace(" ", ""),
    f"dataset.std={list(STD)}".replace(" ", ""),
)


def asked(photos, tmp_path, *more):
    config = configuration("train", *SMALL, f"dataset.root={photos}", *more)
    return replace(config, paths=replace(config.paths, cache=str(tmp_path / "cache"), runs=str(tmp_path / "runs")))


def test_a_training_records_how_it_read_its_images(photos, tmp_path):
    """And a judge reads them so: what he measures is what the training recorded."""
    run = train(asked(photos, tmp_path, *AS_FOREIGN))
    claim = load_claim(run.folder.claim)
    assert replace(preprocessing_of(FOREIGN), as_stored=False) == claim.images.preprocessing
    assert (claim.images.classes, claim.images.test_images) == (CLASSES, 36)
    shutil.copy(run.folder.weights, tmp_path / "network.safetensors")
    judgement = judged(tmp_path, run.folder.claim, photos / "test", tmp_path)
    assert judgement.accuracy == run.record.accuracy_without
    assert judgement.data.owners


def test_a_calibration_trains_on_images_that_are_read_so(foreign, photos, tmp_path):
    place = foreign[0]
    config = composed(
        "calibrate", f"claim={place / 'claim'}", f"images={photos}", "networks=2", "processes=1", "wrong=4", "copies=0",
        "trainer.max_epochs=1", "optimizer.batch_size=16", "trainer.accelerator=cpu",
    )  # fmt: skip
    paths = replace(config.paths, cache=str(tmp_path / "cache"), runs=str(tmp_path / "runs"))
    calibration = calibrate(replace(config, paths=paths))
    assert calibration.data == "image_folder"
    assert calibration.data_fingerprint == judged(place, place / "claim", photos, tmp_path).data.fingerprint
    (one, _) = (tmp_path / "runs" / "train").iterdir()
    assert "as_stored: true" in (one / "config.yaml").read_text()


def test_settings_that_say_nothing_name_no_run(photos, tmp_path, data):
    """The key is what it was before there were these settings."""
    plain = asked(photos, tmp_path)
    assert key_of(plain, data) == "uchida-alexnet-bn-image_folder-w0.0625-s0-6ff1ebb7e7d0"
    keys = {key_of(asked(photos, tmp_path, one), data) for one in ("dataset.resize=40", *AS_FOREIGN[1:])}
    assert len(keys | {key_of(plain, data)}) == 4


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("dataset.resize=0", "dataset.resize=0: "),
        ("dataset.resize=[40]", "dataset.resize="),
        ("dataset.resize=soon", "dataset.resize="),
        ("dataset.interpolation=bicubic", "give dataset.resize, too"),
        ("dataset.mean=[0.5,0.5,0.5]", "dataset.std=null: is nothing"),
        ("dataset.std=[0.5,0.5,0]", "dataset.std=0: must be at least 0.001"),
        ("dataset.recorded=5", "dataset.recorded=5: is none of a claim's"),
    ],
)
def test_settings_that_cannot_be_are_named(photos, tmp_path, given, named):
    with pytest.raises(InputError) as raised:
        train(asked(photos, tmp_path, given))
    assert named in str(raised.value)


def test_only_pictures_in_a_folder_can_be_resized_otherwise(tmp_path):
    config = configuration("train", *SMALL[:-3], "dataset=digits", "dataset.resize=20")
    with pytest.raises(InputError, match="is read from no folder of pictures"):
        train(replace(config, paths=replace(config.paths, cache=str(tmp_path))))
