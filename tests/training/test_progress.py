"""What programs are told while they wait, and how they end a job: nothing that was done is lost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import torch
from networks import TINY
from safetensors.torch import load_file

import emotion2vec
from emotion2vec.extraction import extract
from emotion2vec.extraction.predict import predict
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.progress import Progress


class EnoughError(Exception):
    pass


class Watcher:
    """Keeps what it is told, and raises after so many times."""

    def __init__(self, after: int, error: BaseException):
        self.seen: list[Progress] = []
        self._after, self._error = after, error

    def __call__(self, progress: Progress) -> bool:
        self.seen.append(progress)
        if len(self.seen) == self._after:
            raise self._error
        return False  # which nobody looks at


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "update_00000004" / "model.safetensors")


@pytest.mark.parametrize("error", [EnoughError("enough"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_callback_ends_a_training_that_then_goes_on_as_if_nothing_were(
    speech: Path, tmp_path: Path, error: BaseException
) -> None:
    def config(name: str) -> emotion2vec.PretrainConfig:
        more = [f"data.train={speech}", f"run.dir={tmp_path / name}", "log.every=1", "log.progress=false"]
        return load_config(None, [*TINY, *more])

    stopped, watched = Watcher(2, error), Watcher(99, error)
    with pytest.raises(type(error)):
        pretrain(config("stopped"), say=lambda text: None, on_progress=stopped)
    assert [folder.name for folder in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["update_00000002"]
    assert pretrain(config("stopped"), say=lambda text: None).update == 4
    pretrain(config("whole"), say=lambda text: None, on_progress=watched)
    assert [(one.done, one.total, one.failed) for one in stopped.seen] == [(1, 4, 0), (2, 4, 0)]
    assert [one.done for one in watched.seen] == [1, 2, 3, 4]
    times = [(one.seconds, one.elapsed) for one in watched.seen]
    assert times == sorted(times) and times[0] > (0, 0)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [one.metrics["loss"] for one in watched.seen] == pytest.approx([line["loss"] for line in lines], rel=1e-5)
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_callback_ends_an_extraction_whose_files_are_whole(speech: Path, tmp_path: Path) -> None:
    stopped = Watcher(3, EnoughError("enough"))
    with pytest.raises(EnoughError, match="enough"):
        extract(speech, model="tiny", output=tmp_path / "out", on_progress=stopped)
    assert [(one.done, one.total) for one in stopped.seen] == [(1, 10), (2, 10), (3, 10)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        stopped.seen[0].done = 7  # type: ignore[misc]
    there = len(list((tmp_path / "out").glob("*.npy")))
    assert 3 <= there < 10
    report = extract(speech, model="tiny", output=tmp_path / "out", resume=True)
    assert (report.skipped, report.written) == (there, 10 - there)


def test_a_callback_ends_a_prediction_whose_rows_are_complete(speech: Path, tmp_path: Path) -> None:
    stopped = Watcher(2, EnoughError("enough"))
    with pytest.raises(EnoughError):
        predict(speech, output=tmp_path / "rows.csv", on_progress=stopped)
    assert [(one.done, one.total) for one in stopped.seen] == [(1, 10), (2, 10)]
    written = [path for path in tmp_path.iterdir() if path.suffix == ".csv"]
    assert not written or len(pd.read_csv(written[0])) >= 2
    seen: list[Progress] = []
    clips = [soundfile.read(path)[0].astype("float32") for path in sorted(speech.glob("*.wav"))[:3]]
    assert len(emotion2vec.predict(clips, 16_000, on_progress=seen.append)) == 3
    assert [(one.done, one.total) for one in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].seconds == pytest.approx(sum(map(len, clips)) / 16_000)
