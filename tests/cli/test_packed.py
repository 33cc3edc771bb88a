"""Several jobs of a sweep in one job of Slurm: none takes another with it, and what ended is not run again."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
from omegaconf import OmegaConf

from ipr.cli.launchers.outcomes import JobOutcome, read_outcome
from ipr.cli.launchers.packed import Pack, has_ended, logs
from ipr.cli.launchers.slurm import packing
from ipr.errors import InputError
from ipr.requests.launchers import SlurmConfig
from packed_job import job


def test_one_that_dies_or_fails_leaves_the_others_to_end_and_none_that_ended_runs_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    pack = Pack(job, tmp_path, 2)
    calls = {number: (str(tmp_path), number, what) for number, what in enumerate(["die", "fail", "", ""], 4)}
    pack(calls)
    assert [read_outcome(tmp_path, number) for number in calls] == [None, None, JobOutcome(6, 0), JobOutcome(7, 0)]
    assert all(has_ended(tmp_path, number) for number in calls)
    assert [(tmp_path / f"{number}.seen").read_text() for number in calls] == ["2 2\n", "3 2\n", "2 2\n", "3 2\n"]
    for number in calls:
        out, err = logs(tmp_path, number)
        assert out.read_text() == f"job {number} prints\n"
        assert ("as a defect would" in err.read_text()) == (number == 5)
        assert out.stat().st_mode & 0o777 == 0o600
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]) == ("2,3", "9")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = pack.checkpoint(calls)
    again.function(*again.args)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_job_that_goes_back_to_the_queue_ends_its_runs_which_are_not_over(tmp_path):
    class Requeued(SystemExit):
        """As submitit's handler ends the job."""

    def requeued(number, frame):
        raise Requeued

    def both_began(number, frame):
        if len(list(tmp_path.glob("*_log.out"))) == 2 and all(p.read_text() for p in tmp_path.glob("*_log.out")):
            os.kill(os.getpid(), signal.SIGUSR2)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.1)

    kept = {number: signal.signal(number, does) for number, does in
            ((signal.SIGUSR2, requeued), (signal.SIGALRM, both_began))}  # fmt: skip
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Requeued):
            Pack(job, tmp_path, None)({number: (str(tmp_path), number, "wait") for number in (0, 1)})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert not any(has_ended(tmp_path, number) for number in (0, 1))
    assert multiprocessing.active_children() == []


def asked(**changes):
    names = ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "runs_per_gpu")
    params = OmegaConf.to_container(OmegaConf.structured(SlurmConfig(**changes)))
    return {name: params[name] for name in names}


@pytest.mark.parametrize(
    ("changes", "jobs", "packed", "cores", "memory"),
    [
        ({}, 9, 1, 4, 16),
        ({"runs_per_gpu": 4}, 9, 4, 16, 64),
        ({"runs_per_gpu": 4}, 3, 3, 12, 48),
        ({"runs_per_gpu": 2, "gpus_per_node": 4}, 90, 8, 32, 128),
        ({"runs_per_gpu": 2, "gpus_per_node": 0}, 9, 2, 8, 32),
        ({"runs_per_gpu": 2, "mem_gb": None}, 9, 2, 8, None),
        ({"gpus_per_node": 4}, 9, 1, 4, 16),
    ],
)
def test_a_job_of_several_runs_asks_for_the_cores_and_the_memory_of_all(changes, jobs, packed, cores, memory):
    params = asked(**{"gpus_per_node": 1, "cpus_per_task": 4, "mem_gb": 16} | changes)
    config = OmegaConf.create({"trainer": {"devices": 1, "nodes": 1}})
    assert packing(params, config, {number: [f"seed={number}"] for number in range(jobs)}) == packed
    assert (params["cpus_per_task"], params["mem_gb"]) == (cores, memory)
    assert "runs_per_gpu" not in params


@pytest.mark.parametrize(
    ("changes", "trainer", "overrides"),
    [
        ({"nodes": 2}, {}, []),
        ({"tasks_per_node": 2}, {}, []),
        ({}, {"devices": 2}, []),
        ({}, {"nodes": 2}, []),
        ({}, {}, ["trainer.devices=2"]),
    ],
)
def test_runs_of_several_processes_are_not_packed(changes, trainer, overrides):
    with pytest.raises(InputError, match=r"hydra\.launcher\.runs_per_gpu=2: puts runs of one process each"):
        packing(asked(runs_per_gpu=2, **changes), OmegaConf.create({"trainer": trainer}), {0: overrides, 1: []})
    with pytest.raises(InputError, match="must be at least 1"):
        packing(asked(runs_per_gpu=0), OmegaConf.create({}), {0: []})
