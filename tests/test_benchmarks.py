"""Every script in benchmarks/ that times something runs, at a size of seconds; what can be held exactly is."""

import json
import os
import re
import runpy
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from scipy import stats

import alignment
import branch_statistics
import chosen_numbers
import cost
import epochs
import exactness
import exported
import false_claims
import fingerprints
import first_network
import forgers
import gpu_tables
import growth
import hidden_passports
import host_time
import kernels
import model_coverage
import options
import options_accuracy
import own_networks
import private_branch
import profile_step
import searches
import soak
import table
import wrong_passports
from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.data.opening import open_images
from ipr.judging.claim_kinds import load_claim
from ipr.judging.verdict import claim_of_signs
from ipr.models import build_model
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Branch, affines_of
from ipr.passport.surgery import find_layers
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v2 import PassportV2
from ipr.store.weights import as_safetensors
from ipr.workflows.missed_claims import changes
from ipr.workflows.train import train
from measure import Row, quartiles, ratios, take_turns
from networks import batch, passport_for, plain, scheme, training_step
from pictures import folder_of_images
from sweeps import until
from test_docs import TOP

pytestmark = pytest.mark.system

SMALL = [
    "dataset.limit_train=64", "dataset.limit_test=20", "model.width=0.1", "optimizer.batch_size=32",
    "verification.forged=2",
]  # fmt: skip


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_in_float32_the_fast_forms_are_no_further_from_float64_than_the_literal_ones(name):
    """Ten draws. Scales are nearer; logits and gradients as near, but for the draw."""
    found = [exactness.errors(name, 0.25, seed) for seed in range(10)]
    mean = {q: tuple(statistics.fmean(one[q][form] for one in found) for form in (0, 1)) for q in found[0]}
    assert mean["scale and shift"][0] < 0.8 * mean["scale and shift"][1]
    assert mean["logits"][0] <= 1.02 * mean["logits"][1]
    assert mean["gradients"][0] <= 1.02 * mean["gradients"][1]


def test_the_table_has_every_row(tmp_path, capsys, monkeypatch, cache):
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setattr("judging.FORGED", 2)
    monkeypatch.setattr("whole_run.REQUEST", [*table.whole_run.REQUEST, *SMALL, "logger=csv"])
    monkeypatch.setattr("loop.BATCH", 8)
    table.main(tmp_path / "bench" / "performance.md", rounds=1, width=0.1)
    written = (tmp_path / "bench" / "performance.md").read_text()
    for what in (
        *(f"training step {kind} / {norm} baseline, {name}" for name in ("alexnet", "resnet18")
          for kind, norm in (("V1", "BN"), ("V2", "GN"), ("V3", "GN"))),
        "inference V1, folded", "inference V2 and V3, exported", "forged passports", "input: images a second",
        "Lightning's loop", "all but the training steps", "ipr --help", "ipr train --cfg job",
    ):  # fmt: skip
        assert what in written, what
    assert "tails one after the other / side by side" in written
    assert written.splitlines()[2] in capsys.readouterr().out


def test_a_row_says_what_was_reached():
    assert Row("a", 1.03, [1.0, 1.02, 1.5]).reached
    assert not Row("a", 1.03, [1.0, 1.04, 1.05]).reached
    assert Row("a", 5, [4, 6, 7], at_least=True).reached
    assert Row("a", 1, [0.98, 1.01, 1.02], alike=True).reached
    assert not Row("a", 1, [1.1, 1.2, 1.3], alike=True).reached
    assert str(Row("a", 5, [4, 6, 7], [1], [2], at_least=True)) == (
        "| a | >= 5 | 2.000 [2.000, 2.000] | **6.000 [5.000, 6.500]** | 1.000 [1.000, 1.000] | 3 | yes |"
    )
    assert quartiles([1.0]) == [1.0, 1.0, 1.0]


def test_works_take_turns():
    order, ticks = [], iter(range(100))
    works = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = take_turns(works, 2, clock=lambda: float(next(ticks)), warm=1)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert seconds == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    assert ratios({"a": [2.0, 3.0], "b": [1.0, 2.0]}, "a", "b") == [2.0, 1.5]


def test_growth_draws_its_points(tmp_path, capsys):
    growth.main(tmp_path / "growth.png", rounds=1, width=0.1, small=True)
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    shown = capsys.readouterr().out
    assert shown.count("operations") == 2
    assert "pixels of an edge" in shown


def test_the_host_is_timed_in_processes_of_their_own(capsys):
    """Beside another tree: this one, as another commit would be."""
    host_time.table(("another", TOP), 1, ["alexnet"], "HOST")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| alexnet |")]
    assert len(lines) == 5
    for line in lines:
        cells = [float(cell.split()[0]) for cell in line.split("|")[3:8]]
        assert all(cell > 0 for cell in cells)
        assert cells[4] < 1  # a captured step leaves the host less to do than any other


def test_operations_of_a_step_are_counted(capsys):
    kernels.main(("alexnet",))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| alexnet |")]
    found = {line.split("|")[2].strip(): [float(cell) for cell in line.split("|")[3:6]] for line in lines}
    assert list(found) == ["baseline bn", "V1", "baseline gn", "V2", "V3"]
    assert all(copies == waits == 0 for _, copies, waits in found.values())
    assert found["V1"][0] < 1.5 * found["baseline bn"][0]
    assert found["V2"][0] < 2 * found["baseline gn"][0]


def test_a_profile_names_what_time_goes_to(capsys):
    profile_step.main(1, 0.1)
    shown = capsys.readouterr().out
    assert shown.count("| convolutions, forward |") == 4
    assert shown.count("| floating-point operations, to the baseline | 1.000 |") == 4


@pytest.mark.parametrize(("name", "expected"), [("alexnet", 1.43), ("resnet18", 1.20)])
def test_a_step_of_v2_repeats_the_convolutions_behind_the_trunk_and_nothing_else(name, expected):
    """At full width, in operations: what is behind Conv3, and behind the first convolution of Conv5_x."""
    x, y = batch(8)
    kinds = ((Baseline, "gn"), (PassportV2, "gn"))
    plain, forked = (growth.operations(training_step(scheme(kind, name, norm, 1.0), x, y)) for kind, norm in kinds)
    assert forked / plain == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("attack", "count"), [("fake2_signature", 5), ("fake3", 4)])
def test_searches_side_by_side_are_timed_beside_each_alone(attack, count):
    (row,) = searches.rows_of(attack, "resnet18", "bn", 1, 0.1)
    assert row.work.startswith(f"step of {attack}, {count} searches side by side")
    assert len(row.measured) == len(row.control) == 1


def test_an_exported_file_is_timed_beside_the_plain_network():
    rows = exported.rows_of("alexnet", "bn", 1, 0.1)
    assert [row.work for row in rows] == [
        f"exported V1, folded / BN baseline, alexnet, {runtime}" for runtime in ("torch", "ONNX Runtime")
    ]
    assert all(len(row.measured) == len(row.control) == 1 for row in rows)


def test_bits_of_wrong_passports_are_counted_beside_the_cosine_of_their_mean_patches(tmp_path, capsys):
    """The genuine passport reads all bits, and its opposite none."""
    network = plain("alexnet", "bn", 0.0625)
    passport = passport_for(network, "alexnet")
    signature = {name: torch.ones(network.get_submodule(name).out_channels, dtype=torch.int8) for name in passport}
    sizes = {"channels_in": 3, "image_size": 32, "num_classes": 10}
    architecture = {"model": {"name": "alexnet", "norm": "bn", "width": 0.0625}, **sizes}
    claim = PassportClaim(
        passport=passport, signature=signature, thresholds=Thresholds(None), architecture=architecture
    )
    claim = claim_of_signs(claim, network)
    opposite = replace(claim, passport={name: -maps for name, maps in passport.items()})
    bits, cosines = wrong_passports.agreement(network, claim, [claim, opposite])
    capacities = [marks.numel() for marks in claim.signature.values()]
    assert bits.tolist() == [capacities, [0] * len(capacities)]
    torch.testing.assert_close(cosines, torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand_as(cosines))
    claim.save(tmp_path / "claim")
    (tmp_path / "weights").write_bytes(as_safetensors(network.state_dict()))
    wrong_passports.main(tmp_path / "weights", tmp_path / "claim", passports=20)
    said = rf"20 random passports read [\d.]+ of {sum(capacities)} bits, standard deviation "
    assert re.match(said, capsys.readouterr().out)


def test_the_table_of_forgers_has_a_row_for_each_victim(tmp_path, capsys, monkeypatch, cache):
    """Of a few ways, as `test_forgers.py` tries all of them; a removal that changed answers would fail by itself."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setattr(forgers, "REQUEST", (*forgers.REQUEST, *SMALL, "trainer.max_epochs=1"))
    whats = (
        "thresholds of one's own", "a passport of zeros", "`forge_uchida`, dated that day",
        "other labels in the judge's cached images", "removal: channels in another order",
    )  # fmt: skip
    ways = [way for way in forgers.WAYS if way.what in whats]
    forgers.main(tmp_path / "runs", ways)
    printed = capsys.readouterr().out
    assert (tmp_path / "runs" / "forgers.md").read_text() == printed
    header, _, *rows, _, spent = printed.splitlines()
    assert "s of one core" in spent
    assert len(rows) == sum(len(way.victims) for way in ways)
    cells = [row[2:-2].split(" | ") for row in rows]
    assert {len(one) for one in cells} == {len(header[2:-2].split(" | "))}
    said = {one[0]: (one[6], one[7].partition(" ")[0]) for one in cells if not one[0].startswith("removal")}
    assert said == {
        whats[0]: ("verified", "not"), whats[1]: ("", "refused"), whats[2]: ("verified", "not"),
        whats[3]: ("verified", "refused"),
    }  # fmt: skip


def test_false_claims_of_several_architectures_are_counted_together(tmp_path, capsys, monkeypatch, cache):
    """Both sorts of evidence, dated and not; and what is there already is found."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    size = [*(one for one in SMALL if "limit_train" not in one), "trainer.max_epochs=1", "dataset.image_size=8"]
    monkeypatch.setattr(false_claims, "REQUEST", (*false_claims.REQUEST, *size, "trigger_set.size=20"))
    monkeypatch.setattr(false_claims, "ARCHITECTURES", {"GN": ("model.norm=gn",), "BN": ("model.norm=bn",)})
    for name, value in (("NETWORKS", 2), ("WRONG", 14), ("COPIES", 1)):
        monkeypatch.setattr(false_claims, name, value)
    runs = tmp_path / "runs"
    false_claims.main(runs)
    written = (runs / "false_claims.md").read_text()
    assert written.strip() in capsys.readouterr().out
    rows = [line[2:-2].split(" | ") for line in written.splitlines() if line.startswith("| ")]
    counts = {tuple(row[:2]): [*map(int, row[2:])] for row in rows if len(row) == 10 and row[0] != "architecture"}
    assert len(counts) == 6
    for evidence in ("signature", "images"):
        each = [counts[name, evidence] for name in ("GN", "BN")]
        assert counts["**all**", evidence] == [sum(pair) for pair in zip(*each, strict=True)]
        networks, _, dated, _, verified, undated, _, undated_verified = counts["**all**", evidence]
        assert (networks, undated_verified) == (4, 0)
        assert dated >= 28
        assert (undated > 0) == (evidence == "signature")
        upper = 100 * stats.beta.ppf(0.95, verified + 1, dated - verified)
        assert f"By {evidence}: {verified} of {dated} wrong claims that could be dated are verified; " in written
        assert f"at most {upper:.4f} %" in written
    owners = {row[0]: row for row in rows if row[0] in ("GN", "BN") and len(row) == 6}
    assert set(owners) == {"GN", "BN"}
    held = sum("signature" in row[5] for row in owners.values())
    changed = {(row[0], row[1]): int(row[2]) for row in rows if row[0] in changes(1)}
    assert {int(row[4]) for row in rows if row[:2] == ["unchanged", "signature"]} == {held}
    assert all(row[5] == "0" for row in rows if row[0] == "unchanged")
    assert {change for change, _ in changed} == set(changes(1))
    assert changed["unchanged", "signature"] == changed["unchanged", "images"] == 2
    before = {path: path.read_bytes() for path in runs.rglob("*.json")}
    assert len([path for path in before if path.name == "record.json"]) == 6
    false_claims.main(runs)
    assert {path: path.read_bytes() for path in runs.rglob("*.json")} == before
    page = (Path(__file__).parents[1] / "docs" / "verdicts.md").read_text()
    generate = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "generate.py"))
    assert written.strip() in generate["with_table"](page, "false_claims", written.strip())
    assert generate["PLACES"]["false_claims"].name == "verdicts.md"


def test_what_the_best_of_many_guesses_reads_is_a_binomial_tail():
    for tries, expected in ((1, 112), (2**40, 164), (2**80, 185)):
        found = forgers._expected(tries, 224)
        assert found == expected
        assert stats.binom.sf(found - 1, 224, 0.5) >= 1 / (tries + 1) > stats.binom.sf(found, 224, 0.5)


def test_options_are_compared_with_the_default(capsys, monkeypatch):
    plain_compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: plain_compile(module, backend="eager"))
    options.main(1, 0.1)
    rows = capsys.readouterr().out.splitlines()
    assert len([row for row in rows if "1.000 [1.000, 1.000]" in row]) == 4


@pytest.fixture
def photographs(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("IPR_CACHE", str(cache))
    folder_of_images(tmp_path / "images" / "cifar10")
    return [f"dataset.root={tmp_path / 'images'}", *SMALL]


def test_accuracy_of_every_option(photographs, capsys, monkeypatch):
    monkeypatch.delitem(options_accuracy.OPTIONS, "trainer.compile=true")  # a minute of C++
    options_accuracy.main([*photographs, "trainer.max_epochs=1"], seeds=2)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith("| 2 |")]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in options_accuracy.OPTIONS]
    assert len(list(Path("runs/options/train").iterdir())) == 6


def test_epoch_seconds_of_every_scheme(photographs, capsys):
    """The first half of `make gpu`, here on a CPU, two epochs each."""
    epochs.main([*photographs])
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith(("| alexnet", "| resnet18"))]
    assert len(rows) == 20
    assert all(float(row.split(" | ")[3]) > 0 for row in rows)


def test_the_gpu_that_trains_is_sampled_whatever_its_number(tmp_path, monkeypatch):
    """nvidia-smi numbers all GPUs of the machine; this process sees one of them, as its first."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@" > asked.txt\nprintf "40\\n[N/A]\\n60\\n"\nexec sleep 60\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    properties = SimpleNamespace(uuid="8f0a-7")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: {0: properties}[device])
    samples: list[int] = []
    with epochs.gpu_samples(samples):
        until(lambda: Path("asked.txt").exists() and Path("asked.txt").read_text())
    assert "--id=GPU-8f0a-7" in Path("asked.txt").read_text().split()
    assert samples == [40, 60]


def test_table_iv_trains_two_epochs_here(photographs, ipr):
    """The second half: the study and its report."""
    small = ["trainer.max_epochs=2", "trainer.progress_bar=false", "logger=csv"]
    (images,) = (word.partition("=")[2] for word in photographs if word.startswith("dataset.root="))
    shown = ipr("reproduce", "study=published", f"images={images}", "scale.energies=[3.0]", *photographs[1:], *small)
    assert shown.code == 0
    assert all(f"| {scheme} |" in shown.out for scheme in ("baseline", "passport_v1", "passport_v2", "passport_v3"))


def test_the_soak_kills_and_finds_everything_the_same(tmp_path, cache):
    done = subprocess.run(
        [sys.executable, Path(soak.__file__), "--kills", "3", "--seed", "1", "--folder", tmp_path / "soak"],
        env=os.environ | {"IPR_CACHE": str(cache)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "soak" / "soak.md").read_text()
    assert "| kills | 3, " in written
    for what in ("runs lost", "records lost", "runs whose weights, claims, records, rows or curves differ"):
        assert f"| {what} | 0 |" in written
    page = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
    generate = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "generate.py"))
    assert written.strip() in generate["with_table"](page, "soak", written.strip())  # what `make soak` ends with


def test_the_check_of_gpus_runs_on_a_cpu(tmp_path):
    """Two checks and two measures, each in a process of its own; the page of them; a section that there is not."""
    program = [
        sys.executable,
        TOP / "benchmarks" / "gpu_check.py",
        "--device",
        "cpu",
        "--quick",
        "--out",
        tmp_path / "gpu",
    ]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    asked = ("--only", "exact,waits,graphs,card,steps,fast", "--commit", "abc1234")
    done = subprocess.run([*program, *asked], capture_output=True, text=True, check=False, env=one_thread, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    words = [line.split()[:2] for line in done.stdout.splitlines()]
    assert words == [["PASS", name] for name in ("exact", "waits", "graphs", "card", "steps", "fast")]
    found = json.loads((tmp_path / "gpu" / "gpu.json").read_text())["sections"]
    assert all(max(errors) < 1e-12 for what, errors in found["exact"]["values"].items() if what.endswith("float64"))
    tables = [sys.executable, TOP / "benchmarks" / "gpu_tables.py", tmp_path / "gpu" / "gpu.json"]
    subprocess.run([*tables, "--out", tmp_path / "page"], check=True, timeout=60)
    page = (tmp_path / "page" / "README.md").read_text()
    assert "| exact |" in page
    assert "abc1234" in page
    assert len([line for line in page.splitlines() if line.startswith(("| alexnet | 4 |", "| resnet18 | 4 |"))]) == 22
    assert "Not measured yet: captured, judging, options, packed, compiled." in page
    wrong = subprocess.run([*program, "--only", "speed"], capture_output=True, text=True, check=False, timeout=60)
    assert wrong.returncode == 2
    assert "--only=speed: there is no such section" in wrong.stderr


def test_the_check_of_gpus_runs_on_the_emulated_device(tmp_path):
    """No step copies or waits; what starts processes of its own is skipped."""
    words = [sys.executable, TOP / "benchmarks" / "gpu_check.py", "--device", "emulated", "--quick"]
    words += ["--only", "waits,bits", "--out", tmp_path]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=one_thread, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["SKIP", "bits"], ["PASS", "waits"]]
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]["waits"]["values"]
    assert set(found.values()) == {"0 copies, 0 waits"}
    assert len(found) == 5


def test_what_was_seen_on_a_gpu_stands_on_its_page():
    """The page is what the numbers beside it make."""
    folder = TOP / "docs" / "results" / "gpu"
    sections = json.loads((folder / "gpu.json").read_text())["sections"]
    assert gpu_tables.page(sections) == (folder / "README.md").read_text()


def test_statistics_of_a_judge_are_compared_with_averages_of_the_file(request_for):
    run = train(request_for("scheme=passport_v2", "model.norm=bn", "trainer.max_epochs=4"))
    lines = list(branch_statistics.rows_of(run.folder.path.absolute(), "attack_epochs=1"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:-1]]
    assert [row[0] for row in rows] == [
        "the file's averages", *(f"of {count} of the judge's images" for count in branch_statistics.COUNTS)
    ]  # fmt: skip
    assert rows[5][1] == f"{100 * run.record.accuracy_genuine:.1f}"
    assert rows[5][3] != "" != rows[0][4]


def test_what_weights_tell_of_a_passport_is_told_beside_a_plain_network(request_for, capsys):
    """At energy 3 the vectors are the passport's; a plain network spells none of its bits."""
    asked = ["model.norm=bn", "trainer.max_epochs=8", "passport=random", "passport.energy=3"]
    run = train(request_for("scheme=passport_v1", *asked))
    plain = train(request_for("scheme=baseline", *asked))
    hidden_passports.main([str(run.folder.path), f"plain={plain.folder.path}"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    _, own, other, _, bits, none, _, shown, hidden = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines
    ]
    assert own[0] == run.folder.key
    assert own[1] == f"{100 * run.record.accuracy_genuine:.1f}"
    assert other[0] == f"plain: {plain.folder.key}"
    total, spelled, drawn = float(bits[1]), float(bits[2]), float(bits[3].split("; ")[1])
    assert drawn < spelled <= total
    assert float(none[2]) < spelled
    assert float(shown[1]) > 1 > float(hidden[1])
    assert float(shown[2]) > 2 * float(hidden[2])


def test_the_cost_of_a_passport_is_a_difference_of_pairs(request_for):
    """Beside the baseline of its own seed and start; the interval is that of Student's t."""
    runs = [
        train(request_for(f"scheme={scheme}", "model.norm=bn", f"seed={seed}", f"init={init}")).record
        for scheme in ("baseline", "passport_v2")
        for seed in (0, 1, 2)
        for init in ("null", "baseline")
    ]
    runs.append(train(request_for("scheme=passport_v2", "model.norm=bn", "seed=3")).record)  # without a baseline
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in cost.table(runs).splitlines()[2:]]
    assert [(row[0], row[3], row[4]) for row in rows] == [
        ("baseline", "random weights", "3"), ("passport_v2", "random weights", "3"),
        ("baseline", "the trained baseline", "3"), ("passport_v2", "the trained baseline", "3"),
    ]  # fmt: skip
    begun = [run for run in runs if run.init == "baseline"]
    plain, marked = ([run.accuracy_without for run in begun if run.scheme == s] for s in ("baseline", "passport_v2"))
    losses = 100 * (torch.tensor(plain) - torch.tensor(marked)).double()
    half = 4.302653 * float(losses.std()) / 3**0.5  # the quantile of two degrees of freedom, from a table
    mean = float(losses.mean())
    assert rows[3][-2] == f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]"
    assert cost.interval([0.02]) == "2.0"


@pytest.mark.parametrize("scheme", ["baseline", "passport_v2"])
def test_the_cost_is_measured_again_on_more_images(scheme, request_for):
    """As training with so many test images would be judged; only the accuracies are other."""
    asked = f"scheme={scheme}", "model.norm=bn"
    few, many = (train(request_for(*asked, f"dataset.limit_test={count}")) for count in (20, 60))
    measured = cost.measured(few.folder.record, few.record, 60)
    assert measured.accuracy_without == many.record.accuracy_without
    assert measured.accuracy_genuine == many.record.accuracy_genuine
    assert (measured.bits_agreeing, measured.test_images) == (few.record.bits_agreeing, 20)


@pytest.mark.parametrize("variant", private_branch.VARIANTS)
def test_a_variant_of_the_private_branch_is_trained(variant, request_for):
    """All bits +1 but one a layer; or half of the loss is the distance to the public answers, worked out by hand."""
    asked = request_for("scheme=passport_v2", "model.norm=bn")
    with patch.object(*private_branch.VARIANTS[variant]):
        run = train(asked)
        claim = load_claim(run.folder.claim)
        assert all((bits == -1).sum() == 1 for bits in claim.signature.values()) == (variant == "same_sign")
        if variant == "teacher":
            data = open_images(asked.dataset, asked.paths)
            scheme = PassportV2.build(asked, data, claim, None)
            images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
            x, y = next(images.batches(20, torch.device("cpu")))
            loss = scheme.terms(x, y)["cross_entropy_private"].detach()
            public, private = scheme.forked(x, [affines_of(scheme.layers, Branch(i)) for i in (0, 1)])
            soft, mine = (torch.softmax(answers.detach().double() / 2, dim=1) for answers in (public, private))
            distance = 4 * (soft * (soft / mine).log()).sum(1).mean()
            expected = (torch.nn.functional.cross_entropy(private.detach(), y) + distance) / 2
            assert float(loss) == pytest.approx(float(expected), rel=1e-4)
            scheme.terms(x, y)["cross_entropy_private"].backward()
            assert scheme.layers["conv3"].weight.grad is None  # nothing is learned by the teacher


@pytest.mark.slow
def test_models_of_libraries_are_tried_out_once_and_told_apart(tmp_path, capsys):
    """One of each outcome; what is there is not made again, and a process that takes too long is replaced."""
    asked = ["--only", "resnet18", "resnetv2_50", "vit_tiny_patch16_224", "resnetv2_50d_evos", "--out", str(tmp_path)]
    model_coverage.main([*asked, "--most", "12000000"])
    file = tmp_path / "models.jsonl"
    rows = {(row.library, row.name): row for row in model_coverage.rows_of(file)}
    assert {key: row.kind for key, row in rows.items()} == {
        ("torchvision", "resnet18"): "supported", ("timm", "resnet18"): "supported",
        ("timm", "resnetv2_50"): "followed", ("timm", "vit_tiny_patch16_224"): "supported",
        ("timm", "resnetv2_50d_evos"): "refused",
    }  # fmt: skip
    assert rows["timm", "resnet18"].pairs == 20
    assert rows["timm", "resnet18"].shares_trunk == [True, True]
    assert "EvoNorm2dS0 is none of BatchNorm2d" in rows["timm", "resnetv2_50d_evos"].reason
    made = file.read_text()
    written = (tmp_path / "models.md").read_text()
    model_coverage.main([*asked, "--most", "12000000"])
    assert file.read_text() == made
    assert written in capsys.readouterr().out
    assert "3 can be protected: 100.0 %" in written
    page = (TOP / "docs" / "models.md").read_text()
    generate = runpy.run_path(str(TOP / "docs" / "generate.py"))
    assert written.strip() in generate["with_table"](page, "models", written.strip())
    hasty = model_coverage._Worker(limit=0.0)
    assert hasty.row("timm", "resnet18", 0).reason == "took more than 0 s"
    assert hasty.process is None


@pytest.mark.slow
def test_settings_of_a_claimants_choice_are_tried(tmp_path, monkeypatch, capsys, cache):
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setattr(chosen_numbers, "TRIED", 3)
    monkeypatch.setattr(chosen_numbers, "PASSPORTS", 2)
    quick = [word for word in chosen_numbers.REQUEST if "max_epochs" not in word]
    monkeypatch.setattr(chosen_numbers, "REQUEST", (*quick, "trainer.max_epochs=1"))
    chosen_numbers.main(tmp_path / "runs")
    assert "random passports that keep fidelity: 0 of 6" in capsys.readouterr().out
    drawn = chosen_numbers.settings(200)
    assert all(0 <= value <= 1 for mean, _ in drawn for value in mean)
    assert all(0.001 <= value <= 1 for _, std in drawn for value in std)


@pytest.mark.slow
def test_dummies_are_undone_and_crowds_stay_apart(tmp_path, monkeypatch, cache):
    """A V2 of a second, with and without dummies; and a few pairs of strangers of each shape."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    quick = [word for word in alignment.SMALL if "max_epochs" not in word]
    owner = alignment.Owner("passport_v2", "alexnet", "bn", tmp_path, *quick, "trainer.max_epochs=1")
    _, _, *lines = alignment.forms_table([owner])
    assert len(lines) == 6
    for line in lines:
        _, _, done, similarity, without, aligned, changed, _ = (cell.strip() for cell in line.split("|"))
        assert float(similarity) > 0.9
        before, after = (int(cell.split()[0]) for cell in (without, aligned))
        assert after >= 0.99 * before
        assert float(changed) < (1e-3 if "tuned" not in done and "noise" not in done else 1)
    monkeypatch.setattr(alignment, "CROWD", {"untrained": 2, "four times the channels": 1, "trained": 2})
    _, _, *lines = alignment.crowd_table(owner.data)
    assert len(lines) == 12
    assert all(line.endswith("| 0 |") for line in lines)


@pytest.mark.slow
def test_turned_transformers_are_read_before_and_after_alignment(tmp_path):
    """Two trainings of three epochs from starts of their own: bits are lost, come back, and no stranger is aligned."""
    run = {"capture_output": True, "text": True, "check": False, "cwd": tmp_path, "timeout": 400}
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    tiny = ["scheme=passport_v2", "scheme.bound=true", "model=vit", "model.width=0.17", "dataset.image_size=8"]
    tiny += ["trainer.max_epochs=3", "trainer.accelerator=cpu", "logger=csv", "verification.forged=2"]
    for seed in ("0", "1"):
        words = [sys.executable, "-m", "ipr", "train", *tiny, f"seed={seed}", "paths.runs=runs"]
        assert subprocess.run(words, env=one_thread, **run).returncode in (0, 1)
    folders = sorted((tmp_path / "runs" / "train").iterdir())
    program = [sys.executable, TOP / "benchmarks" / "turned_transformers.py", *folders, "--draws", "2"]
    done = subprocess.run(program, env=one_thread, **run)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"turned .*?, (\d+) of 128 bits; aligned .*?, (\d+) of 128 bits", done.stdout)
    given = [int(bits) for bits in re.findall(r"(\d+) of 128 bits as given away", done.stdout)]
    assert len(told) == 4
    assert all(30 <= int(turned) <= 98 for turned, _ in told)
    assert [int(aligned) for _, aligned in told] == [bits for bits in given for _ in range(2)]
    assert done.stdout.count("unrelated: aligned 0") == 2


@pytest.mark.slow
def test_networks_that_were_trained_before_are_protected_in_turn(tmp_path):
    """A seed of a small network of torchvision; then the table alone, which is the same."""
    folder_of_images(tmp_path, classes=3, train=12, test=3)
    program = [sys.executable, TOP / "benchmarks" / "own_networks.py", "--networks", "torchvision:resnet18"]
    more = ["--seeds", "1", "--epochs", "1,1", f"dataset.root={tmp_path}", "dataset.image_size=16"]
    more += ["optimizer.batch_size=12", "verification.forged=2", "trigger_set.size=8", "trainer.accelerator=cpu"]
    run = {"capture_output": True, "text": True, "check": False, "cwd": tmp_path, "timeout": 400}
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*program, *more], env=one_thread, **run)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"][
        2:
    ]
    assert [row[:3] for row in rows] == [
        ["torchvision:resnet18", name, "1"] for name in ("trained on", "passport_v1", "passport_v2", "passport_v3")
    ]
    assert all(row[7].endswith("of 2560") for row in rows[1:])
    again = subprocess.run([*program, "--table"], env=one_thread, **run)
    assert [line for line in done.stdout.splitlines() if line[:1] == "|"] == again.stdout.splitlines()[: len(rows) + 2]
    wrong = subprocess.run([*program[:2], "--networks", "vgg"], env=one_thread, **run)
    assert wrong.returncode == 2
    assert "choose among" in wrong.stderr


def test_networks_of_the_benchmark_have_the_layers_that_are_named():
    for name, (_, layers) in own_networks.NETWORKS.items():
        built = build_model(name, norm="bn", width=1.0, channels_in=3, image_size=64, num_classes=7)
        found = find_layers(built, torch.randn(1, 3, 64, 64), layers.split(","))
        assert len(found) >= 4


@pytest.mark.slow
def test_copies_agree_with_fingerprints_and_strangers_do_not(tmp_path, capsys, monkeypatch, cache):
    """Two owners and two strangers; what is there already is found."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    size = ("trainer.max_epochs=6", "dataset.image_size=8", "dataset.limit_train=256", "trigger_set.size=20")
    monkeypatch.setattr(fingerprints, "REQUEST", (*fingerprints.REQUEST, *size))
    some = (
        "fine-tuned",
        "fine-tuned, new classifier",
        "pruned",
        "channels moved",
    )
    monkeypatch.setattr(fingerprints, "ATTACKS", {name: fingerprints.ATTACKS[name] for name in some})
    for name, value in (("OWNERS", 2), ("STRANGERS", 2), ("EPOCHS", 1), ("MARGINS", (3.0,))):
        monkeypatch.setattr(fingerprints, name, value)
    runs = tmp_path / "runs"
    fingerprints.main(runs)
    written = (runs / "fingerprints.md").read_text()
    assert written.strip() in capsys.readouterr().out
    rows = [line[2:-2].split(" | ") for line in written.splitlines() if line.startswith("| ")]
    found = {tuple(row[:2]): row for row in rows if len(row) == 9}
    assert {name for kind, name in found if kind == "lineage"} == {*some, "strangers"}
    assert ("ipguard", "channels moved") not in found
    for kind in ("ipguard", "lineage"):
        assert found[kind, "strangers"][2] == "6"
        assert found[kind, "fine-tuned"][8] == "2 of 2"
    assert float(found["lineage", "strangers"][6].rstrip(" %")) < 40
    assert found["lineage", "channels moved"][4] == "100.00 %"
    assert f"at most {100 * stats.beta.ppf(0.95, 1, 6):.2f} %" in written
    before = {path: path.read_bytes() for path in runs.rglob("*.json*")}
    fingerprints.main(runs)
    assert {path: path.read_bytes() for path in runs.rglob("*.json*")} == before
    page = (TOP / "docs" / "fingerprints.md").read_text()
    generate = runpy.run_path(str(TOP / "docs" / "generate.py"))
    assert written.strip() in generate["with_table"](page, "fingerprints", written.strip())


def test_what_the_first_network_begins_with(tmp_path, monkeypatch):
    """The steps that install are the script's own; what they are given is made here."""
    monkeypatch.setattr(first_network, "EPOCHS", 1)
    monkeypatch.setattr(first_network, "TRAINED", 2)
    monkeypatch.setattr(first_network, "CLASSES", 2)
    folder_of_images(tmp_path / "source", classes=3, train=3, test=2)
    first_network.make_photos(tmp_path / "source", tmp_path / "photos")
    kept = sorted(str(path.relative_to(tmp_path / "photos").parent) for path in tmp_path.glob("photos/*/*/*"))
    assert kept == [f"{part}/{name}" for part in ("test", "train") for name in "0011"]
    assert 0 <= first_network.train_mine(tmp_path / "photos", tmp_path / "mine.pt") <= 1
    program = first_network.lines_of_readme()
    compile(program, "protect.py", "exec")
    assert all(given in program for given in ('"mine.pt"', '"photos/', "secret.key", '.save("mine")'))
