"""Trainings side by side: what comes out is what comes out one by one, also where one of the processes dies."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.machine.slots import Slots, cores_here
from ipr.workflows.side_by_side import slots_for, train_all
from ipr.workflows.train import train

pytestmark = pytest.mark.system


@pytest.fixture
def wanted(request_for, monkeypatch):
    """Requests that differ in their seeds."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def of(count, *arguments):
        first = request_for("scheme=baseline", *arguments)
        return [replace(first, seed=seed) for seed in range(count)]

    return of


def weights(runs):
    return {run.folder.key: run.folder.weights.read_bytes() for run in runs}


def of_joblib():
    """The processes of joblib that this one has started."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


def test_bit_by_bit_those_of_one_by_one_and_found_without_a_process(wanted, monkeypatch):
    requests = wanted(3)
    data = open_images(requests[0].dataset, requests[0].paths)
    apart = [replace(one, paths=replace(one.paths, runs="apart")) for one in requests]
    alone = [train(one) for one in apart]
    train(requests[1])  # one is there
    ticks = []
    together = train_all(requests, data, 2, lambda: ticks.append(len(list(Path("runs/train").glob("*/record.json")))))
    assert weights(together) == weights(alone)
    assert len(set(weights(alone).values())) == 3
    assert [run.record.seed for run in together] == [0, 1, 2]
    assert all(run.found for run in together)  # other processes made them
    assert len(ticks) == 3
    assert ticks[-1] == 3
    assert {run.record.threads for run in together} == {1}
    monkeypatch.setattr("ipr.workflows.side_by_side.in_processes", None)  # nobody starts one
    assert weights(train_all(requests, data, 2)) == weights(alone)


def test_the_first_that_fails_says_so_and_none_is_left(wanted):
    requests = wanted(3)
    requests[1] = replace(requests[1], optimizer=replace(requests[1].optimizer, lr=1e30, clip_norm=None))
    data = open_images(requests[0].dataset, requests[0].paths)
    with pytest.raises(InputError, match="diverged"):
        train_all(requests, data, 2)
    assert of_joblib() == []
    with pytest.raises(InputError, match=r"processes=0: must be at least 1"):
        train_all(wanted(4), data, 0)


def test_what_a_killed_process_takes_with_it_is_gone_on_with_one_by_one(wanted, capsys):
    requests = wanted(4)
    data = open_images(requests[0].dataset, requests[0].paths)
    killed, ticks = [], []

    def told():
        ticks.append(1)
        if not killed:
            for pid in of_joblib():
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    runs = train_all(requests, data, 2, told)
    assert len(killed) == 2
    assert len(weights(runs)) == len(ticks) == 4
    assert capsys.readouterr().err.count("ipr: a process was killed") == 1
    assert of_joblib() == []


def test_as_many_as_a_sweep_would_run_but_one_where_each_has_several_processes(wanted, monkeypatch):
    trainer = wanted(1)[0].trainer
    assert slots_for(trainer, None) == Slots(cores_here(), 1, ())
    assert slots_for(trainer, 3).count == 3
    assert slots_for(replace(trainer, devices=2), 3).count == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setenv("PATH", os.defpath)
    assert slots_for(replace(trainer, accelerator="auto"), None).gpus == ("4", "5")


def test_nothing_is_started_for_one(wanted, monkeypatch):
    monkeypatch.setattr("ipr.workflows.side_by_side.in_processes", in_no_process)
    (request,) = wanted(1)
    assert not train_all([request], open_images(request.dataset, request.paths), 8)[0].found
    assert train_all([], open_images(request.dataset, request.paths)) == []


def in_no_process(*_):
    raise AssertionError("one training needs no other process")
