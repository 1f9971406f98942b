from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from probe.stand_in import write_tones
from signals import start_child

from emotion2vec.probe.parallel import JobStopped, run_parallel, stop_if_asked

SECONDS = 60
"""What a slow machine may take to start Python; not what stopping takes."""

BLOCKED = """
import pathlib, sys, time
from emotion2vec import cli
from emotion2vec.probe.logreg import LogisticRegressionHead
normal, calls = LogisticRegressionHead.fit, []
def fit(self, data, problem):
    calls.append(1)
    if len(calls) > {done}:
        pathlib.Path({flag!r}).touch()
        time.sleep(600)  # a fit that cannot be told to stop
    return normal(self, data, problem)
LogisticRegressionHead.fit = fit
sys.argv[1:] = {arguments!r}
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_benchmark_at_once_and_keeps_what_is_finished(
    tmp_path: Path, root: Path, number: signal.Signals
) -> None:
    write_tones(tmp_path, speakers=3, each=1)
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"data: {tmp_path}\ncorpora: [{{table: tones.csv}}]\nfeatures: [logmel, mfcc]\n")
    out, flag = tmp_path / "out", tmp_path / "blocked"
    arguments = ["benchmark", "--config", str(plan), f"output={out}"]
    process = start_child(
        [sys.executable, "-c", BLOCKED.format(done=3, flag=str(flag), arguments=arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(root)},
    )
    deadline = time.monotonic() + SECONDS
    while not flag.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert flag.exists(), process.communicate(timeout=5)
    process.send_signal(number)
    try:
        _, said = process.communicate(timeout=10)  # the blocked folds would take ten minutes
    finally:
        process.kill()
    assert process.returncode == {signal.SIGTERM: 75, signal.SIGINT: 130}[number]
    assert f"interrupted; 1 results are kept in {out / 'results'}; the same command goes on" in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):  # nothing of its process group is left
        os.killpg(process.pid, 0)
    (kept,) = (out / "results").iterdir()
    assert json.loads(kept.read_text())["feature"] == "logmel"


def test_an_error_in_one_job_stops_the_others() -> None:
    ended: list[str] = []
    running = threading.Barrier(2)

    def endless() -> None:
        running.wait(SECONDS)
        try:
            while True:
                stop_if_asked()
                time.sleep(0.001)
        except JobStopped:
            ended.append("told to stop")
            raise

    def failing() -> None:
        running.wait(SECONDS)
        raise ValueError("of the job itself")

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="of the job itself"):
            list(run_parallel([failing, endless], "cpu"))
        deadline = time.monotonic() + SECONDS
        while not ended and time.monotonic() < deadline:
            time.sleep(0.001)
        assert ended == ["told to stop"]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    stop_if_asked()  # outside of jobs it does nothing
