"""`--dry-run` of every long verb: it says what would be done, exits with 0, and leaves everything as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import run
from networks import TINY

from emotion2vec.cli.rehearsal import ENOUGH_SECONDS, EnoughError, Stopwatch
from emotion2vec.progress import Progress


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works: with clips of two speakers, and every cache."""
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", 0.1 * rng.normal(size=16_000), 16_000)
        rows.append(f"clips/{number}.wav,{('sad', 'glad')[number % 2]},s{number % 3}\n")
    (tmp_path / "t.csv").write_text("file,label,speaker\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "EMOTION2VEC_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


VERBS = {
    "extract": ["extract", "clips", "--model", "tiny", "--output", "new/out"],
    "predict": ["predict", "clips", "--output", "new/rows.csv"],
    "prepare": ["prepare", "clips", "new/shards", "--workers", "1"],
    "probe": ["probe", "--table", "t.csv", "--features", "logmel", "--output", "new/r.json", "--cache", "new/cache"],
    "pretrain": ["pretrain", *TINY, "data.train=clips", "run.dir=new/run"],
    "distil": [
        "distil", "teacher=tiny", "data.train=clips", "run.dir=new/run", "data.batch_seconds=4", "optim.max_updates=3",
        "data.max_samples=16000", "optim.accumulate=1", "data.workers=0", "optim.warmup_updates=1",
    ],
    "finetune": [
        "finetune", "model=tiny", "data.table=t.csv", "run.dir=new/run", "optim.max_updates=3", "data.clips=4",
        "data.workers=0", "optim.epochs=0",
    ],
}  # fmt: skip


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """All that lies below a folder, and when it changed."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("verb", list(VERBS))
def test_nothing_is_written(
    verb: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(home)
    assert run(monkeypatch, *VERBS[verb], "--dry-run", "--log", "json") == 0, capsys.readouterr().err
    assert everything(home) == before
    assert os.environ["EMOTION2VEC_CACHE"] == str(home)
    said = {one["event"]: one for one in map(json.loads, capsys.readouterr().err.splitlines())}
    assert {"dry_run", "inputs", "output", "time"} <= set(said)
    assert said["inputs"]["total"] == {"pretrain": 4, "distil": 3, "finetune": 3}.get(verb, 12)
    assert 0 < said["time"]["seconds"] < 600
    assert said["output"]["output"].startswith("new/")
    if verb != "probe":
        assert 100 < said["output"]["bytes"] < 1e9
    assert all("emotion2vec-dry-run" not in one["message"] for one in said.values())


@pytest.mark.parametrize(
    ("verb", "changed"),
    [
        ("extract", {"clips": "nowhere"}),
        ("extract", {"tiny": "no-such-model"}),
        ("predict", {"new/rows.csv": "new/rows.doc"}),
        ("prepare", {"new/shards": "t.csv"}),
        ("prepare", {"new/shards": "clips"}),
        ("probe", {"t.csv": "none.csv"}),
        ("pretrain", {"data.train=clips": "data.train=nowhere"}),
        ("finetune", {"model=tiny": "model=no-such-model"}),
    ],
)
def test_mistakes_are_the_errors_of_the_real_run(
    verb: str,
    changed: dict[str, str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [changed.get(word, word) for word in VERBS[verb]]
    before = everything(home)
    assert run(monkeypatch, *words, "--dry-run") == 2
    dry = capsys.readouterr().err.splitlines()[-1]
    assert everything(home) == before
    assert run(monkeypatch, *words) == 2
    assert dry == capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("more", [["--plot", "p.csv"], ["--export", "srt", "--export-folder", "t.csv"]])
def test_what_stands_beside_a_table_is_looked_at_too(
    more: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "clips", "--output", "rows.csv", *more]
    assert run(monkeypatch, *words, "--dry-run") == 2
    dry = capsys.readouterr().err.splitlines()[-1]
    assert run(monkeypatch, *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert more[-1] in dry and more[-1] in said


def test_a_finished_run_by_passes_is_no_other_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for word in VERBS["finetune"] if not word.startswith(("optim.epochs", "optim.max_updates"))]
    assert run(monkeypatch, *words, "optim.epochs=1") == 0
    assert run(monkeypatch, *words, "optim.epochs=1", "--dry-run") == 0


def test_several_passes_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several models and folds, each of which counts from 1."""
    now, step = [0.0], ENOUGH_SECONDS / 5.5
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch = Stopwatch()
    for _ in range(3):
        for done in (1, 2):
            watch(Progress(done, 2, 0, 1.0, 1.0))
            now[0] += step
    assert watch.done == 6
    now[0] += ENOUGH_SECONDS
    with pytest.raises(EnoughError):
        watch(Progress(1, 2, 0, 1.0, 1.0))
    assert watch.done == 7 and watch.each() == pytest.approx((ENOUGH_SECONDS + 6 * step) / 6)


def test_a_second_is_measured_after_what_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch = Stopwatch()
    assert watch.each() is None
    for done, at in ((1, 103.0), (2, 103.25), (3, 103.5)):
        now[0] = at
        watch(Progress(done, 50, 0, 1.0 * done, at - 100.0))
    assert watch.each() == pytest.approx(3.5 / 3)  # too little for more
    now[0] = 103.0 + ENOUGH_SECONDS
    with pytest.raises(EnoughError):
        watch(Progress(6, 50, 0, 6.0, 4.0))
    assert watch.each() == pytest.approx(ENOUGH_SECONDS / 5)
