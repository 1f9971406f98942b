from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from data.helpers import batches

from emotion2vec.data import batches as module
from emotion2vec.data import storage
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.prepare import prepare
from emotion2vec.data.sources import Source
from emotion2vec.errors import ConfigError, ManifestError, StorageError

KIND = "'format': 'emotion2vec-shards'"
OPEN = {"min_samples": 8_000, "max_bad_share": 0.0, "workers": 0}
SETTINGS = {"batch_seconds": 3.0, "max_samples": 16_000, "buckets": 3, "seed": 5, "accumulate": 2, "window": 12}


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of thirty utterances of 0.4 to 1.5 s, as files in `one` and `two`, prepared in `p_one`, `p_two`."""
    import soundfile

    folder = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / name).mkdir()
        for number in range(30):
            samples = rng.normal(0.02, 0.1, 6_400 + int(rng.integers(17_600)))
            soundfile.write(folder / name / f"{name}{number:02d}.wav", samples, 16_000)
        prepare(folder / name, folder / f"p_{name}", shard_size=4, workers=1)
    return folder


@pytest.fixture(scope="module")
def remote(lists: Path) -> str:
    """The first corpus in object storage."""
    for path in (lists / "p_one").rglob("*.*"):
        if path.is_file():
            with fsspec.open(f"memory://bucket/one/{path.relative_to(lists / 'p_one')}", "wb") as stream:
                stream.write(path.read_bytes())
    return "memory://bucket/one"


def take(iterator: Iterator[MicroBatch], count: int) -> list[MicroBatch]:
    taken = list(islice(iterator, count))
    iterator.close()  # type: ignore[attr-defined]
    return taken


def same(first: list[MicroBatch], second: list[MicroBatch]) -> bool:
    return len(first) == len(second) and all(
        (a.ids, a.position, a.skipped) == (b.ids, b.position, b.skipped) and torch.equal(a.waveforms, b.waveforms)
        for a, b in zip(first, second, strict=True)
    )


def sources(*train: str | Path, **changed) -> list[Source]:
    return open_corpus([str(source) for source in train], **{**OPEN, **changed}).sources


def by_id(listed: list[MicroBatch]) -> dict[str, int]:
    return {name: batch.waveforms.shape[1] for batch in listed for name in batch.ids}


def test_shards_hold_what_the_files_hold(lists: Path) -> None:
    # With one update over everything and no crops, an utterance's samples depend on nothing but its id.
    whole = {**SETTINGS, "batch_seconds": 60.0, "accumulate": 1_000, "max_samples": 32_000, "buckets": 1, "window": 99}
    (ours,) = take(batches(sources(lists / "p_one"), **whole, min_samples=8_000), 1)
    (theirs,) = take(batches(sources(lists / "one"), **whole), 1)
    assert set(ours.ids) == set(theirs.ids) and len(ours.ids) > 20
    rows = dict(zip(theirs.ids, theirs.waveforms, strict=True))
    assert all(torch.equal(row, rows[name]) for name, row in zip(ours.ids, ours.waveforms, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixture_resumes_where_it_stopped(lists: Path, remote: str, workers: int) -> None:
    def mixed() -> list[Source]:
        return sources(remote, lists / "p_two", lists / "two", weights=[1.0, 0.5, 2.0])

    settings = {**SETTINGS, "min_samples": 8_000}
    whole = take(batches(mixed(), **settings), 100)
    assert whole[-1].position.epoch >= 1
    assert same(whole, take(batches(mixed(), **settings, workers=workers), 100))
    for stop in (1, 40, 77):
        resumed = batches(mixed(), **settings, start=whole[stop - 1].position, workers=workers)
        assert same(whole[stop : stop + 15], take(resumed, 15))


def test_remote_is_local(lists: Path, remote: str) -> None:
    local = take(batches(sources(lists / "p_one"), **SETTINGS), 30)
    assert same(local, take(batches(sources(remote), **SETTINGS), 30))
    assert same(local, take(batches(sources(f"simplecache::{remote}"), **SETTINGS), 30))


def test_shares_and_totals(lists: Path) -> None:
    corpus = open_corpus([str(lists / "p_one"), str(lists / "two")], weights=[3.0, 1.0], **OPEN)
    one, two = corpus.sources
    assert corpus.utterances == 30 + len(two.cuts)  # type: ignore[attr-defined]
    assert corpus.seconds == pytest.approx(one.seconds + two.seconds)
    assert corpus.shares[0] == pytest.approx(3 * one.seconds / (3 * one.seconds + two.seconds))
    assert [str(fault).split(": ")[1][:9] for fault in corpus.too_short] == ["too short"] * (30 - len(two.cuts))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="1 weights for 2 sources"):
        open_corpus(["a", "b"], weights=[1.0], **OPEN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no shards.json, expected a folder that `emotion2vec prepare` has completed"),
        ("[", "cannot be read as JSON"),
        ("{}", "expected what `emotion2vec prepare` writes"),
        ('{"format": "emotion2vec-shards", "format_version": 9, "audio": "tar"}', "version 9 .* expected version 1"),
        (
            '{"format": "emotion2vec-shards", "format_version": 1, "audio": "tar", "seconds": 0, "counts": []}',
            "holds no",
        ),
    ],
)
def test_what_is_no_prepared_folder_is_a_mistake(content: str | None, message: str) -> None:
    url = f"memory://bucket/broken{abs(hash(content))}"
    if content is not None:
        with fsspec.open(f"{url}/shards.json", "w") as stream:
            stream.write(content.replace("'", '"'))
    with pytest.raises(ManifestError, match=message):
        sources(url)


def test_damage_in_a_shard_is_one_fault(lists: Path, tmp_path: Path) -> None:
    shutil.copytree(lists / "p_one", tmp_path / "p")
    index = np.fromfile(tmp_path / "p" / "index.bin", dtype=[("offset", "<i8"), ("size", "<i4"), ("length", "<i4")])
    with open(tmp_path / "p" / "shar" / "recording.000001.tar", "r+b") as stream:
        stream.seek(int(index["offset"][4]))  # its first header
        stream.write(b"x" * 512)
        stream.seek(int(index["offset"][6]) + 512)  # its third file's RIFF header
        stream.write(b"x" * 512)
    seen = take(batches(sources(tmp_path / "p"), **{**SETTINGS, "window": 99}), 18)
    first = [batch for batch in seen if batch.position.epoch == 0]
    assert sum(len(batch.ids) for batch in first) == 28
    reasons = sorted(str(fault) for batch in first for fault in batch.skipped)
    assert len(reasons) == 2
    assert any("does not fit its index" in reason for reason in reasons)
    assert any("cannot be decoded" in reason for reason in reasons)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HICCUP", 0.0)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lost_source_stops_the_run_by_name(lists: Path, tmp_path: Path, impatient: None, workers: int) -> None:
    shutil.copytree(lists / "p_one", tmp_path / "p")
    iterator = batches(sources(tmp_path / "p"), **SETTINGS, workers=workers, patience=0.15)
    (tmp_path / "p" / "shar").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError) as raised:
        next(iterator)
    assert "recording.00000" in str(raised.value) and "; the data stayed out of reach for" in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_waiting_ends_when_the_run_is_to_stop(lists: Path, tmp_path: Path, impatient: None) -> None:
    shutil.copytree(lists / "p_one", tmp_path / "p")
    asked = iter([False, False, True, True])
    iterator = batches(sources(tmp_path / "p"), **SETTINGS, patience=1_000.0, stopping=lambda: next(asked))
    (tmp_path / "p" / "index.bin").unlink()
    with pytest.raises(StorageError, match=r"index\.bin: cannot be read"):
        next(iterator)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_that_comes_back_goes_on_as_if_nothing_had_been(
    lists: Path, tmp_path: Path, impatient: None, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    shutil.copytree(lists / "one", tmp_path / "mount" / "one")
    expected = take(batches(sources(tmp_path / "mount" / "one"), **SETTINGS), 24)
    iterator = batches(sources(tmp_path / "mount" / "one"), **SETTINGS, patience=60.0, workers=workers)
    seen = [next(iterator) for _ in range(4)]
    (tmp_path / "mount").rename(tmp_path / "away")

    def back() -> None:
        time.sleep(1.0)
        (tmp_path / "away").rename(tmp_path / "mount")

    thread = threading.Thread(target=back)
    thread.start()
    with caplog.at_level(logging.WARNING):
        seen += [next(iterator) for _ in range(20)]
    thread.join()
    iterator.close()
    assert same(seen, expected)
    assert any("the data is out of reach, looking again in" in message for message in caplog.messages)


def test_one_deleted_file_is_no_lost_source(lists: Path, tmp_path: Path) -> None:
    shutil.copytree(lists / "one", tmp_path / "one")
    opened = sources(tmp_path / "one")
    gone = opened[0].cuts[3].id  # type: ignore[attr-defined]
    (tmp_path / "one" / f"{gone}.wav").unlink()
    seen = take(batches(opened, **SETTINGS), 20)
    assert {fault.where for batch in seen for fault in batch.skipped} == {gone}


def test_nothing_grows_with_the_corpus(lists: Path) -> None:
    (source,) = sources(lists / "p_one")
    assert sum(np.asarray(value).nbytes for value in vars(source).values() if isinstance(value, np.ndarray)) == 16 * 8
    assert json.loads((lists / "p_one" / "shards.json").read_text())["counts"] == [4] * 7 + [2]
