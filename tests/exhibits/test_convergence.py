import pytest
import torch

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.exhibits.convergence import EpochRecorder, final_from, mean_change, quarter
from ipr.judging.claim_kinds import load_claim
from ipr.schemes.start import load_suspect, plain_network
from ipr.workflows.exhibit import exhibit
from ipr.workflows.train import train
from reference_forms import naive_affine

CHANGING = {"key", "finished"}


def test_by_hand():
    assert [quarter(n) for n in (1, 3, 4, 20, 200)] == [1, 1, 1, 5, 50]
    assert mean_change(torch.tensor([[0.0, 1.0], [1.0, -1.0]])) == 1.5
    assert mean_change(torch.zeros(1, 3)) is None
    for agreeing, first in (("", None), ("0", None), ("1", 1), ("0110", None), ("0111", 2), ("1011", 3), ("111", 1)):
        assert final_from([digit == "1" for digit in agreeing]) == first, agreeing


@pytest.mark.parametrize(("scheme", "norm"), [("passport_v1", "bn"), ("passport_v2", "gn"), ("baseline", "bn")])
@pytest.mark.sampled(3)
def test_the_last_epoch_is_the_run_of_ipr_train(exhibit_for, scheme, norm):
    config = exhibit_for(f"scheme={scheme}", "exhibit=convergence", "exhibit.channels=5")
    shown = exhibit(config)
    run = train(config)
    assert not run.found  # the exhibit trained its own
    data = open_images(config.dataset, config.paths)
    network = load_suspect(config.model, data, run.folder.weights)
    if scheme == "baseline":
        gamma, beta, reached = network.norm4.weight, network.norm4.bias, run.record.accuracy_without
    else:
        with torch.no_grad():
            gamma, beta = naive_affine(network.conv4, load_claim(run.folder.claim).passport["conv4"])
        reached = run.record.accuracy_genuine
    assert torch.allclose(shown.arrays["scales"][-1], gamma[:5], atol=1e-5)
    assert torch.allclose(shown.arrays["shifts"][-1], beta[:5], atol=1e-5)
    assert shown.arrays["scales"].shape == (2, 5)
    *epochs, summary = shown.facts
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert epochs[-1]["test_accuracy"] == summary["final_accuracy"] == pytest.approx(reached)
    if scheme == "baseline":
        assert summary["signs_final"] is None
        assert "bits_total" not in epochs[-1]
    else:
        assert (epochs[-1]["bits_agreeing"], epochs[-1]["bits_total"]) == (run.record.bits_agreeing, 224)
    scales = shown.arrays["scales"]
    assert summary["scale_change_last"] == pytest.approx((scales[1] - scales[0]).abs().mean().item())


def test_the_update_of_the_first_epoch_is_from_the_start(exhibit_for):
    asked = ("scheme=passport_v1", "exhibit=convergence", "exhibit.layer=conv3", "trainer.max_epochs=1")
    config = exhibit_for(*asked)
    shown = exhibit(config)
    data = open_images(config.dataset, config.paths)
    start = plain_network(config.model, data, config.seed).conv3.weight
    end = load_suspect(config.model, data, train(config).folder.weights).conv3.weight
    assert shown.arrays["weight_update"].tolist() == pytest.approx([(end - start).abs().mean().item()])
    assert shown.facts[-1]["layer"] == "conv3"
    assert shown.facts[-1]["accuracy_std_last"] is None
    with pytest.raises(InputError, match=r"exhibit\.layer=conv1"):
        exhibit(exhibit_for("scheme=passport_v1", "exhibit=convergence", "exhibit.layer=conv1"))


def test_an_interrupted_training_goes_on_with_what_was_seen(exhibit_for, monkeypatch):
    asked = ("scheme=passport_v1", "exhibit=convergence", "trainer.max_epochs=3")
    whole = exhibit(exhibit_for(*asked, "paths.runs=whole"))
    look, calls = EpochRecorder.on_train_epoch_end, []

    def stopped(self, trainer, pl_module):
        calls.append(trainer.current_epoch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        look(self, trainer, pl_module)

    with monkeypatch.context() as patched:
        patched.setattr(EpochRecorder, "on_train_epoch_end", stopped)
        with pytest.raises(KeyboardInterrupt):
            exhibit(exhibit_for(*asked))
    again = exhibit(exhibit_for(*asked))
    assert not again.found
    assert calls == [0, 1, 2]
    assert all(torch.equal(whole.arrays[name], array) for name, array in again.arrays.items())
    for one, other in zip(whole.facts, again.facts, strict=True):
        assert {k: v for k, v in one.items() if k not in CHANGING} == {
            k: v for k, v in other.items() if k not in CHANGING
        }
