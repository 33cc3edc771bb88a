"""`model.weights`: what torchvision and timm publish, from their caches; without a network; and never for a judge."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.models.claimed import network_of
from ipr.models.published import load_published, published_name
from ipr.schemes.start import plain_network, start_network
from ipr.store.record import load_record
from ipr.workflows.claimed_model import model_of
from ipr.workflows.request import identity_of, key_of
from ipr.workflows.train import train
from one_line import assert_one_line

timm = pytest.importorskip("timm")

FILE = "shufflenetv2_x0.5-f707e7126e.pth"
SHUFFLENET = ("model=torchvision", "model.name=torchvision:shufflenet_v2_x0_5", "model.width=1", "dataset=digits_rgb",
              "dataset.image_size=32", "scheme=baseline")  # fmt: skip
RESNET = ("model=timm", "model.name=timm:test_resnet", "model.width=1", "dataset.image_size=32", "scheme=baseline")


@pytest.fixture(autouse=True)
def _without_a_network(monkeypatch, tmp_path):
    """Caches are empty, and nobody answers."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def shufflenet(tmp_path):
    """A network of a thousand classes in torchvision's cache, as old files are: without counts of batches."""
    torch.manual_seed(5)
    network = torchvision.models.shufflenet_v2_x0_5()
    weights = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    torch.save(weights, place / FILE)
    return weights


@pytest.fixture
def resnet(tmp_path):
    """The same in timm's."""
    torch.manual_seed(6)
    weights = timm.create_model("test_resnet").state_dict()
    place = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(weights, place / "snapshots" / ("0" * 40) / "model.safetensors")
    return weights


def started_with(config):
    data = open_images(config.dataset, config.paths)
    return start_network(config, data).state_dict(), plain_network(config.model, data, config.seed).state_dict()


def test_torchvisions_are_where_a_training_starts_and_the_last_layer_is_the_seeds(shufflenet, request_for):
    there, plain = started_with(request_for(*SHUFFLENET, "model.weights=DEFAULT"))
    assert there["fc.weight"].shape == (10, 1024)
    for name, value in there.items():
        if not name.endswith("num_batches_tracked"):
            wanted = plain[name] if name.startswith("fc.") else shufflenet[name]
            assert torch.equal(value, wanted), name
    assert not torch.equal(there["conv1.0.weight"], plain["conv1.0.weight"])


def test_timms_are_too_and_take_as_many_channels_as_the_images(resnet, request_for):
    """Of one channel: the sum over colours, which answers a grey picture as one of three equal channels."""
    there, plain = started_with(request_for(*RESNET, "dataset=digits_rgb", "model.weights=DEFAULT"))
    for name, value in there.items():
        assert torch.equal(value, plain[name] if name.startswith("fc.") else resnet[name]), name
    grey, _ = started_with(request_for(*RESNET, "dataset=digits", "model.weights=r160_in1k"))
    assert torch.allclose(grey["conv1.0.weight"], resnet["conv1.0.weight"].sum(1, keepdim=True), atol=1e-6)


def test_the_last_layer_is_kept_where_classes_are_as_many(shufflenet):
    network = torchvision.models.shufflenet_v2_x0_5()
    load_published(network, "torchvision:shufflenet_v2_x0_5", "DEFAULT", channels_in=3, num_classes=1000)
    assert torch.equal(network.fc.weight, shufflenet["fc.weight"])


def test_they_are_part_of_a_run_by_the_name_that_every_version_knows(request_for):
    """And runs that were made before there were any are found."""
    plain = request_for(*SHUFFLENET)
    data = open_images(plain.dataset, plain.paths)
    asked = [request_for(*SHUFFLENET, f"model.weights={name}") for name in ("DEFAULT", "IMAGENET1K_V1")]
    assert key_of(asked[0], data) == key_of(asked[1], data) != key_of(plain, data)
    assert identity_of(plain, data)["model"].keys() == {"name", "norm", "width"}
    assert identity_of(asked[0], data)["model"]["weights"] == FILE
    assert published_name("timm:test_resnet", "DEFAULT") == "test_resnet.r160_in1k"


def test_a_run_that_is_there_needs_no_network_and_its_claim_asks_for_none(shufflenet, request_for, tmp_path):
    """Nor does one that says it wants some."""
    wanted = [
        *SHUFFLENET[:-1],
        "scheme=passport_v2",
        "scheme.layers=[conv5]",
        "model.weights=DEFAULT",
        "dataset.limit_train=64",
    ]
    config = request_for(*wanted, "trainer.max_epochs=1")
    run = train(config)
    assert run.record.init == FILE
    shutil.rmtree(tmp_path / "torch")
    assert train(config).found
    claim = load_claim(run.folder.claim)
    assert "weights" not in claim.architecture["model"]
    lying = {**claim.architecture, "model": {**claim.architecture["model"], "weights": "DEFAULT"}}
    assert model_of(replace(claim, architecture=lying)).weights is None
    assert network_of(lying).fc.weight.shape == (10, 1024)


def test_the_plain_network_of_a_run_starts_from_them_too(shufflenet, request_for):
    """`init=baseline`: fine-tuned first, then marked."""
    wanted = [
        *SHUFFLENET[:-1],
        "scheme=passport_v1",
        "scheme.layers=[conv5]",
        "init=baseline",
        "dataset.limit_train=64",
    ]
    run = train(request_for(*wanted, "model.weights=DEFAULT", "trainer.max_epochs=1"))
    (begun,) = run.folder.path.parent.glob("baseline-*")
    assert (load_record(begun / "record.json").init, run.record.init) == (FILE, "baseline")


@pytest.mark.parametrize(("words", "called"), [(SHUFFLENET, FILE), (RESNET, "test_resnet.r160_in1k")])
def test_without_a_network_it_is_one_line_and_leaves_nothing(words, called, ipr):
    outcome = ipr("train", *words, "dataset=digits_rgb", "model.weights=DEFAULT", "trainer.progress_bar=false")
    assert_one_line(outcome, "model.weights=DEFAULT", f"{called} cannot be fetched", "init=FILE")
    assert not Path("runs").exists()


def test_nothing_in_a_file_is_executed(tmp_path, ipr):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (Path("executed"),))

    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    torch.save({"fc.weight": Bomb()}, place / FILE)
    assert_one_line(ipr("train", *SHUFFLENET, "model.weights=DEFAULT"), "cannot be fetched")
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("model=small_alexnet",), "alexnet is no model of torchvision or timm"),
        (("model=torchvision", "model.weights=V7"), "choose among: IMAGENET1K_V1, DEFAULT"),
        (("model=timm", "model.weights=V7"), "choose among: DEFAULT, a1_in1k"),
        (("model=timm", "model.name=timm:beit3_giant_patch14_224"), "has no published weights"),
        (("model=torchvision", "model.name=torchvision:nothing"), "is no classifier of torchvision"),
        (("model=torchvision", "init=mine.pt"), "other weights are given; leave one of them out"),
    ],
)
def test_what_is_not_published_is_refused_before_images_are_read(words, told, ipr):
    given = [] if any("weights=" in word for word in words) else ["model.weights=DEFAULT"]
    assert_one_line(ipr("train", *words, *given, "dataset=image_folder", "dataset.root=nowhere"), told)


def test_another_norm_does_not_fit(request_for, tmp_path):
    torch.manual_seed(0)
    weights = torchvision.models.resnet18().state_dict()
    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    torch.save(weights, place / "resnet18-f37072fd.pth")
    asked = (
        "model=torchvision",
        "model.width=1",
        "dataset=digits_rgb",
        "dataset.image_size=32",
        "model.weights=DEFAULT",
    )
    config = request_for(*asked, "model.norm=gn", "scheme=baseline")
    with pytest.raises(
        InputError, match=r"^model\.weights=DEFAULT: resnet18-f37072fd\.pth does not fit .*model\.norm=bn"
    ):
        start_network(config, open_images(config.dataset, config.paths))
