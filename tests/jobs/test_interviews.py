"""Who has recorded interviews: turns, a list from Excel, a call with two microphones; tables and annotations."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import run
from jobs.recordings import Clip, Turn, emodb, talk

from emotion2vec.checkpoint import load_model
from emotion2vec.model.speech import SpeechEncoder


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[Clip]:
    """Twelve clips of two speakers, one after the other's."""
    found = emodb(shared)
    first, second = ([clip for clip in found if clip.speaker == who][::8][:6] for who in ("03", "08"))
    return [clip for pair in zip(first, second, strict=True) for clip in pair]


@pytest.fixture(scope="module")
def model() -> SpeechEncoder:
    return load_model("compact")


def rows_of(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> list[dict[str, str]]:
    with path.open(encoding=encoding, newline="") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter))


def scores(row: dict[str, str]) -> dict[str, float]:
    return {name.removeprefix("score:"): float(value) for name, value in row.items() if name.startswith("score:")}


def check_turns(found: list[dict[str, str]], turns: list[Turn], samples: np.ndarray, model: SpeechEncoder) -> None:
    """Every turn has a row, in order, and says what the model says of it alone."""
    assert len(found) == len(turns)
    for row, turn in zip(found, turns, strict=True):
        assert row["speaker"].endswith(turn.speaker)
        assert (float(row["start"]), float(row["end"])) == pytest.approx((turn.start, turn.end), abs=2e-3)
        piece = samples[round(turn.start * 16_000) : round(turn.end * 16_000)]
        expected = model.predict(piece, 16_000)
        assert scores(row) == pytest.approx(expected, abs=2e-3)
        assert row["label"] == max(expected, key=expected.__getitem__)


def test_turns_of_a_recording(
    clips: list[Clip], model: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, turns = talk(clips)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    soundfile.write("recordings/Interview 1.wav", samples[0], 16_000, subtype="FLOAT")
    lines = [
        f"SPEAKER Interview_1 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {turn.speaker} <NA> <NA>"
        for turn in turns
    ]
    Path("turns.rttm").write_text("\n".join(lines) + "\n")
    words = ("predict", "recordings", "--segments", "turns.rttm", "--output", "emotions.csv", "--summary", "sum.csv")
    exported = ("--export", "textgrid", "--export", "srt", "--export", "rttm", "--plot", "pictures")
    assert run(monkeypatch, *words, *exported) == 0
    assert [path.name for path in Path("pictures").iterdir()] == ["Interview 1.png"]  # of the recording, not of turns
    check_turns(rows_of(Path("emotions.csv")), turns, samples[0], model)
    summary = rows_of(Path("sum.csv"))
    shares = [[float(v or 0) for k, v in row.items() if k.startswith("share:")] for row in summary]
    assert [sum(row) for row in shares] == pytest.approx([1] * len(summary), abs=1e-3)
    whole = next(row for row in summary if row["of"] == "recording")
    assert int(whole["rows"]) == 12 and float(whole["seconds"]) == pytest.approx(sum(t.end - t.start for t in turns))
    parselmouth = pytest.importorskip("parselmouth")
    grid = parselmouth.read("annotations/Interview 1.TextGrid")
    assert int(parselmouth.praat.call(grid, "Get number of tiers")) == 2
    named = parselmouth.praat.call(grid, "Get label of interval", 1, 2)
    assert named == rows_of(Path("emotions.csv"))[0]["label"]
    assert Path("annotations/Interview 1.srt").read_text().count("-->") == 12


def test_a_list_from_excel(
    clips: list[Clip], model: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Semicolons, decimal commas, paths and ends of lines of Windows, UTF-16, columns in German."""
    samples, turns = talk(clips)
    folder = tmp_path / "Gespräche"
    folder.mkdir()
    soundfile.write(folder / "Müller.wav", samples[0], 16_000, subtype="FLOAT")
    lines = ["Datei;Beginn;Ende;Person;Notiz"]
    for turn in turns:
        start, end = (f"{value:.3f}".replace(".", ",") for value in (turn.start, turn.end))
        lines.append(f"Gespräche\\Müller.wav;{start};{end};Frau {turn.speaker};für später")
    (tmp_path / "Liste.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-16"))
    monkeypatch.chdir(tmp_path)
    columns = "file=Datei,start=Beginn,end=Ende,speaker=Person"
    words = ("predict", "Liste.csv", "--columns", columns, "--output", "emotions.csv", "--excel")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run(monkeypatch, *words) == 0
    assert (tmp_path / "emotions.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    found = rows_of(tmp_path / "emotions.csv", ";", "utf-8-sig")
    assert [row["Notiz"] for row in found] == ["für später"] * 12
    plain = [{name: value.replace(",", ".") for name, value in row.items()} for row in found]
    check_turns(plain, turns, samples[0], model)


def test_a_call_with_two_microphones(
    clips: list[Clip], model: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("silero_vad")
    samples, turns = talk(clips, channels=2)
    soundfile.write(tmp_path / "call.wav", samples.T, 16_000, subtype="FLOAT")
    made = ["ffmpeg", "-loglevel", "error", "-i", tmp_path / "call.wav", "-b:a", "160k", tmp_path / "call.m4a"]
    try:
        subprocess.run(list(map(str, made)), check=True)
    except FileNotFoundError:
        pytest.skip("needs ffmpeg, which makes the m4a")
    words = ("predict", tmp_path / "call.m4a", "--speakers", "channel", "--segments", "vad")
    assert run(monkeypatch, *words, "--output", tmp_path / "emotions.csv") == 0
    found = rows_of(tmp_path / "emotions.csv")
    starts = [float(row["start"]) for row in found]
    assert starts == sorted(starts)
    for row in found:  # all of it lies in turns of the one whose microphone it is; a clip may hold a pause
        middle = (float(row["start"]) + float(row["end"])) / 2
        (turn,) = [turn for turn in turns if turn.start <= middle <= turn.end]
        assert row["speaker"] == f"channel {('03', '08').index(turn.speaker)}"
    heard = {turn.start for turn in turns for row in found if turn.start <= float(row["end"]) <= turn.end + 0.2}
    assert len(heard) == len(turns)
