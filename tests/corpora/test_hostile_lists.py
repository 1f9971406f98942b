"""Lists with lines of any bytes: a bad line is a fault of its own, and the good lines around it all come out."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from emotion2vec.corpora.faults import MOST_SHOWN, Fault
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.naming import tell_apart
from emotion2vec.corpora.lists.segments import read_segments
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.sources.named import read_sources

GOOD = 8
"""Files that good lines name."""


def lhotse(name: str) -> dict[str, Any]:
    """A cut of Lhotse's: all of a file of 1 s."""
    source = {"type": "file", "channels": [0], "source": name}
    recording = {"id": name, "sources": [source], "sampling_rate": 16_000, "num_samples": 16_000, "duration": 1.0}
    cut = {"id": f"id-{name}", "start": 0, "duration": 1.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    said = {"id": "s", "recording_id": name, "start": 0, "duration": 1.0, "speaker": "x", "text": "y"}
    return cut | {"supervisions": [said]}


def emobox(name: str) -> dict[str, Any]:
    return {"key": f"id-{name}", "wav": name, "emo": "sad"}


def nemo(name: str) -> dict[str, Any]:
    return {"audio_filepath": name, "offset": 0.25, "duration": 0.5, "channel": 0, "speaker": "x"}


FORMATS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "table.csv": ("file,emotion,start,end,channel,text\n", "", lambda name: f'{name},sad,0.25,0.75,0,"a, b"'),
    "table.tsv": ("file\temotion\tstart\tend\n", "", lambda name: f"{name}\tsad\t0.25\t0.75"),
    "fairseq.tsv": (".\n", "", lambda name: f"{name}\t16000"),
    "wav.scp": ("", "", lambda name: f"id-{name} {name}"),
    "emobox.jsonl": ("", "", lambda name: json.dumps(emobox(name))),
    "nemo.json": ("", "", lambda name: json.dumps(nemo(name))),
    "cuts.jsonl.gz": ("", "", lambda name: json.dumps(lhotse(name))),
    "-": ("", "", lambda name: name),
    "calls.rttm": ("", "", lambda name: f"SPEAKER {name[:-4]} 1 0.25 0.5 <NA> <NA> x <NA> <NA>"),
    "segments": ("", "", lambda name: f"id-{name} {name[:-4]} 0.25 0.75"),
}
"""Kinds of lists: what comes first, and the line of a file."""

ANYTHING = [
    *("", ".", "..", "/", "//", "~", "-", "*", "[", "://", "http://", "http://[", "s3://*", "nothing://*", "file://*"),
    *("[" * 100_000, '{"wav":' * 5_000, "null", "1e400", "9" * 5_000, '"', "a" * 300 + ".wav", "é" * 200, "a/" * 3_000),
    *("touch ran |", "failed.jsonl/x g0.wav", "\ud800", "\\\\?\\C:", "C:", "con", "nul.wav", "g0.wav/../g0.wav/x"),
    *(" " * 5_000 + "x", "SPEAKER" + " <NA>" * 5_000, "SPEAKER a 1 1e400 1e400 <NA> <NA> x", "x g0 0 1 " + "9" * 400),
    *("x g0 nan nan", "x g0 0 1e400", "x g0 1e308 1.5e308", "g0.wav\t" + "9" * 5_000, f"g0.wav,sad,{'9' * 400},,,"),
    *("g0.wav,sad,1e400,,,", "g0.wav,sad,,," + "9" * 4_000, 'g0.wav,"sad', "g0.wav\tsad\t1e400\t"),
]
"""Lines that break some reader or other."""

VALUES = [
    *(None, True, -1, 0.5, 1e300, float("inf"), float("nan"), 10**400, "", "x", "\ud800", "\0", "a" * 300, "../" * 40),
    *([], {}, ["Cut"], [[]], {"a": 1}, [0, "x"], "C:evil", "failed.jsonl/x", "file\n", "=1+1"),
]
"""What a field of a JSON object may be."""


def mutated(line: bytes, rng: random.Random) -> bytes:
    """A line with a few bytes changed, lost or doubled, or no line at all."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(60)).replace(b"\n", b"")
    content = bytearray(line)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(content) + 1)
        content[at : at + rng.randrange(3)] = rng.choice(
            [b"", rng.randbytes(1), content[at : at + 9], b'"', b"\t", b"\0"]
        )
    return bytes(content).replace(b"\n", b"")


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of a document."""
    yield path
    nested = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else [])
    )
    for key, value in nested:
        yield from places(value, (*path, key))


def with_other_values(document: Any) -> Iterator[str]:
    """A document with each of its values in turn replaced by each of `VALUES`."""
    for path in places(document):
        for value in VALUES:
            node = changed = json.loads(json.dumps(document))
            for key in path[:-1]:
                node = node[key]
            if path:
                node[path[-1]] = value
            yield json.dumps(changed if path else value)


def bad_lines(name: str, count: int, rng: random.Random) -> list[bytes]:
    """Lines that name nothing but a file of their own, if anything."""
    _, _, line = FORMATS[name]
    lines = [text.encode("utf-8", "surrogatepass") for text in ANYTHING]
    document = {"emobox.jsonl": emobox, "nemo.json": nemo, "cuts.jsonl.gz": lhotse}.get(name)
    if document is not None:
        lines += [text.encode() for text in with_other_values(document("spare.wav"))]
    return lines + [mutated(line("spare.wav").encode(), rng) for _ in range(count)]


def in_between(good: Sequence[bytes], bad: Sequence[bytes]) -> bytes:
    """All of the bad lines, the good ones spread among them: the first and the last are good."""
    lines, step = list(bad), len(bad) // (len(good) - 1)
    for number, line in enumerate(good):
        lines.insert(min(len(lines), number * (step + 1)) if number < len(good) - 1 else len(lines), line)
    return b"".join(line + b"\n" for line in lines)


def read(folder: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Listing:
    """What a list gives to a job."""
    monkeypatch.chdir(folder)
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return read_sources("-")
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    if name in ("calls.rttm", "segments"):
        return read_sources([folder / f"g{number}.wav" for number in range(GOOD)], segments=path)
    return read_manifest(path)


def survives(
    name: str, count: int, draw: str, folder: Path, write_audio: Callable[..., Path], monkeypatch: Any
) -> None:
    """A list with so many bad lines gives all of its good ones, and a short fault for every other that is no more."""
    for number in range(GOOD):
        write_audio(f"g{number}.wav", seconds=1)
    write_audio("spare.wav", seconds=1)
    first, _, line = FORMATS[name]
    bad = bad_lines(name, count, random.Random(name + draw))
    content = first.encode() + in_between([line(f"g{number}.wav").encode() for number in range(GOOD)], bad)
    started = time.thread_time()
    found = read(folder, name, content, monkeypatch)
    taken = time.thread_time() - started
    heard = {Path(utterance.audio).name for utterance in found.utterances}
    assert heard >= {f"g{number}.wav" for number in range(GOOD)}
    assert len(found.faults) > count / 20 or name == "-"
    assert all(len(fault.reason) <= MOST_SHOWN and fault.kind for fault in found.faults)
    assert taken < 20 + count / 200
    print(f"{name}: {count} lines and {len(bad) - count} more, {len(found.faults)} faults, {taken:.1f} s")


@pytest.mark.parametrize("name", FORMATS)
def test_good_lines_between_bad_ones_come_out(
    name: str, draw: str, tmp_path: Path, write_audio: Any, monkeypatch: Any
) -> None:
    survives(name, 300, draw, tmp_path, write_audio, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_good_lines_between_10_000_bad_ones(
    name: str, draw: str, tmp_path: Path, write_audio: Any, monkeypatch: Any
) -> None:
    survives(name, 10_000, draw, tmp_path, write_audio, monkeypatch)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_halves_of_pairs_in_utf_16_are_faults_of_their_lines(encoding: str, tmp_path: Path, write_audio: Any) -> None:
    for name in ("a.wav", "b.wav"):
        write_audio(name)
    text = "\ufefffile\temotion\na.wav\tsad\n\ud800x.wav\tsad\nb.wav\tsad\n".encode(encoding, "surrogatepass")
    (tmp_path / "t.tsv").write_bytes(text + b"x")
    found = read_manifest(tmp_path / "t.tsv")
    assert [item.id for item in found.utterances] == ["a", "b"]
    assert [fault.where.rpartition(":")[2] for fault in found.faults] == ["3", "5"]


def test_a_packed_list_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    member = gzip.compress(bytes(1 << 25), compresslevel=9)  # 32 MiB in 32 KiB
    path.write_bytes(member * 8)
    with pytest.raises(ManifestError, match="unpacks to more than 67,108,864 bytes"):
        read_manifest(path)
    path.write_bytes(gzip.compress(b'{"wav": "a.wav"}\n')[:-5])
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"\n", b"x\n", b"\r"])
def test_a_packed_list_of_endless_lines_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(content * 200_000))
    with pytest.raises(ManifestError, match="unpacks to 200,000 lines, expected one for each packed byte at most"):
        read_manifest(path)


class Endless(io.RawIOBase):
    """The same bytes again and again, of which nobody may ask for more than 300 MB."""

    def __init__(self, content: bytes):
        self._content = content * ((1 << 20) // len(content))
        self._given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 1 << 24 and self._given < 300_000_000, "it is read without end"
        self._given += len(self._content)
        return self._content


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\n", "5,000,000 lines"),
        (b"x\r", "5,000,000 lines"),
        (b"x.wav\r\n", "5,000,000 lines"),
        (b"x\0", "268,435,456 bytes"),
        (b"x" * 65_536, "268,435,456 bytes"),
    ],
)
def test_an_endless_list_on_stdin_is_refused(content: bytes, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Endless(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))  # type: ignore[type-var]
    started = time.thread_time()
    with pytest.raises(ManifestError, match=f"the list on stdin: has more than {match}, expected"):
        read_sources("-")
    assert time.thread_time() - started < 10


def test_more_names_on_stdin_than_any_list_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\0" * 6_000_000)))
    with pytest.raises(ManifestError, match="the list on stdin: has more than 5,000,000 names, expected fewer"):
        read_sources("-")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "wav.scp", "segments", "a.rttm"])
@pytest.mark.parametrize("line", [b"\n", b"x y\r\n"])
def test_a_list_of_more_lines_than_any_has_is_refused(name: str, line: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(line * 6_000_000)
    with pytest.raises(ManifestError, match=rf"{name}: has more than 5,000,000 lines, expected fewer"):
        read_segments(path) if name in ("segments", "a.rttm") else read_manifest(path)


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="this system does not tell holes")
@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "segments", "a.rttm"])
def test_a_list_of_holes_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(b"file\tlabel\n")
        stream.truncate(1 << 40)
    with pytest.raises(ManifestError, match="1,099,511,627,776 bytes of which some are on no disk"):
        read_segments(path) if name in ("segments", "a.rttm") else read_manifest(path)


def test_a_line_of_json_that_is_a_document_of_its_own(tmp_path: Path, write_audio: Any) -> None:
    write_audio("g0.wav")
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"wav": "g0.wav"}\n{"x": [' + b"[]," * 3_000_000 + b"[]]}\n")
    found = read_manifest(path)
    assert [item.id for item in found.utterances] == ["g0"]
    assert [fault.reason for fault in found.faults] == ["the line has 9,000,011 characters, expected at most 8,388,608"]


def test_names_that_occur_often_are_numbered_in_a_moment() -> None:
    started = time.thread_time()
    found = tell_apart([Utterance(id="x", audio="x.wav", start=float(number)) for number in range(6_000)])
    assert len({one.id for one in found}) == 6_000 and time.thread_time() - started < 5


def test_reasons_of_any_length_are_counted_in_a_moment() -> None:
    started = time.thread_time()
    fault = Fault("x" * 1_000_000, "y" * 1_000_000)
    assert len(fault.where) == len(fault.reason) == MOST_SHOWN and fault.kind
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("name", ["x" * 300, "\0", "\ud800", "a" * 100_000, "x/" * 3_000])
def test_a_list_that_no_disk_can_hold(name: str) -> None:
    with pytest.raises(ManifestError) as raised:
        read_manifest(name)
    assert len(str(raised.value)) < 2000


def test_segments_of_one_bad_line_say_why(tmp_path: Path) -> None:
    path = tmp_path / "segments"
    path.write_text("x g0 0 1e400\n")
    with pytest.raises(ManifestError, match="segments:1"):
        read_segments(path)
