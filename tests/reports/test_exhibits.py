"""Figures of exhibits show the numbers that they are given."""

import numpy as np
import pytest
import torch

from ipr.config.registry import entries
from ipr.reports.exhibits import exhibit_pictures


def images(count, channels):
    return torch.randint(256, (count, 8, 8, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def watermark(tuned):
    source = torch.Generator().manual_seed(0)
    arrays = {f"projection_{who}": torch.randn(16, 30, generator=source) for who in ("genuine", "forged")}
    stems = ("features", "tuned") if tuned else ("features",)
    arrays |= {f"{stem}_{who}": torch.randn(16, generator=source) for stem in stems for who in ("genuine", "forged")}
    facts = [
        {"state": state, "compared": compared, "ks_distance": distance}
        for state, compared, distance in (
            ("trained", "projection", 0.125), ("trained", "features", 0.25), ("fine-tuned", "features", 0.5),
        )
    ]  # fmt: skip
    return arrays, facts


@pytest.mark.parametrize("tuned", [True, False])
def test_figure_2(tuned, tmp_path):
    arrays, facts = watermark(tuned)
    (figure,) = exhibit_pictures("watermark_distributions", arrays, facts).values()
    assert [axes.get_title()[-9:] for axes in figure.axes] == ["KS 0.125)", "KS 0.250)", "KS 0.500)"][: 2 + tuned]
    expected, edges = np.histogram(
        arrays["projection_forged"], figure.axes[0].patches[2].get_data().edges, density=True
    )
    assert figure.axes[0].patches[2].get_data().values == pytest.approx(expected)
    assert np.sum(expected * np.diff(edges)) == pytest.approx(1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["genuine", "forged"]
    figure.savefig(tmp_path / "figure.svg")


@pytest.mark.parametrize("channels", [1, 3])
def test_figures_3_and_4(channels, tmp_path):
    arrays = {name: images(5, channels) for name in ("base", "noise", "forged", "genuine")}
    arrays |= {f"histogram_{who}": torch.arange(64.0) + 1 for who in ("genuine", "forged", "base")}
    facts = [{"compared": "genuine and forged", "total_variation": 0.25}]
    pictures = exhibit_pictures("trigger_images", arrays, facts)
    assert list(pictures) == ["figure_03", "figure_04"]
    shown = pictures["figure_03"].axes
    assert len(shown) == 4 * 5
    assert np.array_equal(shown[5 * 2 + 3].images[0].get_array(), arrays["forged"][3].squeeze(-1))
    (axes,) = pictures["figure_04"].axes
    assert axes.patches[0].get_data().values.sum() == pytest.approx(1)
    assert "0.250" in axes.get_title()
    for stem, figure in pictures.items():
        figure.savefig(tmp_path / f"{stem}.svg")


def test_figures_6_and_7(tmp_path):
    layers = {"conv1": 3, "conv4": 4}  # fewer channels than are drawn elsewhere
    arrays = {
        f"{kind}_{name}": images(count, 1)[..., 0]
        for kind in ("random", "image", "shuffled") for name, count in layers.items()
    }  # fmt: skip
    arrays |= {"image_input": images(1, 3), "shuffled_input": images(2, 3)}
    facts = [{"kind": k, "layer": name, "energy": 1.0} for k in ("random", "image", "shuffled") for name in layers]
    pictures = exhibit_pictures("passport_kinds", arrays, facts)
    sixth, seventh = (pictures[stem].axes for stem in ("figure_06", "figure_07"))
    assert [axes.get_title() for axes in sixth[:3]] == ["input", "conv1", "conv4"]
    assert not sixth[0].images  # a random passport comes from no image
    assert np.array_equal(sixth[3 * 1 + 2].images[0].get_array(), arrays["image_conv4"][0])
    assert len(seventh) == 2 * 5
    assert np.array_equal(seventh[2 * 3 + 1].images[0].get_array(), arrays["shuffled_conv4"][2])
    assert not seventh[2 * 4].images  # conv1 has no fourth channel
    for stem, figure in pictures.items():
        figure.savefig(tmp_path / f"{stem}.svg")


@pytest.mark.parametrize("epochs", [1, 6])
def test_figure_9(epochs, tmp_path):
    source = torch.Generator().manual_seed(0)
    arrays = {name: torch.rand(epochs, generator=source) for name in ("accuracy", "weight_update")}
    arrays |= {name: torch.randn(epochs, 10, generator=source) for name in ("scales", "shifts")}
    (figure,) = exhibit_pictures("convergence", arrays, [{"epoch": 1}, {"summary": "x", "layer": "conv4"}]).values()
    accuracy, _, scales, _ = figure.axes
    assert accuracy.lines[0].get_ydata() == pytest.approx(100 * arrays["accuracy"].numpy())
    assert list(accuracy.lines[0].get_xdata()) == list(range(1, epochs + 1))
    assert scales.lines[3].get_ydata() == pytest.approx(arrays["scales"][:, 3].numpy())
    figure.savefig(tmp_path / "figure.svg")


def test_figure_10_with_constant_shifts(tmp_path):
    source = torch.Generator().manual_seed(0)
    arrays = {f"{of}_{who}": torch.randn(64, generator=source) for of in ("weights", "scales", "shifts")
              for who in ("baseline", "passport")}  # fmt: skip
    arrays["shifts_baseline"] = arrays["shifts_passport"] = torch.zeros(64)
    facts = [{"layer": "conv4", "network": "baseline"}, {"layer": "conv4", "compared": "weights", "ks_distance": 0.125}]
    (figure,) = exhibit_pictures("distributions", arrays, facts).values()
    assert [axes.get_title() for axes in figure.axes] == [
        "(a) weights, conv4 (KS 0.125)", "(b) scales, conv4", "(c) shifts, conv4",
    ]  # fmt: skip
    figure.savefig(tmp_path / "figure.svg")


def test_what_makes_a_table_has_no_figure():
    with_figures = {"watermark_distributions", "trigger_images", "passport_kinds", "convergence", "distributions"}
    assert entries("exhibit").keys() - with_figures == {"scale_signs", "timing"}
    assert exhibit_pictures("scale_signs", {}, []) == exhibit_pictures("timing", {}, []) == {}


def test_on_a_phone_panels_stand_below_one_another_and_grids_stay_as_they_are():
    epochs = torch.linspace(0, 1, 3)
    arrays = dict.fromkeys(("accuracy", "weight_update"), epochs)
    arrays |= {name: epochs[:, None].repeat(1, 2) for name in ("scales", "shifts")}
    facts = [{"epoch": 1}, {"summary": "x", "layer": "conv4"}]
    (figure,) = exhibit_pictures("convergence", arrays, facts, narrow=True).values()
    assert 96 * figure.get_figwidth() < 360
    figure.draw_without_rendering()
    lefts = {round(axes.get_subplotspec().colspan.start) for axes in figure.axes}
    assert (len(figure.axes), lefts) == (4, {0})
    assert exhibit_pictures("passport_kinds", {}, [], narrow=True) == {}
