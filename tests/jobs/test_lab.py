"""Who pretrains: shards of real speech, a run that goes on with other settings, features of it, and a first score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import run
from jobs.recordings import emodb
from networks import TINY


def test_from_shards_to_a_score(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    clips = emodb(shared)[::16]
    Path("speech.txt").write_text("".join(f"{clip.path}\n" for clip in clips))
    assert run(monkeypatch, "prepare", "speech.txt", "shards", "--workers", "1") == 0
    settings = [*TINY, "data.train=shards", "run.dir=run", "optim.warmup_updates=1", "log.every=1", "optim.lr=1e-3"]
    assert run(monkeypatch, "pretrain", *settings, "optim.max_updates=3", "checkpoint.every=1") == 0
    longer = [*settings[:-1], "optim.lr=5e-4", "optim.max_updates=5", "checkpoint.every=1"]
    assert run(monkeypatch, "pretrain", *longer) == 2
    assert "run.extend=true" in capsys.readouterr().err
    assert run(monkeypatch, "pretrain", *longer, "run.extend=true") == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    updates = [line["update"] for line in lines if "loss" in line]
    assert updates == [1, 2, 3, 4, 5]
    words = ("extract", "speech.txt", "--model", "run", "--output", "feats", "--granularity", "utterance")
    assert run(monkeypatch, *words, "--format", "parquet") == 0
    rows = pq.read_table("feats/features-00000.parquet").to_pylist()
    assert [Path(row["file"]).name for row in rows] == [clip.path.name for clip in clips]
    assert all(np.isfinite(row["utterance"]).all() for row in rows)
    table = "".join(f"{clip.path}\t{clip.emotion}\t{clip.speaker}\n" for clip in clips)
    Path("clips.tsv").write_text("file\temotion\tspeaker\n" + table)
    words = ("probe", "--table", "clips.tsv", "--features", "feats", "--features", "untrained", "--head", "logreg")
    assert run(monkeypatch, *words, "--folds", "speaker:3", "--output", "scores.json") == 0
    results = json.loads(Path("scores.json").read_text())["results"]
    assert [one["feature"] for one in results] == ["feats", "untrained"]
    assert all(0 < one["pooled"]["WA"] < 100 for one in results)
