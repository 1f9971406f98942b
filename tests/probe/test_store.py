from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from probe.stand_in import StandIn, write_tones

from emotion2vec.probe.corpora import Clip
from emotion2vec.probe.features import make_extractor
from emotion2vec.probe.store import extract_table
from emotion2vec.probe.tables import read_table


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return list(read_table(write_tones(tmp_path, speakers=2, each=2)).clips)


def test_frames_of_all_clips_one_after_another(clips: list[Clip]) -> None:
    model = StandIn()
    table = extract_table(clips, make_extractor(model), frames=True)
    expected = [model.extract_features(clip.path).frames for clip in clips]
    np.testing.assert_array_equal(table.frames, np.concatenate(expected))
    assert table.lengths.tolist() == [len(frames) for frames in expected]
    np.testing.assert_allclose(table.vectors, [frames.mean(0) for frames in expected], rtol=1e-5)
    assert extract_table(clips, make_extractor(model), frames=False).frames is None


def test_a_bad_clip_is_set_aside(clips: list[Clip]) -> None:
    clips[1].path.write_bytes(b"not audio")
    clips[4].path.unlink()
    table = extract_table(clips, make_extractor(StandIn()), frames=True)
    assert sorted(table.failures) == [1, 4]
    assert "cannot be decoded" in table.failures[1]
    assert np.flatnonzero(~table.usable).tolist() == [1, 4]
    assert table.frames is not None
    assert len(table.frames) == table.lengths.sum()


def test_the_cache_gives_the_same_without_the_model(clips: list[Clip], tmp_path: Path) -> None:
    clips[1].path.write_bytes(b"not audio")
    cache, model = tmp_path / "cache", StandIn()
    first = extract_table(clips, make_extractor(model), frames=True, cache=cache)
    calls = model.calls
    second = extract_table(clips, make_extractor(model), frames=True, cache=cache)
    assert model.calls == calls
    assert second.failures == first.failures
    for name in ("vectors", "frames", "lengths"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    assert len(list(cache.iterdir())) == 1


def test_the_cache_knows_weights_layers_and_files(clips: list[Clip], tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def files_after(seed: int = 0, layer: int | str = "last", frames: bool = True) -> int:
        extract_table(clips, make_extractor(StandIn(seed), layer=layer), frames=frames, cache=cache)
        return len(list(cache.iterdir()))

    assert files_after() == 1
    assert files_after(seed=1) == 2
    assert files_after(layer=0) == 3
    assert files_after(frames=False) == 4
    os.utime(clips[0].path, (1, 1))
    assert files_after() == 5
    assert files_after() == 5


def test_a_damaged_cache_file_is_written_anew(clips: list[Clip], tmp_path: Path) -> None:
    cache, extractor = tmp_path / "cache", make_extractor(StandIn())
    first = extract_table(clips, extractor, frames=True, cache=cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        file.write_bytes(damaged)
        again = extract_table(clips, extractor, frames=True, cache=cache)
        np.testing.assert_array_equal(again.frames, first.frames)
        assert len(file.read_bytes()) == len(whole)
