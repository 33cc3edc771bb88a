"""Networks of other people: what they answer with, and whether they can be used, is said in one line."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn

import ipr
from ipr.data.images import LabelledImages
from ipr.judging.fidelity import accuracy
from ipr.watermarks.key_images import answers


class Net(nn.Module):
    """Answers with what `how` makes of its logits."""

    def __init__(self, how) -> None:
        super().__init__()
        self.how, self.conv, self.norm, self.fc = how, nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x):
        return self.how(self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


Answer = namedtuple("Answer", "logits aux")
IMAGES = LabelledImages(
    torch.randint(256, (6, 8, 8, 3), dtype=torch.uint8), torch.arange(6) % 4, (0.5,) * 3, (0.25,) * 3
)
EXAMPLE = torch.zeros(1, 3, 8, 8)
OTHERS = {
    "a mapping": lambda y: {"logits": y},
    "several": lambda y: (y, y),
    "named": lambda y: Answer(y, y),
    "nothing": lambda y: None,
}


def claim_for(network):
    """For a network of the same layers, whatever it answers with."""
    passport = ipr.random_passport(ipr.find_layers(Net(lambda y: y), EXAMPLE), torch.Generator().manual_seed(1))
    bits = {"conv": torch.tensor([1, -1] * 4, dtype=torch.int8)}
    return ipr.PassportClaim(thresholds=ipr.Thresholds(None), passport=passport, signature=bits)


@pytest.mark.parametrize("how", OTHERS)
def test_an_answer_that_is_no_tensor_is_refused_wherever_one_is_needed(how):
    network = Net(OTHERS[how]).eval()
    claim = claim_for(network)
    protected = ipr.protect(Net(lambda y: y), claim.passport, EXAMPLE, public_affine=True)
    protected.how = OTHERS[how]
    for use in (
        lambda: ipr.find_layers(network, EXAMPLE),
        lambda: ipr.protect(network, claim.passport, EXAMPLE, public_affine=True),
        lambda: ipr.judge(network, claim, IMAGES, forged=1),
        lambda: ipr.fork(protected, EXAMPLE),
        lambda: ipr.fold(network, EXAMPLE),
        lambda: accuracy(network, IMAGES),
        lambda: answers(network, IMAGES),
    ):
        with pytest.raises(
            ipr.InputError, match=r"network=Net: answers with .*, and not with logits.*returns its logits"
        ):
            use()


def test_answers_for_every_pixel_are_no_classes():
    network = Net(lambda y: y[:, :, None, None].expand(-1, -1, 8, 8))
    with pytest.raises(ipr.InputError, match=r"answers with a tensor of shape \(6, 4, 8, 8\) to 6 images"):
        accuracy(network, IMAGES)


def test_a_network_without_weights_and_what_is_no_network_are_refused():
    claim = claim_for(Net(lambda y: y))
    with pytest.raises(ipr.InputError, match="has no weights"):
        ipr.judge(nn.Flatten(), claim, IMAGES)
    with pytest.raises(ipr.InputError, match=r"is no module of torch.*judge_black_box"):
        ipr.judge(lambda x: x, claim, IMAGES)


def test_logits_are_judged_as_before():
    network = Net(lambda y: y).eval()
    verdict = ipr.judge(network, claim_for(network), IMAGES, forged=1)
    assert len(verdict.accuracy_forged) == 1
