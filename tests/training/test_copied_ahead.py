"""Images that do not fit on a device, and parts of a set that are not copied, are learned from all the same."""

import torch

from ipr.data import rows
from ipr.data.module import Batches
from ipr.data.prefetch import ahead
from ipr.data.rows import Rows
from ipr.workflows.train import train


def test_a_run_learns_the_same_from_images_that_are_copied_ahead(request_for, tmp_path, monkeypatch):
    """V1, with crops and flips, on half of the images of a larger set: the same bits."""
    learned, used = [], []

    def copied(self):
        used.append(type(self.pixels))
        own = map(self.share.of, self.order[: len(self) * self.batch_size].split(self.batch_size))
        return ahead(self.pixels, self.labels, own, torch.device("cpu"))

    for place in ("resident", "ahead"):
        asked = request_for("scheme=passport_v1", "dataset.flip=true", f"paths.runs={tmp_path / place}")
        learned.append(train(asked).folder.weights.read_bytes())
        monkeypatch.setattr(Batches, "__iter__", copied)
        monkeypatch.setattr(rows, "COPIED", 0)
    assert set(used) == {Rows}
    assert learned[0] == learned[1]
