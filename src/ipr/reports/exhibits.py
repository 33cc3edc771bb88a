"""Figures of exhibits: small multiples, drawn from what `ipr.workflows.exhibit` keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ipr.exhibits.base import Fact
from ipr.reports.colours import DARK, FORGED, GENUINE
from ipr.store.folder import RunFolder
from ipr.workflows.exhibit import arrays_path, facts_path, load_arrays, load_facts

Arrays = Mapping[str, Tensor]

COLOUR_OF = {
    "genuine": GENUINE,
    "forged": FORGED,
    "passport": GENUINE,
    "baseline": DARK,
}
"""Genuine and forged, and a passport network beside its baseline; told apart by every kind of colour vision."""


def exhibit_pictures(name: str, arrays: Arrays, facts: Sequence[Fact], *, narrow: bool = False) -> dict[str, Figure]:
    """What an exhibit has to draw: stem of a file -> figure.

    Args:
        name: of the exhibit; those whose facts make a table (`scale_signs`, `timing`) have no figure.
        arrays: its arrays.
        facts: its facts.
        narrow: whether they are to be as wide as a phone; those that are drawn for one size only are left out.
    """
    panels = {stem: draw(arrays, facts, narrow) for stem, draw in _PANELS.get(name, {}).items()}
    grids = {} if narrow else {stem: draw(arrays, facts) for stem, draw in _GRIDS.get(name, {}).items()}
    return dict(sorted((panels | grids).items()))


def pictures_of(name: str, folder: Path, *, narrow: bool = False) -> dict[str, Figure]:
    """What a kept exhibit has to draw: stem of a file -> figure.

    Args:
        name: of the exhibit.
        folder: `runs/exhibit/<key>`.
        narrow: see `exhibit_pictures`.

    Raises:
        InputError: what it keeps cannot be read.
    """
    kept = RunFolder(folder)
    return exhibit_pictures(name, load_arrays(arrays_path(kept)), load_facts(facts_path(kept)), narrow=narrow)


def watermark_figure(arrays: Arrays, facts: Sequence[Fact], narrow: bool = False) -> Figure:
    """Figure 2: X, what it extracts, and what it extracts after fine-tuning (where that was shown)."""
    wanted = {
        "projection": ("(a) watermark", "element of X", "projection", "trained"),
        "features": ("(b) extracted features", "sum over i of X_ji w_i", "features", "trained"),
        "tuned": ("(c) features after fine-tuning", "sum over i of X_ji w_i", "features", "fine-tuned"),
    }
    panels = {stem: panel for stem, panel in wanted.items() if f"{stem}_genuine" in arrays}
    figure, row = _row(len(panels), narrow)
    for axes, (stem, (title, label, compared, state)) in zip(row, panels.items(), strict=True):
        _density(axes, {who: arrays[f"{stem}_{who}"] for who in ("genuine", "forged")})
        distance = next(f["ks_distance"] for f in facts if f.get("compared") == compared and f["state"] == state)
        _label(axes, title, label, "density" if narrow or axes is row[0] else "", distance)
    return _with_legend(figure, row[0])


def trigger_image_figure(arrays: Arrays, facts: Sequence[Fact]) -> Figure:
    """Figure 3: base images, the trained noise, their sum, and genuine trigger images, a row each."""
    names = {"base": "base", "noise": "noise, scaled", "forged": "forged", "genuine": "genuine"}
    return _grid([(label, list(arrays[name])) for name, label in names.items()])


def trigger_pixel_figure(arrays: Arrays, facts: Sequence[Fact], narrow: bool = False) -> Figure:
    """Figure 4: how the pixels of genuine and forged trigger images are distributed."""
    figure, (axes,) = _row(1, narrow, width=4.5)
    for who in ("genuine", "forged"):
        counts = arrays[f"histogram_{who}"].numpy()
        edges = np.linspace(0, 256, counts.size + 1)
        axes.stairs(counts / counts.sum(), edges, color=COLOUR_OF[who], label=who, linewidth=1.2)
    distance = next(f["total_variation"] for f in facts if f.get("compared") == "genuine and forged")
    _label(axes, f"total variation distance {distance:.3f}", "pixel value", "share of pixels")
    axes.set_ylim(bottom=0)
    return _with_legend(figure, axes)


def passport_kind_figure(arrays: Arrays, facts: Sequence[Fact]) -> Figure:
    """Figure 6: each kind's input image (where it has one) and the first channel of its passport at each layer."""
    layers = _layers_of(facts)
    rows = []
    for kind, label in (("random", "random"), ("image", "fixed image"), ("shuffled", "shuffled")):
        inputs = arrays.get(f"{kind}_input")
        rows.append((label, [None if inputs is None else inputs[0], *(arrays[f"{kind}_{name}"][0] for name in layers)]))
    return _grid(rows, ["input", *layers])


def shuffled_passport_figure(arrays: Arrays, facts: Sequence[Fact]) -> Figure:
    """Figure 7: at each layer the image that was drawn, and the first channels of its map."""
    layers = _layers_of(facts)
    maps = [list(arrays[f"shuffled_{name}"]) for name in layers]
    rows: list[tuple[str, Sequence[Tensor | None]]] = [("image", list(arrays["shuffled_input"]))]
    for channel in range(max(map(len, maps))):
        rows.append((f"channel {channel + 1}", [own[channel] if channel < len(own) else None for own in maps]))
    return _grid(rows, layers)


def convergence_figure(arrays: Arrays, facts: Sequence[Fact], narrow: bool = False) -> Figure:
    """Figure 9: test accuracy, weight updates, and scales and shifts of some channels against epochs."""
    figure, row = _row(4, narrow)
    epochs = np.arange(1, arrays["accuracy"].numel() + 1)
    summary = next(fact for fact in facts if "summary" in fact)
    layer, colour = summary["layer"], COLOUR_OF["baseline" if summary.get("scheme") == "baseline" else "passport"]
    panels = (
        ("(a) test accuracy", "test accuracy (%)", 100 * arrays["accuracy"]),
        (f"(b) weight updates, {layer}", "mean |change|", arrays["weight_update"]),
        (f"(c) scales, {layer}", "scale", arrays["scales"]),
        (f"(d) shifts, {layer}", "shift", arrays["shifts"]),
    )
    for axes, (title, label, values) in zip(row, panels, strict=True):
        many = values.dim() > 1
        marker = "." if len(epochs) == 1 else ""
        axes.plot(epochs, values.numpy(), color=colour, marker=marker, linewidth=1, alpha=0.6 if many else 1)
        if many:
            axes.axhline(0, color="#999999", linewidth=0.6)
        _label(axes, title, "epoch", label)
    return figure


def distribution_figure(arrays: Arrays, facts: Sequence[Fact], narrow: bool = False) -> Figure:
    """Figure 10: weights, scales and shifts of one layer, in a passport network and its baseline."""
    figure, row = _row(3, narrow)
    layer = next(fact["layer"] for fact in facts)
    distance = next(fact["ks_distance"] for fact in facts if fact.get("compared") == "weights")
    for axes, letter, of in zip(row, "abc", ("weights", "scales", "shifts"), strict=True):
        _density(axes, {who: arrays[f"{of}_{who}"] for who in ("baseline", "passport")})
        first = of == "weights"
        _label(
            axes,
            f"({letter}) {of}, {layer}",
            of.removesuffix("s"),
            "density" * (first or narrow),
            distance if first else None,
        )
    return _with_legend(figure, row[0])


_PANELS: dict[str, dict[str, Callable[[Arrays, Sequence[Fact], bool], Figure]]] = {
    "watermark_distributions": {"figure_02": watermark_figure},
    "trigger_images": {"figure_04": trigger_pixel_figure},
    "convergence": {"figure_09": convergence_figure},
    "distributions": {"figure_10": distribution_figure},
}
"""Exhibits with panels, which may stand beside or below one another."""

_GRIDS: dict[str, dict[str, Callable[[Arrays, Sequence[Fact]], Figure]]] = {
    "trigger_images": {"figure_03": trigger_image_figure},
    "passport_kinds": {"figure_06": passport_kind_figure, "figure_07": shuffled_passport_figure},
}
"""Exhibits of images in rows and columns."""


def _row(count: int, narrow: bool, width: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Panels beside, or on a phone below, one another."""
    size = (3.6, 2.6 * count + 0.3) if narrow else (width * count, 2.9)
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(count if narrow else 1, 1 if narrow else count)))


def _density(axes: Axes, samples: Mapping[str, Tensor]) -> None:
    """Histograms of samples over the same bins, each of area 1; a sample of one value is a line in its bin."""
    values = {who: sample.flatten().double().numpy() for who, sample in samples.items()}
    together = np.concatenate(list(values.values()))
    smallest = min(sample.size for sample in values.values())
    edges = np.histogram_bin_edges(together, bins=int(np.clip(2 * np.sqrt(smallest), 24, 80)))
    for who, sample in values.items():
        density, _ = np.histogram(sample, edges, density=True)
        axes.stairs(density, edges, color=COLOUR_OF[who], label=who, linewidth=1.2)
        axes.stairs(density, edges, color=COLOUR_OF[who], fill=True, alpha=0.12)


def _label(axes: Axes, title: str, x: str, y: str, ks_distance: Any = None) -> None:
    axes.set_title(title if ks_distance is None else f"{title} (KS {ks_distance:.3f})", fontsize=9)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    figure.legend(*axes.get_legend_handles_labels(), ncols=2, fontsize=8, loc="outside lower center", frameon=False)
    return figure


def _layers_of(facts: Sequence[Fact]) -> list[str]:
    return [str(fact["layer"]) for fact in facts if fact.get("kind") == "random" and "energy" in fact]


def _grid(rows: Sequence[tuple[str, Sequence[Tensor | None]]], titles: Sequence[str] = ()) -> Figure:
    """Images in rows with a label each: (H, W), or (H, W, channels) with 1 or 3 of them; None leaves a gap."""
    columns = max(len(images) for _, images in rows)
    figure = Figure(figsize=(0.9 + 0.85 * columns, 0.3 + 0.9 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for place, (label, images) in enumerate(rows):
        for column, axes in enumerate(grid[place]):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            image = images[column] if column < len(images) else None
            if image is not None:
                pixels = image.squeeze(-1).numpy() if image.dim() == 3 else image.numpy()
                # with "none" an SVG keeps the pixels as they are
                axes.imshow(pixels, "gray", vmin=0, vmax=255, interpolation="none")
            if place == 0 and titles:
                axes.set_title(titles[column], fontsize=7)
        grid[place][0].set_ylabel(label, fontsize=8)
    return figure
