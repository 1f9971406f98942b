from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from emotion2vec.corpora.folds import make_folds
from emotion2vec.corpora.named import iemocap, meld
from emotion2vec.corpora.named.emobox import read_emobox
from emotion2vec.errors import ManifestError


def write(data: Path, rows: list[dict], labels: dict[str, str], folds: dict[str, list[dict]]) -> Path:
    data.mkdir()
    (data / f"{data.name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (data / "label_dict.json").write_text(json.dumps(labels))
    for name, part in folds.items():
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("\n".join(json.dumps(row) for row in part))
    return data


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    for name in ("x/a.opus", "x/b.opus", "y/b.opus", "y/c.flac"):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "audio" / name).write_bytes(name.encode())
    return tmp_path / "audio"


def test_faults_are_repaired_and_told(tmp_path: Path, audio: Path) -> None:
    rows = [
        {"key": "m-a", "dataset": "m", "wav": "downloads/m/x/a.wav", "emo": "sad"},
        {"key": "m-b", "dataset": "m", "audio": "downloads/m/y/b.wav", "label": "ANGRY"},
        {"key": "m-c", "dataset": "m", "wav": "downloads/m/y/c.wav", "emo": "bored"},
        {"key": "m-d", "dataset": "m", "wav": "downloads/m/y/d.wav", "emo": "sad"},
        {"key": "m-a", "dataset": "m", "wav": "downloads/m/x/a.wav", "emo": "sad"},
    ]
    fold = {"f/m_train_fold_1.jsonl": rows[:2], "f/m_train_fold1.jsonl": rows[:1], "f/m_test_fold_1.jsonl": rows[2:4]}
    data = write(tmp_path / "m", rows, {"sad": "Sad", "angry": "Angry"}, fold)
    found = read_emobox(data, audio)
    assert [(clip.file, clip.label) for clip in found.utterances] == [
        ("x/a.opus", "Sad"),
        ("y/b.opus", "Angry"),
        ("y/c.flac", "Bored"),
    ]
    assert list(found.left_out) == ["m-d"]
    assert found.splits == {"fold_1": {"train": (0, 1), "test": (2,)}}
    told = " ".join(found.warnings)
    for part in ("'ANGRY' is 'angry'", "'bored' is not in the label map", "listed twice", "with other clips", ".flac"):
        assert part in told


def test_a_stem_in_two_places_is_not_guessed(tmp_path: Path, audio: Path) -> None:
    rows = [{"key": "m-b", "wav": "downloads/z/b.wav", "emo": "s"}, {"key": "m-a", "wav": "a.wav", "emo": "s"}]
    found = read_emobox(write(tmp_path / "m", rows, {"s": "Sad"}, {}), audio)
    assert [clip.file for clip in found.utterances] == ["x/a.opus"] and "m-b" in found.left_out


def test_what_is_not_emobox_is_refused(tmp_path: Path, audio: Path) -> None:
    with pytest.raises(ManifestError, match="no such folder"):
        read_emobox(tmp_path / "none", audio)
    with pytest.raises(ManifestError, match=r"found no \.jsonl file"):
        read_emobox(audio, audio)
    data = write(tmp_path / "m", [{"key": "m-q", "wav": "q.wav", "emo": "s"}], {"s": "Sad"}, {})
    with pytest.raises(ManifestError, match=r"audio of none of the 1 clips.*it holds 4 audio files"):
        read_emobox(data, audio)
    (data / "label_dict.json").write_text('["Sad"]')
    with pytest.raises(ManifestError, match=r"label_dict\.json: holds a list, expected an object"):
        read_emobox(data, audio)
    (data / "m.jsonl").write_text('{"key": 1}\n{no\n[]')
    with pytest.raises(ManifestError, match=r"line 2: .*line 3: found list, expected one JSON object"):
        read_emobox(data, audio)


@pytest.mark.parametrize(("name", "folds"), [("emodb", 5), ("ased", 1)])
def test_the_published_metadata(shared: Path, name: str, folds: int) -> None:
    found = read_emobox(shared / "data" / "emobox" / name, shared / "data" / name)
    assert len(found.utterances) == {"emodb": 535, "ased": 2474}[name]
    assert not found.left_out
    assert len(found.classes) == {"emodb": 7, "ased": 5}[name]
    assert {clip.speaker for clip in found.utterances} - {None}
    splits = make_folds(found, "emobox")
    assert len(splits) == folds
    for fold in splits:
        assert not set(fold.train) & set(fold.test)
    if name == "emodb":
        assert (
            Counter(clip.label for clip in found.utterances)["Neutral"] == 79
        )  # the map has `Neutral`, the rows `neutral`
        assert sorted(i for fold in splits for i in fold.test) == list(range(535))
        assert any("two file names, with the same clips" in warning for warning in found.warnings)


# EmoBox could not decode two of MELD's videos.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "classes", "speakers"), [("iemocap", iemocap.CLIPS, 4, 10), ("meld", meld.CLIPS - 2, 7, 0)]
)
def test_the_published_metadata_agrees_with_the_readers(
    shared: Path, tmp_path: Path, name: str, count: int, classes: int, speakers: int
) -> None:
    data = shared / "data" / "emobox" / name
    audio = [json.loads(line)["wav"] for line in (data / f"{name}.jsonl").read_text().splitlines()]
    for folder in {Path(file).parent for file in audio}:
        (tmp_path / folder).mkdir(parents=True)
    for file in audio:
        (tmp_path / file).with_suffix(".wav").touch()
    found = read_emobox(data, tmp_path / "downloads" / name)
    assert (len(found.utterances), found.left_out, len(found.classes)) == (count, {}, classes)
    assert len({clip.speaker for clip in found.utterances} - {None}) == speakers
    splits = make_folds(found, "emobox")
    assert not any(fold.shared_speakers for fold in splits)
    assert [fold.valid is not None for fold in splits] == ([True] if name == "meld" else [False] * 5)


def test_names_without_hyphens_are_known(tmp_path: Path) -> None:
    (tmp_path / "1001_DFA_ANG_XX.wav").touch()
    rows = [{"key": "cremad-1001-DFA-ANG-XX", "dataset": "cremad", "wav": "x/1001_DFA_ANG_XX.wav", "emo": "ANG"}]
    found = read_emobox(write(tmp_path / "cremad", rows, {"ANG": "Angry"}, {}), tmp_path)
    assert (found.name, found.utterances[0].speaker, found.utterances[0].label) == ("crema-d", "1001", "Angry")
