"""From a request to an exhibit that is kept, found again, and refused where it would show a real secret."""

import hashlib
import json
import stat

import pytest
import torch

from ipr.errors import InputError
from ipr.reports.exhibits import exhibit_pictures, pictures_of
from ipr.workflows.exhibit import exhibit, load_arrays, load_facts

ABOUT = {
    "key", "exhibit", "scheme", "model", "norm", "width", "dataset", "train_images", "seed", "hardware", "versions",
    "commit", "finished", "schema_version",
}  # fmt: skip


def hashes(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lease")
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_an_exhibit_is_kept_and_found_and_its_run_is_left_as_it_was(exhibit_for, trained):
    config = exhibit_for("scheme=uchida", "scheme.bits=32", "exhibit=watermark_distributions")
    run = trained(config)
    before = hashes(run.folder.path)
    first = exhibit(config)
    assert not first.found
    assert hashes(run.folder.path) == before
    assert stat.S_IMODE(first.folder.path.stat().st_mode) == 0o700
    assert {p.name for p in first.folder.path.iterdir()} == {
        ".lease",
        "config.yaml",
        "facts.json",
        "arrays.safetensors",
    }
    for fact in first.facts:
        assert fact.keys() >= ABOUT
        assert fact["run"] == run.folder.key
        assert all(value is None or isinstance(value, int | float | str) for value in fact.values())
    stored = hashes(first.folder.path)
    again = exhibit(config)
    assert again.found
    assert again.folder == first.folder
    assert again.facts == first.facts == json.loads((first.folder.path / "facts.json").read_text())
    assert again.arrays.keys() == first.arrays.keys()
    assert all(torch.equal(first.arrays[name], array) for name, array in again.arrays.items())
    assert hashes(first.folder.path) == stored


def test_other_settings_and_another_attack_are_another_exhibit(exhibit_for):
    asked = ("scheme=uchida", "scheme.bits=32", "exhibit=watermark_distributions", "trainer.max_epochs=1")
    others = ([], ["exhibit.lr=0.1"], ["attack_seed=1"], ["attack=finetune", "attack.epochs=1"], ["seed=1"])
    runs = [exhibit(exhibit_for(*asked, *more)) for more in others]
    assert len({run.folder.key for run in runs}) == len(others)
    assert {"tuned_genuine", "tuned_forged"} <= runs[3].arrays.keys()
    assert "tuned_genuine" not in runs[0].arrays


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scheme=uchida"], "exhibit=None: must be given"),
        (["scheme=uchida", "exhibit=watermark_distributions", "passport.key=hush"], "passport.key=<hidden>"),
        (["scheme=uchida", "exhibit=watermark_distributions", "scheme.signature=hush"], "scheme.signature=<hidden>"),
        (["scheme=uchida", "exhibit=watermark_distributions", "scheme.signature=this"], "scheme.signature=<hidden>"),
        (["scheme=baseline", "exhibit=watermark_distributions"], "has nothing to show of scheme=baseline, because"),
        (["scheme=uchida", "exhibit=watermark_distributions", "exhibit.lr=0"], "exhibit.lr=0"),
        (["scheme=uchida", "exhibit=watermark_distributions", "attack=prune"], "attack=prune: exhibit="),
        (["scheme=uchida", "exhibit=watermark_distributions", "dataset@transfer=digits"], "no attack is named"),
    ],
)
def test_what_is_refused_and_leaves_nothing_behind(exhibit_for, tmp_path, arguments, said):
    with pytest.raises(InputError) as refused:
        exhibit(exhibit_for(*arguments))
    assert said in str(refused.value)
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_read_back_says_what_to_do(tmp_path):
    (tmp_path / "facts.json").write_text('[{"schema_version": 0}]')
    (tmp_path / "arrays.safetensors").write_text("no")
    for load, name in ((load_facts, "facts.json"), (load_arrays, "arrays.safetensors"), (load_facts, "missing")):
        with pytest.raises(InputError, match="delete the folder"):
            load(tmp_path / name)


def test_what_is_kept_is_drawn_as_what_was_computed(exhibit_for):
    run = exhibit(exhibit_for("scheme=passport_v1", "exhibit=distributions", "trainer.max_epochs=1"))
    ((stem, drawn),) = pictures_of("distributions", run.folder.path).items()
    ((same, fresh),) = exhibit_pictures("distributions", run.arrays, run.facts).items()
    assert stem == same == "figure_10"
    for one, other in zip(drawn.axes, fresh.axes, strict=True):
        assert one.get_title() == other.get_title()
        assert one.patches[0].get_data().values.tolist() == other.patches[0].get_data().values.tolist()
