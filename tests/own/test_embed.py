"""`ipr.embed`: somebody's network, images and transform, and what comes of them."""

import copy
import json

import lightning as L
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import ipr
from ipr.judging.fidelity import percent
from ipr.models.known import named_model
from ipr.passport.layer import passport_layers
from ipr.store.weights import as_safetensors
from own import owned

QUIET = ("trainer.progress_bar=false", "trainer.accelerator=cpu", "verification.forged=10")


def embed(owners, scheme, epochs=4, **more):
    model, train, test = owners
    settings = (*QUIET, *more.pop("settings", ()))
    given = {"owner": "Ada", "key": "a secret of twenty letters", "test": test} | more
    return ipr.embed(model, train, scheme, epochs=epochs, settings=settings, **given)


@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2", "passport_v3"])
def test_a_network_that_no_judge_knows_is_protected_on_a_pipeline_of_its_owners(owners, scheme, tmp_path):
    """What is reported is what the owner counts by his own loader; the network that was given is as it was."""
    model, _, test = owners
    before = copy.deepcopy(model.state_dict())
    protected = embed(owners, scheme, epochs=8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert protected.before == pytest.approx(owned.right(model, test), abs=1e-6)
    assert protected.record.accuracy_without == pytest.approx(owned.right(protected.public(), test), abs=1e-6)
    assert protected.holds, protected.report
    assert protected.record.bits_agreeing == protected.record.bits_total
    assert protected.claim.bound
    assert [line.partition(":")[0] for line in protected.report.splitlines()] == [
        "accuracy", "embedded", "forgers kept out", "triggers learned"
    ]  # fmt: skip

    place = protected.save(tmp_path / "mine")
    claim = ipr.load_claim(place / "claim")
    assert claim.owner == "Ada"
    assert "model" not in claim.architecture
    fresh = owned.network()
    fresh.load_state_dict(load_file(place / "public.safetensors"))
    assert owned.right(fresh, test) == pytest.approx(protected.record.accuracy_without, abs=1e-6)
    verdict = ipr.judge(protected.public(), claim, protected.images, forged=3)
    assert verdict.fidelity.accuracy == protected.record.accuracy_genuine
    assert verdict.consistent
    card = (place / "card.md").read_text()
    assert "Ada" in card
    assert "twenty letters" not in card + protected.report + repr(protected) + (place / "claim/claim.json").read_text()
    with pytest.raises(ipr.InputError, match="already"):
        protected.save(place)


def test_a_failed_embedding_is_told_and_is_no_claim(owners, tmp_path):
    """A rate at which nothing is learned, and a network that was never trained."""
    torch.manual_seed(0)
    untrained = (owned.network(), *owners[1:])
    protected = embed(untrained, "passport_v2", 1, settings=("optimizer.lr=1e-7", "optimizer.warmup=0"))
    assert not protected.holds
    assert "FAILED" in protected.report
    with pytest.raises(ipr.InputError, match=r"embedding=<failed>.*more epochs"):
        protected.save(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_torchvisions_network_is_known_by_its_name(folder, tmp_path):
    """The command line judges the file and the claim, with nothing else."""
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(num_classes=10)
    found = named_model(model, channels_in=3, image_size=32, num_classes=10)
    assert found == {"name": "torchvision:mobilenet_v3_small", "norm": "bn", "width": 1.0}
    model.features[0][0].stride = (1, 1)  # as many do for small images: no shape tells, and the name builds another
    assert named_model(model, channels_in=3, image_size=32, num_classes=10) is None
    model.features[0][0].stride = (2, 2)
    model.classifier[3] = nn.Linear(1024, 11)
    assert named_model(model, channels_in=3, image_size=32, num_classes=10) is None


@pytest.mark.slow
def test_the_command_line_judges_what_was_embedded_into_torchvisions_network(folder, owners, tmp_path, ipr):
    """From weights, claim and a folder alone, through a transform that it has never seen: the owner's own accuracy."""
    torch.manual_seed(0)
    _, train, test = owners
    model = owned.train(torchvision.models.shufflenet_v2_x0_5(num_classes=10), train, 1)
    protected = embed((model, train, test), "passport_v2", 1)
    assert protected.claim.architecture["model"]["name"] == "torchvision:shufflenet_v2_x0_5"
    assert "claim=claim images=FOLDER" in protected.card()
    protected.claim.save(tmp_path / "claim")
    (tmp_path / "public.safetensors").write_bytes(as_safetensors(protected.public().state_dict()))
    words = [f"suspect={tmp_path / 'public.safetensors'}", f"claim={tmp_path / 'claim'}", "rule=paper"]
    done = ipr("verify", *words, f"images={folder}", "forged=2")
    assert f"accuracy {percent(protected.record.accuracy_genuine)}" in done.out.replace("\n", " "), done
    assert f"{protected.record.bits_agreeing} of {protected.record.bits_total} bits" in done.out


def test_it_trains_and_judges_on_a_gpu_as_on_the_cpu(owners, device, accelerator):
    """Whatever comes back lies on the CPU, and the network that was given stays where it is."""
    model, _, test = owners
    settings = ("trainer.progress_bar=false", f"trainer.accelerator={accelerator}", "verification.forged=2")
    protected = ipr.embed(model, owners[1], "passport_v2", test=test, epochs=1, settings=settings)
    for network in (model, protected.network, protected.public(), protected.licensed()):
        assert {value.device.type for value in network.state_dict().values()} == {"cpu"}
    assert protected.record.accuracy_without == pytest.approx(owned.right(protected.public(), test), abs=0.01)


def test_no_error_tells_the_key(owners):
    model, train, test = owners
    for more in (
        "optimizer.rate=1",
        "optimizer.lr=abc",
        "passport.name=odd",
        "seed=x",
        "=",
        "passport.key=",
        "scheme.bits=9999",
    ):
        with pytest.raises(ipr.InputError) as error:
            ipr.embed(model, train, key="unspeakable", test=test, epochs=1, settings=(*QUIET, more))
        assert "unspeakable" not in f"{error.value} {error.value.__cause__!r}"


def test_ones_own_optimizer_and_loss_are_used(owners):
    seen = []

    def loss(logits, labels):
        seen.append(logits.shape[0])
        return nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)

    made = []

    def optimizer(parameters):
        made.append(torch.optim.AdamW(parameters, 1e-3))
        return made[0]

    protected = embed(owners, "passport_v2", 1, optimizer=optimizer, loss=loss)
    steps = len(owners[1])
    assert len(seen) == 2 * steps  # two branches a step
    assert len(made) == 1
    assert made[0].state[made[0].param_groups[0]["params"][0]]["step"] == steps
    assert protected.record.epochs == 1


def test_a_loss_that_is_a_module_is_used_and_a_text_is_one_setting(owners):
    class Seen(nn.CrossEntropyLoss):
        calls = 0

        def forward(self, logits, labels):
            Seen.calls += 1
            return super().forward(logits, labels)

    model, train, test = owners
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    settings = "trainer.progress_bar=false"
    protected = ipr.embed(model, train, test=test, epochs=1, loss=Seen(), layers=names[-1], settings=settings)
    assert Seen.calls == 2 * len(train)
    assert protected.claim.layers == names[-1:]


def test_a_data_module_and_a_data_set_are_taken(owners):
    model, train, test = owners

    class Module(L.LightningDataModule):
        def setup(self, stage):
            self.own = {"fit": (train, test)}[stage]

        def train_dataloader(self):
            return self.own[0]

        def val_dataloader(self):
            return self.own[1]

    protected = ipr.embed(model, Module(), epochs=1, settings=QUIET)
    assert protected.before == pytest.approx(owned.right(model, test), abs=1e-6)
    again = ipr.embed(model, train.dataset, epochs=1, settings=QUIET)
    assert again.images.labels.numel() == len(train.dataset) // 10  # held out


def test_held_out_images_are_not_trained_on_and_that_is_said(owners, capsys):
    model, train, _ = owners
    protected = ipr.embed(model, train, epochs=1, settings=QUIET)
    held = protected.images.labels.numel()
    assert held == len(train.dataset) // 10
    assert f"{held} of those to train on are held out" in capsys.readouterr().err
    assert protected.record.train_images == len(train.dataset) - held


def test_the_same_call_gives_the_same_network_with_a_loader_that_does_not_shuffle(owners):
    model, train, test = owners
    fixed = DataLoader(Subset(train.dataset, range(256)), 64)
    fixed.dataset.dataset.transform = owned.FOR_TESTS
    try:
        one, two = (ipr.embed(model, fixed, test=test, key="k" * 20, epochs=1, settings=QUIET) for _ in "ab")
    finally:
        fixed.dataset.dataset.transform = owned.FOR_TRAINING
    for name, value in one.public().state_dict().items():
        assert torch.equal(value, two.public().state_dict()[name])
    assert torch.equal(one.claim.marks(), two.claim.marks())
    other = ipr.embed(model, fixed, test=test, key="l" * 20, epochs=1, settings=QUIET)
    assert not torch.equal(one.claim.marks(), other.claim.marks())


def test_layers_are_the_last_or_those_that_are_named(owners):
    model, *_ = owners
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert [*passport_layers(embed(owners, "passport_v2", 1).network)] == names
    assert [*passport_layers(embed(owners, "passport_v2", 1, layers=names[-1:]).network)] == names[-1:]


NOISE = TensorDataset(torch.randn(70, 3, 16, 16), torch.randint(10, (70,)))


@pytest.mark.parametrize(
    ("more", "field", "remedy"),
    [
        ({"scheme": "uchida"}, "scheme", "passport_v1"),
        ({"loader": [1, 2]}, "loader", "DataLoader"),
        ({"loader": DataLoader(TensorDataset(torch.zeros(4, 3, 16, 16)), 2)}, "loader", "images and labels"),
        ({"loader": DataLoader(TensorDataset(NOISE.tensors[0], torch.rand(70)), 10)}, "loader", "images and labels"),
        ({"test": DataLoader(NOISE, 10)}, "test", "normalised=(mean, std)"),
        ({"test": DataLoader(Subset(NOISE, []), 10)}, "test", "give images to judge on"),
        ({"layers": ["conv9"]}, "scheme.layers", "choose among"),
        ({"settings": ("optimizer.rate=1",)}, "arguments", "ipr train --help"),
        ({"settings": ("passport=shuffled",)}, "passport", "random"),
        ({"owner": "two\nlines"}, "owner", "name"),
        ({"normalised": ((0.0,), (1.0,))}, "test", "normalised"),
        ({"epochs": 0}, "trainer.max_epochs", ""),
    ],
)
def test_what_does_not_fit_is_named(owners, more, field, remedy):
    model, train, test = owners
    given = {"loader": train, "scheme": "passport_v2", "test": test, "epochs": 1} | more
    settings = (*QUIET, *given.pop("settings", ()))
    with pytest.raises(ipr.InputError) as error:
        ipr.embed(model, given.pop("loader"), given.pop("scheme"), settings=settings, **given)
    assert error.value.field == field
    assert remedy in error.value.remedy + error.value.problem
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", [10, -1])
def test_labels_to_train_on_that_the_network_has_no_output_for_are_named(owners, label):
    """One in the last batch alone; what torch leaves out of a loss is no such label."""
    model, _, test = owners
    images, labels = torch.randn(30, 3, 16, 16), torch.arange(30) % 10
    labels[0], labels[-1] = -100, label
    loader = DataLoader(TensorDataset(images, labels), 10)
    with pytest.raises(ipr.InputError, match=rf"loader=<labels {label}>.*10 outputs.*from 0 to 9") as error:
        ipr.embed(model, loader, test=test, epochs=1, settings=QUIET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("more", "told"), [({}, 1), ({"settings": "passport.key=k"}, 0), ({"key": "k"}, 0)])
def test_secrets_without_a_key_are_told_of_in_one_line(owners, more, told, capsys):
    model, train, test = owners
    small = DataLoader(Subset(train.dataset, range(64)), 32)
    settings = [*QUIET, more.pop("settings")] if "settings" in more else QUIET
    ipr.embed(model, small, test=test, epochs=1, settings=settings, **more)
    line = "ipr: warning: secrets follow from the seed: fit for research only; set key for a release\n"
    assert capsys.readouterr().err.count(line) == told


def test_a_network_that_answers_with_no_logits_is_refused(owners):
    class Two(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return {"out": self.inner(x)}

    with pytest.raises(ipr.InputError, match="logits"):
        embed((Two(owners[0]), *owners[1:]), "passport_v2")


def test_a_claim_is_decided_as_the_command_line_decides(owners, tmp_path):
    """`consistent` of the record is what the judge's conditions say."""
    protected = embed(owners, "passport_v2", 6)
    assert protected.record.consistent is protected.holds
    told = json.dumps(protected.claim.facts())
    assert protected.claim.thresholds.target_accuracy == protected.record.accuracy_genuine
    assert "twenty letters" not in told


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2"])
def test_a_transformer_is_protected_with_its_owners_optimiser(folder, scheme, tmp_path):
    """torchvision's class and AdamW: every bit is read, and what is given away loads into the plain class."""

    def build():
        torch.manual_seed(0)
        return torchvision.models.VisionTransformer(16, 2, 3, 2, 64, 128, num_classes=10)

    train, test = owned.loaders(folder)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(4):
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    protected = embed((model, train, test), scheme, optimizer=lambda weights: torch.optim.AdamW(weights, 1e-3))
    record = protected.record
    assert record.bits_agreeing == record.bits_total == 320
    assert record.accuracy_genuine > protected.before - 0.05
    if scheme == "passport_v1":
        assert record.accuracy_without < 0.5 * record.accuracy_genuine
    place = protected.save(tmp_path / "mine") if protected.holds else None
    fresh = build()
    fresh.load_state_dict(protected.public().state_dict())
    assert owned.right(fresh, test) == pytest.approx(record.accuracy_without, abs=1e-6)
    assert place is None or (place / "claim").is_dir()
