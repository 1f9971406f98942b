from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from extraction.helpers import tiny_model

from emotion2vec import processors
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.processors import available_processors

ALLOWED = 8


@pytest.fixture(autouse=True)
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALLOWED)), raising=False)


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, ALLOWED),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/jobs/7\n", {"jobs/cpu.max": "300000 100000", "jobs/7/cpu.max": "max 100000"}, 3),
        ("2:cpuacct,cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, 4),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALLOWED),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, ALLOWED),
        ("", {}, ALLOWED),
    ],
)
def test_quotas_of_containers_count(tmp_path: Path, own: str, limits: dict[str, str], expected: int) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_processors(tmp_path, tmp_path / "own") == expected


def test_threads_are_capped_for_a_job_and_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model()
    monkeypatch.setattr(processors, "available_processors", lambda: 1)
    torch.set_num_threads(2)
    try:
        with caplog.at_level(logging.WARNING), ready_model(model, None):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert caplog.messages == ["2 threads on 1 processor would wait for each other: using 1"]
    with caplog.at_level(logging.WARNING), ready_model(model, None):
        assert torch.get_num_threads() == 1
    assert len(caplog.messages) == 1
