from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from probe.stand_in import StandIn, write_tones

from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.probe.features.table import extract_table


@pytest.fixture
def clips(tmp_path: Path) -> list[Utterance]:
    return list(read_table(write_tones(tmp_path, speakers=2, each=2)).utterances)


def test_frames_of_all_clips_one_after_another(clips: list[Utterance]) -> None:
    model = StandIn()
    table = extract_table(clips, make_extractor(model), frames=True)
    expected = [model.extract_features(clip.path).frames for clip in clips]
    np.testing.assert_array_equal(table.frames, np.concatenate(expected))
    assert table.lengths.tolist() == [len(frames) for frames in expected]
    np.testing.assert_allclose(table.vectors, [frames.mean(0) for frames in expected], rtol=1e-5)
    assert extract_table(clips, make_extractor(model), frames=False).frames is None


def test_a_bad_clip_is_set_aside(clips: list[Utterance]) -> None:
    clips[1].path.write_bytes(b"not audio")
    clips[4].path.unlink()
    table = extract_table(clips, make_extractor(StandIn()), frames=True)
    assert sorted(table.failures) == [1, 4]
    assert "cannot be decoded" in table.failures[1]
    assert np.flatnonzero(~table.usable).tolist() == [1, 4]
    assert table.frames is not None
    assert len(table.frames) == table.lengths.sum()


def packs(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.npz"))


def test_the_cache_gives_the_same_without_the_model(clips: list[Utterance], tmp_path: Path) -> None:
    clips[1].path.write_bytes(b"not audio")
    cache, model = tmp_path / "cache", StandIn()
    first = extract_table(clips, make_extractor(model), frames=True, cache=cache)
    calls = model.calls
    second = extract_table(clips, make_extractor(model), frames=True, cache=cache)
    assert model.calls == calls + 1  # what failed is tried again
    assert second.failures == first.failures
    for name in ("vectors", "frames", "lengths"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    assert len(packs(cache)) == 1
    vectors = extract_table(clips, make_extractor(model), frames=False, cache=cache)
    assert model.calls == calls + 2
    np.testing.assert_array_equal(vectors.vectors, first.vectors)
    assert vectors.frames is None


def test_clips_are_known_by_their_content(clips: list[Utterance], tmp_path: Path) -> None:
    cache, model = tmp_path / "cache", StandIn()
    extract_table(clips[:5], make_extractor(model), frames=True, cache=cache)
    assert model.calls == 5
    moved = clips[2].path.rename(tmp_path / "elsewhere.wav")
    others = [replace(clips[2], file="elsewhere.wav", audio=moved), *clips[4:]]
    table = extract_table(others, make_extractor(model), frames=True, cache=cache)
    assert model.calls == 5 + len(clips) - 5
    np.testing.assert_array_equal(table.frames[: table.lengths[0]], model.extract_features(moved).frames)
    moved.write_bytes(clips[0].path.read_bytes())
    changed = extract_table(others[:1], make_extractor(model), frames=True, cache=cache)
    np.testing.assert_array_equal(changed.frames, model.extract_features(clips[0].path).frames)


def test_the_cache_knows_weights_and_layers(clips: list[Utterance], tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def packs_after(seed: int = 0, layer: int | str = "last", frames: bool = False) -> int:
        extract_table(clips, make_extractor(StandIn(seed), layer=layer), frames=frames, cache=cache)
        return len(packs(cache))

    assert packs_after() == 1
    assert packs_after(seed=1) == 2
    assert packs_after(layer=0) == 3
    assert packs_after(frames=True) == 4  # vectors alone do not do
    assert packs_after() == packs_after(frames=True) == 4


def test_a_damaged_cache_file_is_written_anew(clips: list[Utterance], tmp_path: Path) -> None:
    cache, extractor = tmp_path / "cache", make_extractor(StandIn())
    first = extract_table(clips, extractor, frames=True, cache=cache)
    (file,) = packs(cache)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        file.write_bytes(damaged)
        again = extract_table(clips, extractor, frames=True, cache=cache)
        np.testing.assert_array_equal(again.frames, first.frames)
        assert len(file.read_bytes()) == len(whole)


def test_features_on_disk(clips: list[Utterance], tmp_path: Path) -> None:
    folder = tmp_path / "feats"
    folder.mkdir()
    frames = {clip.path.stem: np.random.default_rng(i).normal(size=(3 + i, 4)) for i, clip in enumerate(clips)}
    for stem, array in frames.items():
        np.save(folder / f"{stem}.npy", array)
    np.savez(tmp_path / "all.npz", **frames)
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    np.save(recipe / "train.npy", np.concatenate(list(frames.values())))
    (recipe / "train.lengths").write_text("\n".join(str(len(array)) for array in frames.values()))
    (recipe / "train.emo").write_text("\n".join(f"{stem}\tsad" for stem in frames))
    expected = np.concatenate(list(frames.values())).astype(np.float32)
    for store in (folder, tmp_path / "all.npz", recipe):
        table = extract_table(clips, make_extractor(str(store)), frames=True)
        np.testing.assert_array_equal(table.frames, expected)
        np.testing.assert_allclose(table.vectors[1], frames[clips[1].path.stem].mean(0), rtol=1e-5)
    (folder / f"{clips[3].path.stem}.npy").unlink()
    missing = extract_table(clips, make_extractor(str(folder)), frames=True).failures
    assert list(missing) == [3] and "no arrays for low_0_1.wav" in missing[3]
