"""A disk that is full from the n-th call on, for every n: one sentence, exit code 2, and the same command goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from distil.students import settings
from finetune.talkers import QUICK
from networks import TINY

FullDisk = Callable[..., Iterator[Any]]

RUN = [
    "optim.max_updates=2",
    "optim.warmup_updates=1",
    "checkpoint.every=1",
    "checkpoint.keep_last=1",
    "log.every=1",
    "run.dir=run",
]
HEARD = ("data.train=talkers", "data.min_samples=4000", "data.max_samples=8000")
PRETRAIN = ["pretrain", *TINY, *RUN, *HEARD, "validation.every=1", "validation.data=in"]
DISTIL = ["distil", *settings(Path("small"), *RUN, *HEARD), "target.layers=[2]"]
FINETUNE = ["finetune", *QUICK, *RUN, "validation.every=1", "data.table=talkers/table.csv", "model=small"]
SEARCH = ["finetune", "search", *FINETUNE[1:], "space=space.yaml", "sampler=grid", "trials=2", "pruner=none"]
UNFINISHED = {".partial", ".replaced", ".lock"}
FULL = ("No space left", "study.db: cannot be written: Input/output error")
"""What is said of a full disk; SQLite does not say which calls failed for what reason."""
PROBE = ["probe", "--table", "talkers/table.csv", "--features", "logmel", "--head", "logreg"]
TESTED = ["finetune", "evaluate", "data.table=talkers/table.csv", "model=run", "known=keep", "output=tested"]


@dataclass(frozen=True)
class Command:
    """One that writes, in a folder with speech `in`, labelled speech `talkers`, and models `model` and `small`.

    Attributes:
        words: of it.
        more: words with which it goes on.
        once: commands that were run before it.
        needs: a package.
        features: where it leaves some.
        replaces: a file that they left.
    """

    words: list[str]
    more: tuple[str, ...] = ()
    once: list[list[str]] = field(default_factory=list)
    needs: str = "numpy"
    features: str = ""
    replaces: str | None = None


def extract(format: str, needs: str = "numpy") -> Command:
    words = ["extract", "in", "--model", "model", "--output", "out", "--granularity", "utterance", "--format", format]
    return Command(words, ("--resume",), needs=needs, features="out/features.npz" if format == "npz" else "out")


def convert(to: str, needs: str = "numpy") -> Command:
    return Command(["convert", "model", "m.pt" if to == "fairseq" else "m", "--to", to], needs=needs)


COMMANDS = {
    **{format: extract(format) for format in ("npy", "safetensors", "npz", "kaldi")},
    "parquet": extract("parquet", "pyarrow"),
    "hdf5": extract("hdf5", "h5py"),
    "jsonl": Command(["predict", "in", "--output", "p.jsonl"]),
    "csv": Command(["predict", "in", "--output", "p.csv"]),
    "csv again": Command(
        ["predict", "in", "--output", "p.csv"], once=[["predict", "talkers", "--output", "p.csv"]], replaces="p.csv"
    ),
    "npz again": replace(
        extract("npz"), more=(), once=[[*extract("npz").words, "--model", "small"]], replaces="out/features.npz"
    ),
    "prepare": Command(["prepare", "in", "out", "--workers", "1"]),
    "prepare without a copy": Command(["prepare", "in", "out", "--workers", "1", "--no-copy"]),
    **{to: convert(to) for to in ("native", "fairseq", "funasr")},
    "huggingface": convert("huggingface", "transformers"),
    "onnx": Command(["export", "model", "m.onnx"], needs="onnx"),
    "torch-export": Command(["export", "model", "m.pt2", "--format", "torch-export"]),
    "probe": Command([*PROBE, "--output", "p.json", "--cache", "kept"]),
    "benchmark": Command(["benchmark", "--config", "plan.yaml", "output=bench"]),
    "pretrain": Command(PRETRAIN),
    "distil": Command(DISTIL),
    "finetune": Command(FINETUNE),
    "search": Command(SEARCH, needs="optuna"),
    "evaluate": Command(TESTED, once=[FINETUNE]),
    "report": Command(["finetune", "report", "run"], once=[FINETUNE]),
    "average": Command(["finetune", "average", "run", "run", "--output", "mean"], once=[FINETUNE]),
}


def check(full_disk: FullDisk, name: str, stays: bool, most: int | None = None) -> int:
    """What must hold whichever call fails; how many of them did."""
    command = COMMANDS[name]
    pytest.importorskip(command.needs)
    request = {"verb": command.words, "resume": [*command.words, *command.more], "features": command.features}
    before, whole, *answers = full_disk(once=command.once, **request, stays=stays, most=most)
    assert whole["code"] == 0, f"{name}: {whole}"  # the disk took everything
    wrong = [(fault, answer) for answer in answers for fault in faults(command, before, whole, answer)]
    assert not wrong, "\n".join(f"{name}, call {answer['number']}: {fault}: {answer}" for fault, answer in wrong)
    failed = sum("then" in answer for answer in answers)
    print(f"{name}, {'from then on' if stays else 'once'}: {failed} of {whole['calls']} calls failed")
    return failed


def faults(command: Command, before: dict[str, str], whole: Any, answer: Any) -> Iterator[str]:
    """What is wrong after one call that failed, given what was there before and what the whole command leaves."""
    said, left = answer["said"], answer["left"]
    unfinished = [path for path in map(PurePosixPath, left) if UNFINISHED & set(path.suffixes)]
    unfinished = [path for path in unfinished if str(path) not in whole["left"]]
    if not all(".prepare" in path.parts for path in unfinished):  # where what is not complete belongs
        yield f"left {unfinished}"
    if "Traceback" in said or "Exception ignored" in said:
        yield "a traceback"
    if answer["code"] not in (0, 2):
        yield f"exit code {answer['code']}"
    elif answer["code"] == 2:
        *_, last = said.strip().splitlines()
        if not (last.startswith("error: ") and any(reason in last for reason in FULL)):
            yield f"said {last}"
    if (old := command.replaces) and left.get(old) not in (before[old], whole["left"][old]):
        yield f"{old} is neither the old one nor the new one"
    if "then" in answer:  # a call did fail; what is whole may be refused a second time
        if answer["then"] != 0 and "is there already" not in answer["then_said"]:
            yield "does not go on"
        elif answer["features"] != whole["features"]:
            yield "goes on to other features"
        elif not command.features:  # which may be in other parts
            missing = {path for path in whole["left"] if path.count("/") < 2} - answer["end"].keys()
            if missing:
                yield f"goes on, but without {missing}"


@pytest.mark.parametrize(
    ("name", "stays", "most"),
    [
        ("npy", False, 3),
        ("npy", True, 3),
        ("kaldi", True, 3),
        ("hdf5", False, 12),  # some of its errors reach nobody
        ("finetune", True, 2),
        ("benchmark", False, 3),
    ],
)
def test_a_sample(full_disk: FullDisk, name: str, stays: bool, most: int) -> None:
    assert check(full_disk, name, stays, most) == most


@pytest.mark.slow
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_call(full_disk: FullDisk, name: str, stays: bool) -> None:
    assert check(full_disk, name, stays) > 5
