"""Any callable as a suspect: what it is sent, what it may answer, and that nothing is asked twice."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from ipr.errors import InputError
from ipr.suspects.served.black_box import BlackBox

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Recording:
    """A callable that notes what it is sent, and fails at one call."""

    def __init__(self, ask, failing=None):
        self.ask, self.failing, self.sent = ask, failing, []

    def __call__(self, images):
        if len(self.sent) == self.failing:
            self.failing = None
            raise ConnectionError("gone")
        self.sent.append(images)
        return self.ask(images)

    @property
    def sizes(self):
        return [len(images) for images in self.sent]


@pytest.mark.parametrize("classes_only", [False, True], ids=["scores", "classes"])
def test_the_answers_are_the_networks_own_in_batches(classes_only, ask, pixels, own_answers):
    record = Recording((lambda x: ask(x).argmax(1)) if classes_only else ask)
    suspect = BlackBox(record, 10, batch_size=16)
    found = suspect.answers(pixels, MEAN, STD)
    assert torch.equal(found, own_answers)
    assert (found.dtype, suspect.queries) == (torch.int64, 40)
    assert record.sizes == [16, 16, 8]
    sent = np.concatenate(record.sent)
    assert (sent.dtype, sent.shape) == (np.float32, (40, 3, 8, 8))
    assert sent.flags["C_CONTIGUOUS"]
    wanted = (pixels.numpy().transpose(0, 3, 1, 2) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(sent, wanted, atol=1e-5)


def test_equal_images_are_asked_once_also_in_a_later_call(ask, pixels, own_answers):
    record = Recording(ask)
    suspect = BlackBox(record, 10)
    twice = torch.cat([pixels, pixels.flip(0), pixels[3:5]])
    assert torch.equal(
        suspect.answers(twice, MEAN, STD), torch.cat([own_answers, own_answers.flip(0), own_answers[3:5]])
    )
    assert torch.equal(suspect.answers(pixels[:7], MEAN, STD), own_answers[:7])
    assert sum(record.sizes) == suspect.queries == 40
    suspect.answers(pixels[:7], (0.5,) * 3, STD)  # what is sent then differs
    assert suspect.queries == 47
    assert suspect.answers(pixels[:0], MEAN, STD).shape == (0,)


def test_asking_goes_on_where_it_broke_off(ask, pixels, own_answers, tmp_path):
    place, record = tmp_path / "mine" / "answers", Recording(ask, failing=2)
    with pytest.raises(ConnectionError):  # the callable's own errors are its caller's
        BlackBox(record, 10, name="net", batch_size=8, answers=place).answers(pixels, MEAN, STD)
    with (place / "answers.jsonl").open("ab") as file:
        file.write(b'\n{"0123": 4, "45')  # a machine that went down while it wrote
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "answers.jsonl").stat().st_mode) == 0o600
    again = BlackBox(record, 10, name="net", batch_size=8, answers=place)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert torch.equal(again.answers(pixels[order], MEAN, STD), own_answers[order])
    assert (again.queries, record.sizes) == (24, [8] * 5)
    assert len({x.tobytes() for x in np.concatenate(record.sent)}) == 40
    third = BlackBox(record, 10, name="net", answers=place)
    assert torch.equal(third.answers(pixels, MEAN, STD), own_answers)
    assert third.queries == 0
    whole = [line for line in (place / "answers.jsonl").read_text().split("\n") if line.endswith("}")]
    kept = {key: answer for line in whole for key, answer in json.loads(line).items()}
    assert len(whole) == 5
    assert sorted(kept.values()) == sorted(own_answers.tolist())
    assert {len(key) for key in kept} == {64}


def test_kept_answers_are_of_one_suspect_and_believed_only_where_they_can_be(ask, pixels, tmp_path):
    BlackBox(ask, 10, name="net", answers=tmp_path).answers(pixels, MEAN, STD)
    other = BlackBox(ask, 10, name="other", answers=tmp_path)
    other.answers(pixels[:5], MEAN, STD)
    assert other.queries == 5
    path = tmp_path / "answers.jsonl"
    line = path.read_text().splitlines()[1]
    impossible = ["[]", "3", line[:-1] + ', "a": 10}', line[:-1] + ', "a": "1"}', line[:-1] + ', "a": true}', line[:-1]]
    path.write_bytes("\n".join(impossible).encode() + b"\n\xff")
    again = BlackBox(ask, 10, name="net", answers=tmp_path)
    again.answers(pixels, MEAN, STD)
    assert again.queries == 40


def test_the_budget_is_never_passed_and_nothing_is_spent_in_vain(ask, pixels, own_answers, tmp_path):
    suspect = BlackBox(ask, 10, name="net", budget=30, answers=tmp_path)
    assert torch.equal(suspect.answers(pixels[:20], MEAN, STD), own_answers[:20])
    with pytest.raises(InputError, match=r"budget=30: 20 images were sent, and 20 more are needed; give at least 40"):
        suspect.answers(pixels, MEAN, STD)
    assert suspect.queries == 20
    assert torch.equal(suspect.answers(pixels[:30], MEAN, STD), own_answers[:30])  # exactly as many
    later = BlackBox(ask, 10, name="net", budget=10, answers=tmp_path)
    assert torch.equal(later.answers(pixels, MEAN, STD), own_answers)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (lambda n: None, "NoneType, not with an array"),
        (lambda n: torch.zeros(n, 10), "Tensor, not with an array"),
        (lambda n: [0] * n, "list, not with an array"),
        (lambda n: np.zeros((n, 9)), r"float64 of shape \(32, 9\), to 32 images of 10 classes"),
        (lambda n: np.zeros((n - 1, 10), np.float32), r"float32 of shape \(31, 10\)"),
        (lambda n: np.zeros((n, 10, 1)), r"shape \(32, 10, 1\)"),
        (lambda n: np.zeros((n, 10), int), "int64 of shape"),
        (lambda n: np.zeros(n), "float64 of shape"),
        (lambda n: np.zeros(n, bool), "bool of shape"),
        (lambda n: np.array(["cat"] * n), "<U3 of shape"),
        (lambda n: np.array([{}] * n, object), "object of shape"),
        (lambda n: np.full((n, 10), np.nan), "NaN or infinite"),
        (lambda n: np.full((n, 10), np.inf), "NaN or infinite"),
        (lambda n: np.full(n, 10), "class 10, where there are 10"),
        (lambda n: np.full(n, -1), "class -1"),
        (lambda n: np.full(n, 2**64 - 1, np.uint64), "class 18446744073709551615"),
    ],
)
def test_an_answer_that_is_none_is_refused_and_not_kept(answer, what, pixels, tmp_path):
    suspect = BlackBox(lambda x: answer(len(x)), 10, name="net", answers=tmp_path)
    with pytest.raises(InputError, match=f"suspect=net: answers with .*{what}") as refused:
        suspect.answers(pixels, MEAN, STD)
    assert "\n" not in str(refused.value)
    assert not Path("answers.jsonl").exists()
    assert suspect.queries == 32  # it was sent them


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"batch_size": 0}, "batch_size"), ({"budget": -1}, "budget"), ({"answers": Path("kept")}, "answers")],
)
def test_settings_that_cannot_be(settings, field):
    with pytest.raises(InputError, match=f"^{field}="):
        BlackBox(lambda x: x, 10, **settings)


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"answers=.*cannot be used"):
        BlackBox(lambda x: x, 10, name="net", answers=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
