"""What files state of their length, and what is there. S: samples."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.decode import DAMAGED, LENGTH_DIFFERS, UNFINISHED, Note, find_ffmpeg
from emotion2vec.audio.decode.reading import read_header
from emotion2vec.audio.samples import load_audio
from emotion2vec.errors import AudioError

RATE = 16_000
Encode = Callable[..., bytearray]
Transcode = Callable[..., Path]


def kinds(source: bytes | Path, **options: object) -> tuple[int, list[str]]:
    """Samples that are read, and the kinds of notes."""
    notes: list[Note] = []
    size = load_audio(bytes(source) if isinstance(source, bytearray) else source, notes=notes, **options).size  # type: ignore[arg-type]
    return size, [note.kind for note in notes]


def refused(source: bytes | Path, match: str) -> int:
    """Check that a file is refused as damaged, and return the samples that it gives when that is accepted."""
    source = bytes(source) if isinstance(source, bytearray) else source
    with pytest.raises(AudioError, match=f"damaged: .*{match}.*--accept-damaged"):
        load_audio(source)
    size, found = kinds(source, accept_damaged=True)
    assert set(found) == {DAMAGED}
    return size


# MP3


def growing(sound: np.ndarray) -> np.ndarray:
    """Loud noise, then speech-like sound: the bit rate of the start says nothing about the rest."""
    return np.concatenate([np.random.default_rng(1).uniform(-0.9, 0.9, 5 * RATE).astype(np.float32), 0.05 * sound])


@pytest.mark.parametrize("xing", ["0", "1"])
@pytest.mark.parametrize("codec", [("-q:a", "2"), ("-abr", "1", "-b:a", "96k")], ids=["vbr", "abr"])
def test_an_mp3_is_read_to_its_end_whatever_its_length_is_guessed_to_be(
    sound: np.ndarray, transcode: Transcode, xing: str, codec: tuple[str, ...]
) -> None:
    path = transcode(growing(sound), "x.mp3", "-ar", "44100", "-c:a", "libmp3lame", *codec, "-write_xing", xing)
    size, found = kinds(path)
    assert found == [] and abs(size - 15 * RATE) < 0.06 * RATE  # the codec's delay and padding
    assert kinds(path.read_bytes()) == (size, [])
    assert load_audio(path, start=13.0, duration=1.5).size == 1.5 * RATE


def test_joined_mp3s_are_read_to_the_end_and_said_to_be_longer_than_stated(
    sound: np.ndarray, transcode: Transcode
) -> None:
    content = transcode(sound, "x.mp3", "-ar", "44100", "-c:a", "libmp3lame").read_bytes()
    size, found = kinds(content + content)
    assert found == [LENGTH_DIFFERS] and abs(size - 20 * RATE) < 0.1 * RATE


def test_an_mp3_that_was_cut_off_or_has_a_hole_is_damaged(sound: np.ndarray, transcode: Transcode) -> None:
    content = transcode(sound, "x.mp3", "-ar", "44100", "-c:a", "libmp3lame").read_bytes()
    assert abs(refused(content[: len(content) * 4 // 10], "end is missing: it states 10") - 4 * RATE) < 0.2 * RATE
    middle, gap = len(content) // 2, len(content) // 10
    refused(content[:middle] + bytes(gap) + content[middle + gap :], "no sound")
    refused(content[:middle] + content[middle + gap :], "no sound|states")


def test_the_table_of_an_mp3_need_not_be_there_to_notice_a_cut_frame(sound: np.ndarray, transcode: Transcode) -> None:
    content = transcode(sound, "x.mp3", "-ar", "44100", "-c:a", "libmp3lame", "-write_xing", "0").read_bytes()
    assert kinds(content)[1] == []
    assert kinds(content[: len(content) * 4 // 10])[1] == [UNFINISHED]


def test_a_table_is_believed_where_only_headers_are_read(sound: np.ndarray, transcode: Transcode) -> None:
    path = transcode(sound, "x.mp3", "-ar", "44100", "-c:a", "libmp3lame")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(AudioError, match="damaged"):
        read_header(path, "x.mp3")
    assert read_header(path, "x.mp3", thorough=False).samples == 441_000
    plain = transcode(sound, "y.mp3", "-ar", "44100", "-c:a", "libmp3lame", "-write_xing", "0")
    header = read_header(plain, "y.mp3", thorough=False)
    assert header == read_header(plain, "y.mp3") and abs(header.samples - 441_000) < 3_000


# Containers that state a size


def with_size(wav: bytearray, size: int) -> bytes:
    wav = bytearray(wav)
    place = wav.index(b"data") + 4
    wav[place : place + 4] = struct.pack("<I", size)
    return bytes(wav)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW", "PCM_24"])
def test_a_wav_from_a_pipe_is_read_to_its_end(
    sound: np.ndarray, encode: Encode, tmp_path: Path, size: int, subtype: str
) -> None:
    content = with_size(encode(sound, subtype=subtype), size)
    (tmp_path / "a.wav").write_bytes(content)
    assert kinds(content) == kinds(tmp_path / "a.wav") == (sound.size, [])
    np.testing.assert_array_equal(load_audio(content), load_audio(bytes(encode(sound, subtype=subtype))))


def test_a_wav_that_holds_more_than_it_states_is_read_to_its_end(sound: np.ndarray, encode: Encode) -> None:
    assert kinds(with_size(encode(sound), 32_000)) == (sound.size, [LENGTH_DIFFERS])


@pytest.mark.parametrize(
    "tail",
    [b"LIST\x04\0\0\0INFO", b"TAG" + bytes(125), b"ID3\x04" + bytes(9_000), bytes(9_000), b"\0", b"\x99\x98" * 99],
)
def test_what_follows_the_samples_of_a_wav_is_no_sound(sound: np.ndarray, encode: Encode, tail: bytes) -> None:
    assert kinds(bytes(encode(sound)) + tail) == (sound.size, [])


def test_a_wav_without_samples_but_with_other_chunks_has_none(encode: Encode) -> None:
    content = bytes(encode(np.zeros(0, np.float32))) + b"LIST\xa0\x0f\0\0" + b"INFO" + b"x" * 3996
    with pytest.raises(AudioError, match="no samples"):
        load_audio(content)


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "VOC", "AVR", "SVX"])
def test_a_cut_container_is_damaged_and_what_is_there_can_be_had(
    sound: np.ndarray, encode: Encode, format: str
) -> None:
    content = encode(sound, format)
    assert kinds(bytes(content)) == (sound.size, [])
    size = refused(content[: len(content) * 4 // 10], "missing|states")
    assert abs(size - 0.4 * sound.size) < 2_500  # headers
    if format not in ("VOC", "AVR", "SVX"):
        refused(content[:-200], "missing")


@pytest.mark.parametrize("format", ["RF64", "AU", "CAF", "W64"])
def test_containers_may_leave_their_size_open(sound: np.ndarray, encode: Encode, format: str) -> None:
    content = encode(sound, format)
    if format == "RF64":
        place = content.index(b"ds64") + 16
        content[place : place + 8] = b"\xff" * 8
    elif format == "AU":
        content[8:12] = b"\xff" * 4
    elif format == "CAF":
        place = content.index(b"data") + 4
        content[place : place + 8] = b"\xff" * 8
    else:
        place = content.index(b"data\xf3\xac") + 16
        content[place : place + 8] = bytes(8)
    assert kinds(bytes(content)) == (sound.size, [])


def test_a_stretch_before_the_cut_is_sound(sound: np.ndarray, encode: Encode) -> None:
    content = bytes(encode(sound)[:200_000])
    np.testing.assert_array_equal(
        load_audio(content, start=1.0, duration=2.0), load_audio(bytes(encode(sound)), start=1.0, duration=2.0)
    )
    with pytest.raises(AudioError, match=r"the audio has 6\.2"):
        load_audio(content, start=5.0, duration=4.0)


# Compressed WAV


def fact_of(content: bytes) -> int:
    return int(struct.unpack_from("<I", content, content.index(b"fact") + 8)[0])


@pytest.mark.parametrize("codec", ["adpcm_ima_wav", "adpcm_ms"])
@pytest.mark.parametrize("samples", [16_000, 16_001, 20_111, 159_999])
def test_the_fact_of_an_adpcm_wav_is_its_length(
    sound: np.ndarray, transcode: Transcode, codec: str, samples: int
) -> None:
    content = bytearray(transcode(sound[:samples], "a.wav", "-c:a", codec).read_bytes())
    place = content.index(b"fact") + 8
    content[place : place + 4] = struct.pack("<I", samples)  # ffmpeg counts what fills the last block
    (size, found), expected = kinds(bytes(content)), sound[:samples]
    assert (size, found) == (samples, [])
    decoded = load_audio(bytes(content))
    assert np.corrcoef(decoded, expected)[0, 1] > 0.98


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "GSM610", "G721_32"])
def test_what_fills_the_last_block_is_left_away(sound: np.ndarray, encode: Encode, subtype: str) -> None:
    content = encode(sound[:50_001], subtype=subtype)
    assert fact_of(content) == 50_001
    assert kinds(bytes(content)) == (50_001, [])


def test_a_fact_that_does_not_fit_the_data_is_said(sound: np.ndarray, encode: Encode) -> None:
    content = encode(sound, subtype="MS_ADPCM")
    place = content.index(b"fact") + 8
    content[place : place + 4] = struct.pack("<I", 1_000)
    size, found = kinds(bytes(content))
    assert size >= sound.size and found == [LENGTH_DIFFERS]


# FLAC


def with_total(flac: bytearray, total: int) -> bytes:
    flac = bytearray(flac)
    flac[21] = flac[21] & 0xF0 | total >> 32
    flac[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(flac)


@pytest.mark.parametrize("samples", [600, 4_096, 50_000, 160_000])
def test_a_flac_that_leaves_its_length_open_is_read_to_its_end(sound: np.ndarray, encode: Encode, samples: int) -> None:
    flac = encode(sound[:samples], "FLAC")
    assert kinds(with_total(flac, 0)) == kinds(bytes(flac)) == (samples, [])


def test_a_flac_that_states_another_length_is_read_to_its_end(sound: np.ndarray, encode: Encode) -> None:
    flac = encode(sound, "FLAC")
    assert kinds(with_total(flac, 50_000)) == (sound.size, [LENGTH_DIFFERS])
    assert refused(with_total(flac, 500_000), "end is missing") == sound.size


def test_a_flac_that_was_cut_off_or_has_a_hole_is_damaged(sound: np.ndarray, encode: Encode) -> None:
    flac = encode(sound, "FLAC")
    assert 0.3 * sound.size < refused(flac[: len(flac) * 4 // 10], "") < 0.41 * sound.size
    middle = len(flac) // 2
    refused(flac[:middle] + bytes(20_000) + flac[middle + 20_000 :], "")
    refused(flac[:middle] + flac[middle + 20_000 :], "")


# Ogg


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_ogg_streams_are_all_read(sound: np.ndarray, encode: Encode, tmp_path: Path, subtype: str) -> None:
    first, second = bytes(encode(sound, "OGG", subtype)), bytes(encode(sound[: 3 * RATE], "OGG", subtype))
    (tmp_path / "a.ogg").write_bytes(first + second)
    assert kinds(first + second) == kinds(tmp_path / "a.ogg") == (13 * RATE, [])
    expected = np.concatenate([load_audio(first), load_audio(second)])
    np.testing.assert_array_equal(load_audio(first + second), expected)
    np.testing.assert_array_equal(load_audio(first + second, start=9.0, duration=2.0), expected[9 * RATE : 11 * RATE])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_cut_off_or_has_a_hole_is_damaged(sound: np.ndarray, encode: Encode, subtype: str) -> None:
    content = encode(sound, "OGG", subtype)
    refused(content[: len(content) * 6 // 10], "within a page")
    middle, gap = len(content) // 2, len(content) // 5
    refused(content[:middle] + bytes(gap) + content[middle + gap :], "pages are missing")
    refused(content[:middle] + content[middle + gap :], "pages are missing")


def test_an_ogg_without_its_end_mark_is_read_and_said_to_be_unfinished(sound: np.ndarray, encode: Encode) -> None:
    content = encode(sound, "OGG", "OPUS")
    whole = content[: content.rindex(b"OggS")]  # without the last page
    size, found = kinds(bytes(whole))
    assert found == [UNFINISHED] and 8 * RATE < size < 10 * RATE


def test_sound_files_of_real_speech_have_no_notes(shared: Path) -> None:
    for folder in ("nemo", "ased", "emodb", "emotale"):
        for path in sorted((shared / "data" / folder).rglob("*.*"))[:400:40]:
            if path.suffix in (".opus", ".flac"):
                expected = soundfile.info(path).duration * RATE
                size, found = kinds(path)
                assert found == [] and abs(size - expected) <= 2


# What programs write to pipes


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
@pytest.mark.parametrize("format", ["AIFF", "AU"])
def test_big_endian_sizes_may_be_left_open_too(sound: np.ndarray, encode: Encode, format: str, size: int) -> None:
    content = encode(sound, format)
    place = content.index(b"SSND") + 4 if format == "AIFF" else 8
    content[place : place + 4] = struct.pack(">I", size)
    assert kinds(bytes(content)) == (sound.size, [])


@pytest.mark.parametrize("count", [b"0", b"1000", b"200000"])
def test_the_count_of_a_sphere_header_is_compared(sound: np.ndarray, encode: Encode, count: bytes) -> None:
    content = bytes(encode(sound, "NIST"))
    start = content.index(b"sample_count -i ")
    end = content.index(b"\n", start)
    content = content[:start] + (b"sample_count -i " + count).ljust(end - start) + content[end:]
    if count == b"200000":
        assert refused(content, "end is missing") == sound.size
    else:
        assert kinds(content) == (sound.size, [] if count == b"0" else [LENGTH_DIFFERS])


@pytest.mark.parametrize("format", ["wav", "flac", "webm", "mp3", "ogg", "aiff", "caf", "au", "w64", "mp4"])
def test_what_ffmpeg_writes_to_a_pipe_is_read_to_its_end(
    sound: np.ndarray, encode: Encode, tmp_path: Path, format: str
) -> None:
    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs ffmpeg, or the package imageio-ffmpeg")
    (tmp_path / "source.wav").write_bytes(encode(sound))
    fragments = ["-movflags", "frag_keyframe+empty_moov"] if format == "mp4" else []
    command = [program, "-v", "error", "-i", str(tmp_path / "source.wav"), *fragments, "-f", format, "-"]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    size, found = kinds(content)
    assert found == [] and abs(size - sound.size) < 0.12 * RATE
