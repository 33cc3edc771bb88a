"""What a run survives: torn files, full and read-only disks, a jumping clock, two sweeps at once, a NaN loss."""

import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ipr.claims.folder import read_parts
from ipr.errors import InputError
from ipr.files import clear_asides, write_atomically
from ipr.store.failure import DivergedError, find_failures
from ipr.store.record import without_times
from ipr.training.checkpoints import before, latest
from ipr.training.guards import check_weights
from ipr.training.metrics import read_metrics
from ipr.workflows.attack import attack
from ipr.workflows.request import KEYLESS
from ipr.workflows.train import train

TINY = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=640", "dataset.limit_test=40", "logger=csv",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "verification.forged=3", "passport=random",
)  # fmt: skip


@pytest.fixture
def environment(cache):
    return os.environ | {"IPR_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def command(name, *arguments):
    sweep = ["-m"] if "-m" in arguments else []
    rest = [argument for argument in arguments if argument != "-m"]
    return [sys.executable, "-c", "from ipr.cli import main; main()", name, *sweep, *TINY, *rest]


def run(environment, name, *arguments, **more):
    return subprocess.run(
        command(name, *arguments), env=environment, capture_output=True, text=True, timeout=120, **more
    )


def the_run(store, kind="train", scheme=""):
    (folder,) = Path(store).glob(f"{kind}/{scheme}*")
    return folder


def same(one, other):
    """Weights, claim, record and curve are equal, but for times."""
    weights = load_file(one / "public.safetensors"), load_file(other / "public.safetensors")
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    records = [without_times(json.loads((folder / "record.json").read_text())) for folder in (one, other)]
    assert records[0] == records[1]
    curves = [[without_times(row) for row in read_metrics(folder / "metrics.csv")] for folder in (one, other)]
    assert curves[0] == curves[1]
    if (one / "claim").exists():
        facts = [read_parts(folder / "claim")[0] for folder in (one, other)]
        assert facts[0] == facts[1]
    return True


# --- checkpoints


def stopped_after(request_for, monkeypatch, epochs, *arguments):
    """A run whose process ended in the epoch after so many: its folder, with two checkpoints."""
    import ipr.training.checkpoints as checkpoints

    saved, written = [], checkpoints.write_atomically

    def counting(*where, **how):
        written(*where, **how)
        saved.append(where)
        if len(saved) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomically", counting)
        with pytest.raises(KeyboardInterrupt):
            train(request_for(*arguments, "trainer.checkpoint_seconds=0"))
    return the_run("runs")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    """One bit, in the middle of the largest tensor: the size, the directory and the pickle are as they were."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", content, largest.header_offset + 26)  # of the header before its data
    content[largest.header_offset + 30 + name + extra + largest.file_size // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2", "uchida", "deepmarks", "deepsigns", "trigger_set"])
def test_what_goes_on_ends_as_if_it_had_never_stopped(request_for, monkeypatch, scheme):
    """The claim is drawn by the first process and read from its file by the second: both must compute alike."""
    arguments = (f"scheme={scheme}", "trainer.max_epochs=3", "dataset.limit_train=640")
    whole = train(request_for(*arguments, "paths.runs=whole")).folder
    folder = stopped_after(request_for, monkeypatch, 1, *arguments)
    train(request_for(*arguments))
    assert same(folder, whole.path)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink])
def test_after_a_torn_checkpoint_the_one_before_is_used(request_for, monkeypatch, capsys, damage):
    arguments = ("scheme=passport_v3", "trainer.max_epochs=4", "dataset.limit_train=640")
    whole = train(request_for(*arguments, "paths.runs=whole")).folder
    folder = stopped_after(request_for, monkeypatch, 3, *arguments)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    epochs = [torch.load(path, weights_only=True)["epoch"] for path in (before(checkpoint), checkpoint)]
    assert epochs == [1, 2]
    damage(checkpoint)
    assert latest(checkpoint) == before(checkpoint)
    assert ("is damaged" in capsys.readouterr().err) == (damage is not Path.unlink)
    assert not train(request_for(*arguments)).found
    assert same(folder, whole.path)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.slow
def test_with_both_torn_the_training_begins_anew(request_for, monkeypatch, capsys):
    arguments = ("scheme=passport_v1", "trainer.max_epochs=3", "dataset.limit_train=640")
    whole = train(request_for(*arguments, "paths.runs=whole")).folder
    folder = stopped_after(request_for, monkeypatch, 2, *arguments)
    for path in (folder / "checkpoints").iterdir():
        cut(path)
    train(request_for(*arguments))
    assert capsys.readouterr().err.count("is damaged") == 2
    assert same(folder, whole.path)


def test_a_checkpoint_that_would_run_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"state_dict": Evil()}, tmp_path / "last.ckpt")
    assert latest(tmp_path / "last.ckpt") is None
    assert not (tmp_path / "executed").exists()


# --- files


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "after", former=tmp_path / "former")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "before"


def test_what_killed_processes_left_half_written_is_removed(request_for):
    folder = train(request_for("scheme=passport_v2")).folder
    folder.record.unlink()
    left = folder.path / ".claim.0123456789abcdef"
    left.mkdir()
    (left / "claim.json").write_text("half a secret")
    (folder.checkpoint.parent / ".last.ckpt.0123456789abcdef").write_bytes(b"half")
    kept = folder.path / ".my.notes"
    kept.write_text("mine")
    train(request_for("scheme=passport_v2"))
    assert sorted(p.name for p in folder.path.rglob(".*")) == [".lease", ".my.notes"]


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / ".x.0123456789abcdef").symlink_to(tmp_path / "outside")
    clear_asides(tmp_path / "inside")
    assert (tmp_path / "outside" / "file").exists()
    assert not list((tmp_path / "inside").iterdir())


# --- signals


@pytest.mark.system
def test_a_preempted_run_goes_on_to_the_same_bits(environment):
    """SIGTERM, as a scheduler sends it, in a training and again in the next process of it."""
    request = ("scheme=passport_v2", "trainer.max_epochs=12")
    assert run(environment, "train", *request, "paths.runs=whole").returncode == 0
    for epochs in (1, 3):
        with subprocess.Popen(command("train", *request, "paths.runs=broken"), env=environment) as process:
            while not [row for p in Path("broken").glob("train/*/metrics.csv") for row in read_metrics(p)][epochs:]:
                assert process.poll() is None, "it ended before it could be stopped"
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) != 0
    assert run(environment, "train", *request, "paths.runs=broken").returncode == 0
    assert same(the_run("broken"), the_run("whole"))


# --- disks


def as_root(script, environment, tmp_path):
    """Runs a script in which mounts can be made, and are gone with it; skips where that is not allowed."""
    allowed = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, check=False
    )
    if allowed.returncode:
        pytest.skip(f"mounts cannot be made here ({allowed.stderr.decode().strip()})")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip


def errors(done):
    """The lines of standard error, without the note that a run without key is for research."""
    return [
        line
        for line in done.stderr.splitlines()
        if line.strip() and line != f"ipr: warning: {KEYLESS.format('passport.key')}"
    ]


@pytest.mark.system
def test_a_full_disk_is_one_line_for_each_job_and_nothing_is_lost(environment, tmp_path):
    """A sweep on a file system of 700 kB: every job ends with one line; with more room the same command finishes."""
    (tmp_path / "store").mkdir()
    wanted = ("scheme=passport_v1,passport_v2", "seed=0,1", "trainer.max_epochs=3")
    sweep = shlex.join(command("train", "-m", *wanted, "paths.runs=store"))
    done = as_root(
        f"""
        mount -t tmpfs -o size=700k none store
        {sweep}; echo "first $?"
        find store -name '.*.????????????????'
        mount -o remount,size=80m store
        {sweep}; echo "second $?"
        cp -r store kept
        """,
        environment,
        tmp_path,
    )
    lines = errors(done)
    assert "first 2" in done.stdout, done.stderr
    assert "second 0" in done.stdout, done.stderr
    assert lines
    assert all("No space left on device" in line for line in lines), done.stderr
    assert "Traceback" not in done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith("store/")]  # nothing half-written
    assert run(environment, "train", "-m", *wanted, "paths.runs=whole").returncode == 0
    for folder in Path("whole/train").iterdir():
        assert same(tmp_path / "kept" / "train" / folder.name, folder)


@pytest.mark.system
def test_files_that_may_not_grow_are_one_line_too(environment):
    """A limit on the size of files, as `ulimit -f` sets it: needs no rights, and fails in the middle of a write."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))

    request = ("scheme=passport_v2", "trainer.max_epochs=2")
    assert run(environment, "train", "scheme=baseline", "trainer.max_epochs=1").returncode == 0  # fills the cache
    done = run(environment, "train", *request, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "File too large" in line
    assert "goes on where this one stopped" in line
    assert run(environment, "train", *request).returncode == 0
    assert run(environment, "train", *request, "paths.runs=whole").returncode == 0
    assert same(the_run("runs", scheme="passport_v2"), the_run("whole"))


@pytest.mark.system
def test_a_read_only_store_still_answers(environment, tmp_path):
    """What is there is found, what is not is refused in one line, and a sweep over both does what it can."""
    assert run(environment, "train", "scheme=uchida", "trainer.max_epochs=1", "paths.runs=store").returncode == 0
    before = {p: p.stat().st_mtime_ns for p in Path("store").rglob("*")}
    one, both = ("scheme=uchida",), ("-m", "scheme=passport_v1,uchida")
    found, sweep = (shlex.join(command("train", "trainer.max_epochs=1", "paths.runs=store", *a)) for a in (one, both))
    done = as_root(
        f"""
        mount --bind store store && mount -o remount,ro,bind store
        {found}; echo "found $?"
        {sweep}; echo "sweep $?"
        """,
        environment,
        tmp_path,
    )
    assert "found 0" in done.stdout, done.stderr
    assert "sweep 2" in done.stdout, done.stderr
    (line,) = errors(done)
    assert "paths.runs=" in line
    assert "cannot be written (Read-only file system)" in line
    assert done.stdout.count("found: store") == 2
    assert {p: p.stat().st_mtime_ns for p in Path("store").rglob("*")} == before


# --- clocks


@pytest.mark.system
def test_a_clock_that_jumps_changes_nothing_but_dates(environment, tmp_path):
    """Every reading of the wall clock is ten years from the last; one process is killed, two are at it at once."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, to stand between Python and the clock")
    library = tmp_path / "clock.so"
    source = Path(__file__).parents[1] / "clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    jumping = environment | {"LD_PRELOAD": str(library)}
    seen = subprocess.run(
        [sys.executable, "-c", "import time; print(abs(time.time() - time.time()) > 1e8)"],
        env=jumping, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert seen.stdout == "True\n"
    request = ("scheme=passport_v3", "trainer.max_epochs=6")
    assert run(environment, "train", *request, "paths.runs=whole").returncode == 0
    with subprocess.Popen(command("train", *request, "paths.runs=broken"), env=jumping) as process:
        while not list(Path("broken").glob("train/*/checkpoints/last.ckpt")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    both = [
        subprocess.Popen(
            command("train", *request, "paths.runs=broken"), env=jumping, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("found: " in text for text in printed) == [False, True]
    assert same(the_run("broken"), the_run("whole"))


# --- two at once


@pytest.mark.system
def test_two_sweeps_on_one_store_make_everything_once(environment):
    """The same sweep twice at the same moment: victims and attacks are each made by one of them."""
    request = ("-m", "scheme=passport_v1,uchida", "attack=prune,finetune", "attack_epochs=1", "trainer.max_epochs=2")
    both = [
        subprocess.Popen(
            command("attack", *request), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    said = "".join(out for out, _ in printed)
    assert said.count("made: ") == 4
    assert said.count("found: ") == 4
    assert len(list(Path("runs").glob("train/*/record.json"))) == 2
    for path in Path("runs").glob("attack/*/rows.jsonl"):
        points = [json.loads(line)["point"] for line in path.read_text().splitlines()]
        assert len(points) == len(set(points))


@pytest.mark.system
def test_who_was_taken_for_dead_stops_with_one_line_and_writes_nothing_more(environment):
    """Another machine has taken the next number of the lease, as it does after two minutes of silence."""
    request = ("scheme=uchida", "trainer.max_epochs=2000")
    with subprocess.Popen(command("train", *request), env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not list(Path("runs").glob("train/*/checkpoints/last.ckpt")):
            assert process.poll() is None, "it ended before its work was taken over"
            time.sleep(0.01)
        lease = the_run("runs") / ".lease"
        (lease / "2").write_text((lease / "1").read_text())
        _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = told.strip().splitlines()
    assert "another has taken its work over" in line
    assert not (the_run("runs") / "record.json").exists()
    assert (lease / "2").stat().st_size > 1  # and it is still the other's


# --- losses


def test_a_loss_that_is_nan_stops_its_run_with_a_record(request_for):
    wanted = ("scheme=passport_v2", "optimizer.lr=1e20", "optimizer.clip_norm=null", "trainer.max_epochs=5")
    with pytest.raises(InputError, match=r"diverged: .* is (nan|inf) in epoch 0"):
        train(request_for(*wanted, "tags=[mine]"))
    folder = the_run("runs")
    assert not (folder / "record.json").exists()
    assert not (folder / "public.safetensors").exists()
    assert not (folder / "checkpoints").exists()  # nothing of it is worth going on from
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["what"].startswith("train/")
    assert failure["epoch"] == 0
    assert failure["tags"] == "mine"
    (found,) = find_failures(Path("runs"))
    assert found.key == folder.name
    stamps = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(InputError, match="diverged"):
        train(request_for(*wanted))  # known: nothing is computed
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == stamps


def test_the_last_step_counts_too():
    """It is in no mean of an epoch: the weights themselves are looked at."""
    network = torch.nn.Linear(2, 2)
    check_weights(network, 3)
    with torch.no_grad():
        network.bias[1] = float("inf")
    with pytest.raises(DivergedError, match="bias is inf in epoch 2"):
        check_weights(network, 3)


def test_an_attack_that_diverges_leaves_its_record_and_its_victim(request_for):
    wanted = ("scheme=passport_v1", "attack=finetune", "attack.lr=1e20", "attack_epochs=2")
    with pytest.raises(InputError, match="diverged"):
        attack(request_for(*wanted, command="attack"))
    assert (the_run("runs", "attack") / "failure.json").exists()
    assert not (the_run("runs", "attack") / "finished").exists()
    assert (the_run("runs") / "record.json").exists()


@pytest.mark.system
def test_a_diverged_job_of_a_sweep_is_a_line_and_the_report_names_it(environment):
    done = run(
        environment, "train", "-m", "scheme=baseline", "optimizer.lr=1e20,0.05", "optimizer.clip_norm=null",
        "trainer.max_epochs=1", "tags=[lr]",
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "diverged" in line
    assert "lower optimizer.lr" in line
    assert len(list(Path("runs").glob("train/*/record.json"))) == 1
    told = subprocess.run(
        [sys.executable, "-c", "from ipr.cli import main; main()", "report", "tag=lr"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Not in the tables, as its training diverged: train/baseline" in told.stdout
    assert "as its training diverged" in Path("runs/report/lr/index.html").read_text()
