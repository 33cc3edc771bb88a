"""`ipr export` and `ipr unlock`: where files go, and what a user sees who gets something wrong."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

SCHEMES = ("passport_v1", "passport_v2", "uchida")


@pytest.fixture
def keys(run_of, tiny):
    """Runs of a second in the working folder, one a scheme: scheme -> key."""
    return {scheme: run_of(*tiny, f"scheme={scheme}").name for scheme in SCHEMES}


def test_a_locked_file_is_given_away_and_unlocked(ipr, keys):
    key = keys["passport_v1"]
    run = Path("runs/train") / key
    given = ipr("export", f"run={key}")
    assert given.code == 0, given.err
    (warned,) = given.err.splitlines()  # it was trained for a second
    assert warned.startswith(f"ipr: warning: the embedding of {key} failed")
    locked = run / "export" / "alexnet-locked.safetensors"
    assert given.out.splitlines() == [f"exported: {locked}", f"its card: {locked}.json"]
    assert locked.read_bytes() == (run / "public.safetensors").read_bytes()
    card = json.loads(Path(f"{locked}.json").read_text())
    assert card["architecture"]["model"] == {"name": "alexnet", "norm": "bn", "width": 0.25}
    assert card["output"]["classes"] == list("0123456789")
    unlocked = ipr("unlock", f"weights={locked}", f"claim={run}/claim", "out=working.safetensors")
    assert (unlocked.code, unlocked.out) == (0, "unlocked: working.safetensors\n")
    folded = ipr("export", f"run={run}", "kind=folded", "out=folded.safetensors")
    assert folded.code == 0
    assert folded.err.startswith("folded: whoever gets this file has a working network")
    assert Path("folded.safetensors").read_bytes() == Path("working.safetensors").read_bytes()
    assert {Path(f"{name}.safetensors").stat().st_mode & 0o777 for name in ("folded", "working")} == {0o600}


def change(file, **tensors):
    save_file({name: t for name, t in (load_file(file) | tensors).items() if t is not None}, "changed")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (None, "export run=nothing", ["run=runs/train/nothing", "is no finished training"]),
        (None, "export run=runs", ["run=runs", "is no finished training"]),
        ("{v1}/record.json", "export run={v1}", ["run={v1}", "is no finished training"]),
        ("{v1}/config.yaml", "export run={v1}", ["run={v1}/config.yaml", "is damaged"]),
        ("{v1}/public.safetensors", "export run={v1}", ["weights={v1}/public.safetensors", "cannot be read"]),
        ("{v1}/claim/claim.json", "export run={v1} kind=folded", ["claim={v1}/claim", "cannot be read"]),
        (None, "export run={v1} format=pickle", ["format=pickle", "safetensors, torch, onnx"]),
        (None, "export run={v1} kind=public", ["kind=public", "choose locked or folded"]),
        (None, "export run={v2} kind=folded", ["kind=folded", "passport_v2", "choose public"]),
        (None, "export run={v2} kind=open", ["kind=open", "choose public"]),
        (None, "export run={v2} out={v2}/record.json", ["out={v2}/record.json", "already there with another content"]),
        (None, "export run={v2} out=runs", ["out=runs", "Is a directory"]),
        (None, "export run={v2} out={v2}/record.json/model", ["out={v2}/record.json/model", "cannot be a file"]),
        (lambda: Path("x.json").touch(), "export run={v2} out=x", ["out=x.json", "already there with another content"]),
        (None, "export run={v2} fromat=onnx", ["fromat", "did you mean format"]),
        (None, "unlock weights=none claim={v1}/claim", ["weights=none", "cannot be read"]),
        (None, "unlock weights={v1}/public.safetensors claim={v1}", ["claim={v1}", "cannot be read"]),
        (None, "unlock weights={v1}/public.safetensors claim={uchida}/claim", ["claim={uchida}/claim", "no passport"]),
        (None, "unlock weights={v2}/public.safetensors claim={v1}/claim", ["norm3.bias", "they are not locked"]),
        (
            lambda: change(next(Path().glob("runs/train/passport_v1-*/public.safetensors")), extra=torch.ones(1)),
            "unlock weights=changed claim={v1}/claim",
            ["extra has no place", "they are not the architecture's"],
        ),
        (
            lambda: torch.save({"a": Bomb()}, "x.pt"),
            "unlock weights=x.pt claim={v1}/claim",
            ["x.pt", "neither run nor"],
        ),
        (lambda: torch.save([1], "x.pt"), "unlock weights=x.pt claim={v1}/claim", ["x.pt", "is damaged, or not"]),
        (
            None,
            "unlock weights={v1}/public.safetensors claim={v1}/claim out={v1}/record.json",
            ["out={v1}/record.json", "already there with another content"],
        ),
    ],
)
def test_what_cannot_be_given_away_or_unlocked_is_told_in_one_line(ipr, keys, prepare, arguments, words):
    places = {name.replace("passport_", ""): f"runs/train/{key}" for name, key in keys.items()}
    if isinstance(prepare, str):
        Path(prepare.format(**places)).unlink()
    elif prepare is not None:
        prepare()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    outcome = ipr(*arguments.format(**places).split())
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    assert line.startswith("ipr: error: ")
    for word in words:
        assert word.format(**places) in line
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert not Path("executed").exists()


def test_images_that_have_moved_or_changed(ipr, tmp_path, tiny):
    from PIL import Image

    for label in range(2):
        for split, count in (("train", 4), ("test", 2)):
            (tmp_path / "images" / split / str(label)).mkdir(parents=True)
            for i in range(count):
                picture = Image.new("RGB", (8, 8), (90 * label, 20 * i, 0))
                picture.save(tmp_path / "images" / split / str(label) / f"{i}.png")
    small = [argument for argument in tiny if not argument.startswith(("dataset.limit", "optimizer.batch_size"))]
    request = (*small, "optimizer.batch_size=4", "scheme=baseline", "dataset=image_folder", "dataset.flip=false")
    assert ipr("train", *request, "dataset.root=images").code == 0
    (run,) = Path("runs/train").glob("baseline-*")
    Path("images").rename("moved")
    outcome = ipr("export", f"run={run}", "paths.cache=other")
    assert outcome.code == 2
    assert "dataset.root=images" in outcome.err
    assert ipr("export", f"run={run}", "dataset.root=moved").code == 0
    Path("moved/train/0/0.png").unlink()
    outcome = ipr("export", f"run={run}", "dataset.root=moved", "out=again")
    assert outcome.code == 2
    assert "dataset.root=moved: holds other images than the run's" in outcome.err
    assert not Path("again").exists()
