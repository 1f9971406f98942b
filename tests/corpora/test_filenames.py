from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from emotion2vec.corpora.lists.folders import audio_files, read_class_folders
from emotion2vec.corpora.named.filenames import FILE_NAMES
from emotion2vec.corpora.named.registry import read_named
from emotion2vec.errors import ConfigError, ManifestError


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


@pytest.mark.parametrize("name", ["nemo", "ased", "emodb"])
def test_names_agree_with_the_published_metadata(shared: Path, name: str) -> None:
    root = shared / "data" / name
    with (root / "metadata.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    expected = {row["file"]: (row["speaker"], row["gender"], row["emotion"]) for row in rows}
    found = read_named(name, root)
    assert {clip.file: (clip.speaker, clip.gender, clip.label) for clip in found.utterances} == expected
    assert len(found.utterances) == FILE_NAMES[name].clips
    assert found.warnings == ()


def test_ravdess_has_its_published_counts(tmp_path: Path) -> None:
    names = [
        f"Actor_{actor:02d}/03-01-{emotion:02d}-{level:02d}-{sentence:02d}-{take:02d}-{actor:02d}.wav"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for level in ([1] if emotion == 1 else [1, 2])
        for sentence in (1, 2)
        for take in (1, 2)
    ]
    song = "Actor_01/03-02-03-01-01-01-01.wav"
    found = read_named("ravdess", make(tmp_path, *names, song))
    (warning,) = found.warnings
    assert "1 audio files" in warning and f"are no clips of RAVDESS speech; left out: {song}" in warning
    assert len(found.utterances) == 1440
    assert Counter(clip.label for clip in found.utterances) == {"neutral": 96} | dict.fromkeys(
        ["calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"], 192
    )
    assert {clip.gender for clip in found.utterances if clip.speaker == "12"} == {"female"}


def test_only_stems_count_and_doubles_are_taken_once(tmp_path: Path) -> None:
    root = make(tmp_path, "wav/03a01Fa.flac", "deep/er/16b10Wb.MP3", "copy/03a01Fa.wav", "wav/noise.wav", "03a01Na.txt")
    found = read_named("emodb", root)
    assert [clip.path.stem for clip in found.utterances] == ["03a01Fa", "16b10Wb"]
    assert found.utterances[1].label == "anger"
    assert any("twice" in warning for warning in found.warnings)
    assert any("1 audio files" in warning and warning.endswith("left out: wav/noise.wav") for warning in found.warnings)
    assert any("2 clips of EmoDB, expected 535" in warning for warning in found.warnings)


def test_a_folder_that_is_not_the_corpus_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"1 audio files such as a\.wav, expected the 535 clips of EmoDB.*03a01Fa"):
        read_named("emodb", make(tmp_path, "a.wav"))
    with pytest.raises(ManifestError, match="no such folder"):
        read_named("emodb", tmp_path / "absent")
    with pytest.raises(ConfigError, match="'emo-db', expected one of aesdd, ased, cafe"):
        read_named("emo-db", tmp_path)


def test_media_of_every_kind_are_audio_and_videos_only_where_nothing_was_taken_out(tmp_path: Path) -> None:
    for name in ("joy/a.wav", "joy/a.mp4", "joy/b.mp4", "fear/c.m4a", "fear/d.webm", "fear/e.sph", "fear/f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in audio_files(tmp_path, doubles=False)]
    assert found == ["fear/c.m4a", "fear/d.webm", "fear/e.sph", "joy/a.wav", "joy/b.mp4"]
    clips = read_class_folders(tmp_path).utterances
    assert [(clip.file, clip.label) for clip in clips] == [(file, file.partition("/")[0]) for file in found]


def test_hidden_files_are_no_clips_and_links_are_followed(tmp_path: Path) -> None:
    """macOS writes `._x.wav` beside x.wav, and large corpora lie behind links."""
    make(tmp_path, "else/where/03a01Fa.wav", "corpus/wav/._16b10Wb.wav", "corpus/.trash/09a01Wa.wav")
    make(tmp_path, "corpus/wav/16b10Wb.wav")
    (tmp_path / "corpus" / "more").symlink_to(tmp_path / "else" / "where")
    found = read_named("emodb", tmp_path / "corpus")
    assert [clip.file for clip in found.utterances] == ["more/03a01Fa.wav", "wav/16b10Wb.wav"]
    assert not any("no clips of EmoDB" in warning for warning in found.warnings)
