"""A disk that is full from the n-th call on, for every n: one sentence, exit code 2, and the same command goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest

FullDisk = Callable[..., Iterator[Any]]

MODEL = ["--model", "model"]
EXTRACT = ["extract", "in", *MODEL, "--output", "out", "--granularity"]
COMMANDS = {
    **{format: [*EXTRACT, "utterance", "--format", format] for format in ("npy", "safetensors", "npz")},
    **{format: [*EXTRACT, "utterance", "--format", format] for format in ("parquet", "hdf5", "kaldi")},
    "jsonl": ["predict", "in", "--output", "p.jsonl"],
    "csv": ["predict", "in", "--output", "p.csv"],
    "prepare": ["prepare", "in", "out", "--workers", "1"],
    "prepare without a copy": ["prepare", "in", "out", "--workers", "1", "--no-copy"],
    **{to: ["convert", "model", "m.pt" if to == "fairseq" else "m", "--to", to]
       for to in ("native", "fairseq", "funasr", "huggingface")},
}  # fmt: skip
PACKAGES = {"parquet": "pyarrow", "hdf5": "h5py", "huggingface": "transformers"}


def check(name: str, answers: Iterator[Any]) -> int:
    """What must hold whichever call fails; how many of them did."""
    failed = 0
    for answer in answers:
        said, names, what = answer["said"], map(PurePosixPath, answer["left"]), f"{name}: {answer}"
        unfinished = [path for path in names if {".partial", ".replaced", ".lock"} & set(path.suffixes)]
        assert all(".prepare" in path.parts for path in unfinished), what  # where what is not complete belongs
        assert "Traceback" not in said and "Exception ignored" not in said, what
        if answer["calls"] < answer["number"]:  # the disk took everything
            assert answer["code"] == 0, what
            continue
        failed += 1
        assert answer["code"] in (0, 2), what
        if answer["code"] == 2:
            *_, last = said.strip().splitlines()
            assert last.startswith("error: ") and "No space left" in last, what
        # What is whole may be refused a second time.
        assert answer["then"] == 0 or "is there already" in answer["then_said"], what
    return failed


@pytest.mark.parametrize("stays", [False, True])
def test_a_sample(full_disk: FullDisk, stays: bool) -> None:
    for name, step in (("npy", 9), ("kaldi", 9)):
        resume = [*COMMANDS[name], "--resume"]
        assert check(name, full_disk(COMMANDS[name], resume, stays=stays, first=4 + stays, step=step))


@pytest.mark.slow
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_call(full_disk: FullDisk, name: str, stays: bool) -> None:
    pytest.importorskip(PACKAGES.get(name, "numpy"))
    command = COMMANDS[name]
    resume = [*command, "--resume"] if command[0] == "extract" else command
    assert check(name, full_disk(command, resume, stays=stays)) > 5
