"""`ipr protect`: from the weights file of a network that somebody trained to a verdict, by its own commands."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from ipr import configuration
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import percent
from ipr.models import LIBRARIES, build_model
from ipr.passport.last_layers import last_layers
from ipr.passport.surgery import find_layers
from ipr.requests import libraries
from one_line import assert_one_line
from own import owned

READ = (
    "dataset.root=photos", "dataset.resize=18", "dataset.image_size=16", "dataset.mean=[0.485,0.456,0.406]",
    "dataset.std=[0.229,0.224,0.225]", "dataset.crop_padding=1", "dataset.flip=false",
)  # fmt: skip
QUICK = ("trainer.progress_bar=false", "trainer.accelerator=cpu", "logger=csv", "verification.forged=10")
MINE = ("protect", "weights=mine.pt", "model=small_alexnet", *READ, *QUICK, "owner=Ada")
KEY = "passport.key=file:secret.key"


def alexnet() -> nn.Module:
    return build_model("alexnet", norm="bn", width=0.25, channels_in=3, image_size=16, num_classes=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures, and the weights of a network that was trained on them by hand; its accuracy, counted by hand."""
    place = tmp_path_factory.mktemp("mine")
    train, test = owned.loaders(owned.pictures(place / "photos"))
    torch.manual_seed(0)
    network = owned.train(alexnet(), train, 4)
    torch.save(network.state_dict(), place / "mine.pt")
    return place, owned.right(network, test)


@pytest.fixture
def mine(made, tmp_path):
    """That, in the working folder; the accuracy of the network."""
    place, right = made
    (tmp_path / "photos").symlink_to(place / "photos")
    (tmp_path / "mine.pt").write_bytes((place / "mine.pt").read_bytes())
    (tmp_path / "secret.key").write_text("a secret of twenty letters\n")
    return right


def lines(outcome):
    """What was printed, by what stands before the colon."""
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in outcome.out.splitlines())}


def test_from_weights_to_a_verdict(mine, ipr):
    """Accuracies are those that the owner counts; the commands that are printed date the claim and judge it."""
    outcome = ipr(*MINE, KEY, "trainer.max_epochs=4")
    assert outcome.code == 0, outcome
    told = lines(outcome)
    assert [*told] == [
        "accuracy", "embedded", "forgers kept out", "triggers learned", "made", "give away", "keep", "first", "judge"
    ]  # fmt: skip
    assert "warning" not in outcome.err
    folder = Path(told["made"])
    after = alexnet()
    after.load_state_dict(load_file(folder / "public.safetensors"))
    _, test = owned.loaders(Path("photos"))
    assert told["accuracy"].startswith(f"{percent(mine)} before, {percent(owned.right(after, test))} as it is given")
    claim = load_claim(folder / "claim")
    assert claim.layers == [f"conv{number}" for number in range(1, 6)]
    assert claim.bound
    assert claim.owner == "Ada"
    bits = sum(one.numel() for one in claim.signature.values())
    assert told["embedded"].startswith(f"yes: {bits} of {bits} bits read")
    assert told["embedded"].endswith(f", {percent(mine)} of the network before")
    assert told["forgers kept out"].startswith("yes: the best of 10 random passports")
    assert "twenty letters" not in outcome.out + outcome.err
    committed = ipr(*shlex.split(told["first"], comments=True)[1:])
    assert committed.code == 0, committed
    judged = ipr(*shlex.split(told["judge"])[1:], "rule=paper", "forged=2")
    assert judged.code == 0, judged
    assert told["judge"].endswith("images=photos")


def test_it_is_the_run_of_train_with_init(mine, ipr):
    """Same name and same bits, made in two stores; and found in one."""
    few = ("trainer.max_epochs=1", "scheme=passport_v3", KEY)
    ipr(*MINE, *few)
    (folder,) = Path("runs/train").iterdir()
    layers = "scheme.layers=[conv1,conv2,conv3,conv4,conv5]"
    words = ["train", "init=mine.pt", "dataset=image_folder", "scheme.bound=true", layers, *MINE[2:], *few]
    assert ipr(*words, "paths.runs=others").code == 0
    (other,) = Path("others/train").iterdir()
    assert other.name == folder.name
    assert (other / "public.safetensors").read_bytes() == (folder / "public.safetensors").read_bytes()
    assert f"found: {folder}" in ipr(*words, "verification.fidelity_threshold=0.03").out


def test_a_failed_embedding_is_no_claim(mine, ipr):
    """A rate at which nothing is learned; also when it is found again."""
    for state in ("made", "found"):
        outcome = ipr(*MINE, "trainer.max_epochs=1", "optimizer.lr=1e-7")
        assert outcome.code == 1, outcome
        told = lines(outcome)
        assert state in told
        assert told["embedded"].startswith("FAILED")
        assert "the embedding FAILED (embedded)" in outcome.out
        assert not {"give away", "keep", "first", "judge"} & {*told}
        assert "ipr: warning: secrets follow from the seed" in outcome.err
        assert "passport.key=file:PATH" in outcome.err


def test_what_a_sweep_is_told_of_its_gain_is_what_the_owner_counts(mine, ipr):
    """Beside the network that was given, with its sign."""
    outcome = ipr(*MINE, KEY, "-m", "seed=0,1", "trainer.max_epochs=1", "optimizer.lr=0.3", "objective=[gain,mark]")
    _, test = owned.loaders(Path("photos"))
    for folder in Path("runs/train").glob("passport_v2-*"):
        after = alexnet()
        after.load_state_dict(load_file(folder / "public.safetensors"))
        gain = owned.right(after, test) - mine
        (line,) = re.findall(rf".*{folder.name}", outcome.out.partition("\n2 jobs")[2])
        assert f" {gain:g} " in line
        assert gain


def test_a_network_that_lost_much_is_told(mine, ipr):
    """A rate that destroys it: what is embedded or not, what it cost is said, and how much is too much."""
    outcome = ipr(*MINE, KEY, "trainer.max_epochs=1", "optimizer.lr=3", "optimizer.clip_norm=null")
    after = re.search(r"before, (\S+) % as it is given away", outcome.out)[1]
    lost = percent(mine - float(after) / 100)
    assert float(lost.split()[0]) > 3
    assert f"the network is {lost} less accurate than before, more than 3.00 %" in outcome.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["weights=none.pt"], ["weights=none.pt", "is no weights file", "give a weights file, or a training"]),
        (["weights=baseline"], ["weights=baseline", "ipr train init="]),
        (["weights=secret.key"], ["weights=secret.key", "no known format"]),
        (["init=mine.pt"], ["init=mine.pt", "leave it out"]),
        (["scheme=uchida"], ["scheme=uchida", "no passport scheme", "passport_v1, passport_v2, passport_v3"]),
        (["scheme=baseline"], ["scheme=baseline", "no passport scheme"]),
        (["trainer.fast_dev_run=true"], ["trainer.fast_dev_run=True", "nothing of it is kept"]),
        (["objective=loss"], ["objective=loss", "is no number"]),
        (["scheme.signature=mine"], ["scheme.bound=True"]),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(words, told, mine, ipr):
    assert_one_line(ipr(*MINE, *words), *told)
    assert not Path("runs").exists()


def test_weights_that_do_not_fit_their_images_are_refused(mine, ipr):
    """Of another network; of one that never learned; and it is `weights` that is named, as it was typed."""
    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), "untrained.pt")
    for words, told in (
        (["model.width=0.5"], "weights=mine.pt: does not fit"),
        (["weights=untrained.pt"], "weights=untrained.pt: answers "),
        (["dataset.image_size=32", "model=torchvision", "model.name=resnet18"], "weights=mine.pt: does not fit ResNet"),
    ):
        outcome = ipr(*MINE, *words)
        assert outcome.code == 2
        error = outcome.err.splitlines()[-1]  # before it the folder is said
        assert error.startswith(f"ipr: error: {told}"), outcome.err
    assert not Path("runs").exists()


def test_train_is_told_what_it_calls_them(ipr):
    assert_one_line(ipr("train", "weights=mine.pt"), "did you mean init=mine.pt?")
    assert_one_line(ipr("train", "pretrained=true"), "did you mean model.weights=true?")


def test_without_weights_it_asks_for_them(mine, ipr):
    assert_one_line(ipr("protect", *READ), "weights=???", "must be given")


def test_a_training_that_is_there_may_be_protected(mine, ipr):
    """By its name, as `ipr list` shows it."""
    asked = (*MINE[2:], "trainer.max_epochs=2", "dataset=image_folder")
    assert ipr("train", "scheme=baseline", *asked).code == 0
    (begun,) = Path("runs/train").iterdir()
    outcome = ipr("protect", f"weights={begun.name}", *asked, "scheme=passport_v1", KEY)
    assert outcome.code == (1 if "FAILED" in outcome.out else 0), outcome
    assert ("ipr unlock" in outcome.out) == (outcome.code == 0)
    assert len([*Path("runs/train").iterdir()]) == 2


@pytest.mark.parametrize("command", ["train", "attack"])
def test_a_library_s_model_is_named_by_its_own_name_in_its_group(command):
    def name(*words):
        return configuration(command, *words).model.name

    assert name("model=timm", "model.name=resnet50") == "timm:resnet50"
    assert name("model=timm", "model.name=timm:resnet50") == name("model=timm", "model.name=resnet50")
    assert name("model=torchvision", "model.name=resnet50") == "torchvision:resnet50"
    assert name("model=torchvision", "model.name=timm:resnet50") == "timm:resnet50"
    assert name("model=torchvision") == "torchvision:resnet18"
    assert name("model=resnet50") == "resnet50"  # ours, which is another network
    assert {f"{library}:" for library in libraries.LIBRARIES} == LIBRARIES.keys()


def test_the_command_line_names_it_so_as_well(mine, ipr):
    """Each job of a sweep by its own group."""
    outcome = ipr("train", "-m", *READ, "dataset=image_folder", "model=timm,torchvision", "model.name=resnet1")
    assert outcome.code == 2
    assert "model.name=timm:resnet1: is no architecture of timm" in outcome.err
    assert "model.name=torchvision:resnet1: is no classifier of torchvision" in outcome.err


def test_the_last_five_convolutions_are_those_of_the_last_stage_of_resnet18():
    network = torchvision.models.resnet18()
    found = find_layers(network, torch.zeros(1, 3, 64, 64))
    blocks = ["0.conv1", "0.conv2", "0.downsample.0", "1.conv1", "1.conv2"]
    assert sorted(last_layers(found, network)) == [f"layer4.{one}" for one in blocks]
