"""Dataset inference with coins: which images are trained on, what a suspect says, and what a forger gets."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from ipr.claims.base import Thresholds
from ipr.config.rule import Rule
from ipr.config.schema import SchemeConfig
from ipr.data.images import LabelledImages
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.decision import decide
from ipr.judging.evidence import Provenance, from_weights
from ipr.judging.redraw import redraw
from ipr.judging.registration import IN_TIME
from ipr.judging.verdict import judge
from ipr.models.inspection import classifier_of
from ipr.schemes.baseline import Baseline
from ipr.schemes.dataset_inference import DatasetInference, DatasetInferenceClaim, margins, pairs_of, places_of
from ipr.schemes.start import load_suspect
from ipr.training.fit import fit
from ipr.workflows.train import train
from references import memorise, small, watermark

LEARNED = ("trainer.max_epochs=10", "dataset.limit_train=400", "optimizer.batch_size=64", "dataset.image_size=16")
PARTS = {"thresholds": Thresholds(None), "architecture": {"num_classes": 10}}


def claimed(pixels, labels, salt=0, owner=""):
    return DatasetInferenceClaim(pixels=pixels, labels=labels, salt=f"{salt:064x}", owner=owner, **PARTS)


class Answers(nn.Module):
    """A suspect whose answers are a function of the true class that an image's first pixel tells."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.answer(x)


@pytest.fixture
def run(request_for, trained):
    """A real run of a second or two, its request and its images."""
    config = request_for("scheme=dataset_inference", "passport.key=mine", "trigger_set.size=40", *LEARNED)
    return trained(config), config, open_images(config.dataset, config.paths)


def test_the_owners_network_is_read_and_one_that_was_trained_on_both_is_not(run):
    made, config, data = run
    claim = load_claim(made.folder.claim)
    own = load_suspect(config.model, data, made.folder.weights)
    plain = train(replace(config, scheme=SchemeConfig("baseline", "bn")))
    assert plain.found  # the pairs were chosen by it
    other = load_suspect(config.model, data, plain.folder.weights)
    assert 10 <= sum(claim.read(other, data.mean, data.std).agreeing.values()) <= 30
    read = claim.read(own, data.mean, data.std)
    assert read.agreement >= 0.85
    (agreeing,), (total,) = read.agreeing.values(), read.total.values()
    assert total == 40
    expected = binomtest(agreeing, total, 0.5, alternative="greater").pvalue
    assert read.p_value == pytest.approx(expected, rel=1e-9)


def test_margins_by_hand_and_what_is_no_number_leads_nothing():
    rows = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 2.5], [torch.nan, 1.0, 2.0], [torch.inf, torch.inf, 0.0]])
    images = LabelledImages(torch.zeros(4, 2, 2, 1, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), (0.5,), (0.5,))
    found = margins(Answers(lambda x: rows), images)
    assert found[:2].tolist() == [0.5, -2.0]
    assert found[2:].isnan().all()
    with pytest.raises(InputError, match="do not fit the suspect"):
        margins(Answers(lambda x: rows[:, :1]), images)


def test_pairs_are_of_one_class_hardest_first_and_never_of_one_image_twice(data):
    network = small("alexnet", "bn")
    memorise(network, data)
    repeated = data.train_pixels.clone()
    repeated[10], repeated[33] = repeated[0], repeated[3]  # of the same classes, 0 and 3
    data = replace(data, train_pixels=repeated, held_out=torch.tensor([1, 2]))
    pairs = pairs_of(data, 12, torch.Generator(), network)
    assert torch.equal(data.train_labels[pairs[:, 0]], data.train_labels[pairs[:, 1]])
    assert pairs.unique().numel() == 24
    assert not {1, 2} & {*pairs.flatten().tolist()}
    assert len(data.train_pixels[pairs.flatten()].flatten(1).unique(dim=0)) == 24
    margin = margins(network, LabelledImages(data.train_pixels, data.train_labels, data.mean, data.std))
    sums = margin[pairs].sum(1)
    assert bool((sums.diff() >= 0).all())
    for label in range(10):  # an independent reference: sort the class, pair neighbours
        mine = {frozenset(pair.tolist()) for pair in pairs[data.train_labels[pairs[:, 0]] == label]}
        kept = [i for i in range(64) if data.train_labels[i] == label and i not in (0, 1, 2, 3)]
        if label in (0, 3):
            continue
        ordered = sorted(kept, key=lambda i: float(margin[i]))
        assert mine <= {frozenset(ordered[i : i + 2]) for i in range(0, len(ordered) - 1, 2)}
    with pytest.raises(InputError, match="pairs of training images of one class"):
        pairs_of(data, 33, torch.Generator(), network)
    drawn = [pairs_of(data, 12, torch.Generator().manual_seed(seed), None) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(data.train_labels[drawn[0][:, 0]], data.train_labels[drawn[0][:, 1]])


def test_what_is_left_out_is_in_no_batch_wherever_it_lies(request_for, data, tmp_path):
    config = request_for("scheme=dataset_inference", "dataset.crop_padding=0", "optimizer.batch_size=16")
    claim = watermark("dataset_inference", small("alexnet", "bn"), data)
    copied, paired = data.train_pixels.clone(), places_of(claim.pixels, data).tolist()
    copied[min({*range(64)} - {*paired})] = claim.left_out[0]  # once more, under whatever label
    data = replace(data, train_pixels=copied)
    scheme = DatasetInference.embedding(claim, small("alexnet", "bn"), config.optimizer, data, per_step=2)
    seen = []
    scheme.terms = lambda x, y: (seen.append(x.clone()), Baseline.terms(scheme, x, y))[1]
    where = {"checkpoint": tmp_path / "c" / "last.ckpt", "metrics": tmp_path / "metrics.csv"}
    fit(scheme, data, config, epochs=3, clip_norm=None, seed=0, **where)
    assert places_of(claim.left_out, data).numel() == len(claim.left_out) + 1
    white = torch.cat(seen).permute(0, 2, 3, 1) * 0.25 + 0.5
    there = {bytes(image.mul(255).round().to(torch.uint8).contiguous().numpy()) for image in white}
    assert there
    assert not there & {bytes(image.contiguous().numpy()) for image in claim.left_out}
    assert there & {bytes(image.contiguous().numpy()) for image in claim.members.pixels}


def pairs_of_noise():
    source = torch.Generator().manual_seed(0)
    return torch.randint(256, (120, 2, 2, 1), dtype=torch.uint8, generator=source), torch.arange(60) % 10


def test_the_bits_say_which_of_each_pair_is_trained_on():
    claim = claimed(*pairs_of_noise())
    for k in range(60):
        first, second = claim.pixels[2 * k], claim.pixels[2 * k + 1]
        member, other = (first, second) if claim.bits[k] == 1 else (second, first)
        assert torch.equal(claim.members.pixels[k], member)
        assert torch.equal(claim.left_out[k], other)


@pytest.mark.parametrize("part", ["a pixel", "the labels", "the salt", "the owner", "the order"])
@pytest.mark.sampled(2)
def test_everything_that_a_claimant_chooses_changes_the_bits(part):
    pixels, labels = pairs_of_noise()
    moved = pixels.clone()
    moved[7, 0, 0, 0] += 1
    changed = {
        "a pixel": (moved, labels),
        "the labels": (pixels, labels.flip(0)),
        "the salt": (pixels, labels, 1),
        "the owner": (pixels, labels, 0, "Eve"),
        "the order": (pixels.flip(0), labels),
    }[part]
    # nine of ten in common, or in none, would be one signature (`ipr dispute`)
    assert 15 <= int((claimed(*changed).bits != claimed(pixels, labels).bits).sum()) <= 45


def test_a_network_that_never_saw_the_split_answers_by_coins_whatever_images_are_chosen(data):
    """Real networks, trained on all of the images: random pairs, and pairs that a forger has put in order for them."""
    networks = []
    for seed in range(3):
        networks.append(small("alexnet", "bn"))
        with torch.no_grad():
            classifier_of(networks[-1])[1].weight.mul_(1 + seed)
        memorise(networks[-1], data, 12 + seed)
    victim = networks[0]
    margin = margins(victim, LabelledImages(data.train_pixels, data.train_labels, data.mean, data.std))
    ordered = margin.argsort(descending=True)  # easiest beside hardest, the easiest first
    easy_first = torch.stack([ordered[:32], ordered[32:].flip(0)], 1)
    agreeing = total = 0
    for salt in range(2):
        forged = claimed(data.train_pixels[easy_first.flatten()], data.train_labels[easy_first[:, 0]], salt)
        # all of the pairs are in order, so that the bits alone decide
        images = LabelledImages(forged.pixels, forged.labels.repeat_interleave(2), data.mean, data.std)
        first, second = margins(victim, images).view(-1, 2).T
        expected = int(((first > second) == (forged.bits > 0)).sum())
        assert sum(forged.read(victim, data.mean, data.std).agreeing.values()) == expected
        for network in networks:
            agreeing += sum(forged.read(network, data.mean, data.std).agreeing.values())
            total += 32
    # the networks are alike, and share their coins: as if there were one
    assert abs(agreeing / total - 0.5) < 4 * 0.5 / (total / 3) ** 0.5


def test_what_answers_all_alike_or_with_no_number_agrees_with_nothing(data):
    claim = watermark("dataset_inference", small("alexnet", "bn"), data)
    for answer in (
        lambda x: torch.zeros(len(x), 10),
        lambda x: torch.full((len(x), 10), torch.nan),
        lambda x: torch.full((len(x), 10), torch.inf),
        lambda x: torch.ones(len(x), 10).softmax(1),
    ):
        read = claim.read(Answers(answer), data.mean, data.std)
        assert read.agreement == 0
        assert read.p_value == 1.0


def test_labels_alone_decide_only_where_one_of_a_pair_is_mistaken(data):
    network = small("alexnet", "bn")
    memorise(network, data)
    claim = watermark("dataset_inference", network, data)

    def labels_only(x):
        network.eval()
        return nn.functional.one_hot(network(x).argmax(1), 10).float()

    images = LabelledImages(claim.pixels, claim.labels.repeat_interleave(2), data.mean, data.std)
    right = (margins(network, images) > 0).view(-1, 2).int()
    expected = int(((right[:, 0] - right[:, 1]) == claim.bits).sum())
    assert sum(claim.read(Answers(labels_only), data.mean, data.std).agreeing.values()) == expected


def test_a_dated_claim_needs_no_calibration_and_another_name_gets_nothing(run):
    made, config, data = run
    claim = load_claim(made.folder.claim)
    own = load_suspect(config.model, data, made.folder.weights)

    def outcome(claim):
        limits = replace(claim.thresholds, target_accuracy=0.9, p_value=1e-6)  # of 40 pairs
        claim = replace(claim, thresholds=limits)
        evidence = from_weights(judge(own, claim, data.test_images), claim, 0.1)
        where = Provenance(IN_TIME, "a test", redraw(claim, data), same=True)
        return decide(evidence, limits, provenance=where, rule=Rule(p_value=1e-6))

    mine = outcome(claim)
    assert mine.verified, mine.deciding
    assert {one.name: one.required for one in mine.conditions}["null"] is False
    theirs = outcome(replace(claim, owner="Eve"))
    assert not theirs.verified
    assert [one.name for one in theirs.deciding] == ["signature"]
