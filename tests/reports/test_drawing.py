import pandas as pd
import pytest

from ipr.reports.drawing import _paper_numbers, picture_of
from ipr.studies.study import FigureDrawing, Paper


@pytest.mark.parametrize("cell", ["n/a", "", True, None, [1], {"a": 1}])
def test_what_is_no_number_of_a_papers_is_not_drawn(cell):
    paper = Paper(["scheme", "accuracy_genuine"], [["passport_v1", cell], ["passport_v1", 91]])
    assert _paper_numbers(paper, {"scheme": "passport_v1"}, "accuracy_genuine") == [91.0]
    assert _paper_numbers(paper, {"scheme": "passport_v1"}, "bits") == []


def test_bars_stand_in_the_middle_of_what_a_group_has():
    values = {"genuine": "accuracy_genuine", "none": "accuracy_without"}
    drawing = FigureDrawing("f", "c", "bars", x="scheme", values=values, series="norm")
    frame = pd.DataFrame({"scheme": ["baseline", "passport_v1"], "norm": "bn", "accuracy_without": [0.9, 0.2]})
    frame["accuracy_genuine"] = [float("nan"), 0.8]
    frame = frame.assign(model="alexnet", dataset="digits", attack=None, seed=0)
    (axes,) = picture_of(drawing, frame).figure.axes
    middles = sorted((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches)
    assert [round(height) for _, height in middles] == [90, 80, 20]
    assert [x for x, _ in middles] == pytest.approx([0, 0.8, 1.2])
