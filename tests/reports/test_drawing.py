import pytest

from ipr.reports.drawing import _paper_numbers
from ipr.studies.study import Paper


@pytest.mark.parametrize("cell", ["n/a", "", True, None, [1], {"a": 1}])
def test_what_is_no_number_of_a_papers_is_not_drawn(cell):
    paper = Paper(["scheme", "accuracy_genuine"], [["passport_v1", cell], ["passport_v1", 91]])
    assert _paper_numbers(paper, {"scheme": "passport_v1"}, "accuracy_genuine") == [91.0]
    assert _paper_numbers(paper, {"scheme": "passport_v1"}, "bits") == []
