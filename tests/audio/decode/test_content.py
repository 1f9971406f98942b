"""Files under any name: what their bytes are decides."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotion2vec.audio.decode import AUDIO_SUFFIXES, ffmpeg, opening
from emotion2vec.audio.decode.content import kind_of_file
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.errors import AudioError, ManifestError
from emotion2vec.extraction.sources.named import read_sources

Transcode = Callable[..., Path]


@pytest.mark.parametrize("content", ["a.m4a", "a.webm", "a.wav", "a.flac", "a.opus", "a.mp3"])
@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".ogg", ".m4a", ".flac", ""])
def test_media_under_a_wrong_suffix(sound: np.ndarray, transcode: Transcode, content: str, suffix: str) -> None:
    path = transcode(sound, content)
    right = load_audio(path)
    assert np.corrcoef(right[: 9 * 16_000], sound[: 9 * 16_000])[0, 1] > 0.5 or content == "a.mp3"
    wrong = path.rename(path.with_suffix(suffix + ".part").with_suffix(suffix))
    np.testing.assert_array_equal(load_audio(wrong), right)
    np.testing.assert_array_equal(load_audio(wrong.read_bytes()), right)
    np.testing.assert_array_equal(load_audio(io.BytesIO(wrong.read_bytes())), right)


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.writestr("a", "b" * 1_000)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"a note about the recording\n" * 40, "it is text"),
        ("file\temotion\n".encode("utf-16"), "it is text"),
        (archive(), "it is an archive"),
        (b"%PDF-1.7\n" + bytes(500), "it is a PDF document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "it is a picture"),
        (np.random.default_rng(0).bytes(5_000), "it is of no known kind"),
        (bytes(5_000), "it is of no known kind"),
    ],
)
def test_what_is_no_audio_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    for name in ("clip.wav", "clip.m4a"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=what) as caught:
            load_audio(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(
    ("head", "decoder"),
    [
        (b"ID3\x04\0\0\0\0\0\x02ab\xff\xfb\x90\x64", "libsndfile"),
        (b"ID3\x04\0\0\0\0\0\x02abfLaC", "libsndfile"),
        (b"ID3\x04\0\0\0\0\x7f\x7f" + bytes(127 * 129) + b"\xff\xf1\x50\x80", "ffmpeg"),
        (b"ID3\x04\0\0\0\0\0\x02ab\xff\xf1\x50\x80", "ffmpeg"),
        (b"\xff\xf9\x50\x80", "ffmpeg"),
        (b"\0\0\0\x20ftypisom", "ffmpeg"),
        (b"RIFF\0\0\0\0AVI ", "ffmpeg"),
        (b"OggS" + bytes(24) + b"Speex   ", "ffmpeg"),
        (b"OggS" + bytes(24) + b"OpusHead", "libsndfile"),
        (b"NIST_1A\n   1024\n", "libsndfile"),
    ],
)
def test_kinds(head: bytes, decoder: str) -> None:
    kind = kind_of_file(io.BytesIO(head))
    assert kind is not None and kind.decoder == decoder


# One list of suffixes


LIBSNDFILE = {"sph": "NIST", "voc": "VOC", "au": "AU", "snd": "AU", "caf": "CAF", "w64": "W64", "aiff": "AIFF"}
LIBSNDFILE |= {"aif": "AIFF", "wav": "WAV", "flac": "FLAC", "avr": "AVR", "pvf": "PVF", "sf": "IRCAM", "paf": "PAF"}


@pytest.mark.parametrize("suffix", LIBSNDFILE)
def test_what_libsndfile_decodes_is_taken_by_name_and_from_folders(
    sound: np.ndarray, encode: Callable[..., bytearray], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(encode(sound, LIBSNDFILE[suffix]))
    assert path.suffix in AUDIO_SUFFIXES
    for source in (path, tmp_path):
        assert [item.audio for item in read_sources(source).utterances] == [path]
        assert [utterance.audio for utterance in read_manifest(source).utterances] == [path]
    np.testing.assert_allclose(load_audio(path), sound, atol=2e-4)


FFMPEG = ["m4a", "mp4", "mov", "webm", "mka", "mkv", "aac", "ac3", "wma", "avi", "ts", "wv", "tta", "mp2", "3gp", "amr"]


@pytest.mark.parametrize("suffix", FFMPEG)
def test_what_ffmpeg_decodes_is_taken_by_name_and_from_folders(
    sound: np.ndarray, transcode: Transcode, tmp_path: Path, suffix: str
) -> None:
    options = ["-ar", "8000", "-c:a", "libopencore_amrnb", "-b:a", "12.2k"] if suffix in ("3gp", "amr") else []
    path = transcode(sound, f"a.{suffix}", *options)
    assert path.suffix in AUDIO_SUFFIXES
    for source in (path, tmp_path):
        assert [item.audio for item in read_sources(source).utterances] == [path]
        assert [utterance.audio for utterance in read_manifest(source).utterances] == [path]
    assert load_audio(path).size == pytest.approx(sound.size, abs=2_500)


def test_audio_of_an_unknown_suffix_is_taken_by_name(
    sound: np.ndarray, encode: Callable[..., bytearray], tmp_path: Path
) -> None:
    (tmp_path / "a.recording").write_bytes(encode(sound))
    (utterance,) = read_manifest(tmp_path / "a.recording").utterances
    assert utterance.audio == tmp_path / "a.recording"
    (tmp_path / "b.recording").write_text("a note\n")
    with pytest.raises(ManifestError, match=r"unknown kind of manifest '\.recording'"):
        read_manifest(tmp_path / "b.recording")


def test_what_a_scan_leaves_out_is_counted_by_suffix(
    sound: np.ndarray, encode: Callable[..., bytearray], tmp_path: Path
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.WAV", "c.txt", "deep/d.TXT", "e", "f.recording", ".hidden"):
        (tmp_path / "in" / name).write_bytes(encode(sound[:800]))
    for found in (read_manifest(tmp_path / "in"), read_sources(tmp_path / "in")):
        assert found.left_out == {".txt": 2, "": 1, ".recording": 1}
    assert read_sources(f"{tmp_path}/in/*").left_out == {".txt": 1, "": 1, ".recording": 1}


def test_a_file_that_loses_its_name_while_it_is_opened_is_read(
    sound: np.ndarray, encode: Callable[..., bytearray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = tmp_path / "a.wav", opening.examine
    path.write_bytes(encode(sound))

    def unplug(*source: object, **options: bool) -> object:
        path.unlink()
        return original(*source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "examine", unplug)
    np.testing.assert_allclose(load_audio(path), sound, atol=2**-15)


def test_media_that_are_gone_when_ffmpeg_opens_them_are_missing_and_not_broken(
    sound: np.ndarray, transcode: Transcode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, program = transcode(sound, "a.m4a"), ffmpeg.find_ffmpeg()
    monkeypatch.setattr(ffmpeg, "find_ffmpeg", lambda: (path.unlink(), program)[1])
    with pytest.raises(AudioError, match="cannot be opened: No such file") as caught:
        load_audio(path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
