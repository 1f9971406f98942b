"""A Kaldi archive and its index get their names one after the other: wherever that ends, what is read is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode.arrays import ArraySpec, FeatureArray
from emotion2vec.extraction.writers.base import Output
from emotion2vec.extraction.writers.kaldi import KaldiPart
from emotion2vec.extraction.writers.parts import PartsWriter
from emotion2vec.probe.features.stored.opening import open_store

LAYOUT = {"frames": ArraySpec((None, 3), np.dtype(np.float32))}
Found = dict[str, np.ndarray]


class Killed(BaseException):
    """The process ends here."""


def matrices(names: str, seed: int) -> Found:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(rng.integers(2, 9), 3)).astype(np.float32) for name in names}


def writer(folder: Path, resume: bool = False) -> PartsWriter:
    return PartsWriter(Output(folder, LAYOUT, resume=resume), KaldiPart)


def write(into: PartsWriter, found: Found) -> None:
    for name, matrix in found.items():
        into.write(item(name), {"frames": FeatureArray.of(matrix)})
    into.close()


def item(name: str) -> Utterance:
    return Utterance(id=name, audio="x.wav")


def read(folder: Path) -> Found:
    """What `kaldiio` finds by the indexes, which must be what we find."""
    kaldiio = pytest.importorskip("kaldiio")
    found = {name: one for file in sorted(folder.glob("*.scp")) for name, one in kaldiio.load_scp(str(file)).items()}
    if found:
        ours = {name: next(iter(only().values())) for name, [only] in open_store(folder).entries.items()}
        assert same(ours, found)
    return found


def same(one: Found, other: Found) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def dying(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Have the n-th change of a name in a folder not happen any more, nor anything after it."""
    count = 0

    def instead(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*places: Any, **more: Any) -> Any:
            nonlocal count
            count += Path(places[-1]).parent == folder and not Path(places[-1]).name.startswith(".")
            if count >= number:
                raise Killed
            return real(*places, **more)

        return call

    for name in ("replace", "link", "unlink"):
        monkeypatch.setattr(os, name, instead(getattr(os, name)))


def replaced(folder: Path, found: Found) -> None:
    write(writer(folder), found)


def without_one(folder: Path, _: Found) -> None:
    writer(folder, resume=True).remove([item("b")])


@pytest.mark.parametrize(
    ("before", "job", "after"),
    [
        ({}, replaced, matrices("abc", 1)),
        (matrices("abcd", 0), replaced, matrices("bc", 1)),
        (matrices("abc", 0), without_one, {name: one for name, one in matrices("abc", 0).items() if name != "b"}),
    ],
    ids=["new", "replaced", "without one"],
)
def test_the_old_or_the_new_is_read_wherever_a_process_dies(
    before: Found, job: Callable[[Path, Found], None], after: Found, tmp_path: Path
) -> None:
    seen: list[bool] = []
    for number in range(1, 30):
        folder = tmp_path / str(number)
        folder.mkdir()
        if before:
            write(writer(folder), before)
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, folder, number)
            try:
                job(folder, after)
            except Killed:
                pass
            else:
                break
        left = read(folder)
        assert same(left, before) or same(left, after), (number, sorted(path.name for path in folder.iterdir()))
        seen.append(same(left, after))
        again = writer(folder, resume=True)
        write(again, {name: one for name, one in after.items() if not again.has(item(name))})
        assert not list(folder.glob("features*.new.ark"))
        if seen[-1]:
            assert same(read(folder), after)
            assert sorted(path.name for path in folder.glob("f*")) == ["features-00000.ark", "features-00000.scp"]
    assert seen == sorted(seen) and {False, True} == set(seen)
