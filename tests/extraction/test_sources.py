from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from extraction.helpers import speech

from emotion2vec.audio.decode import AUDIO_SUFFIXES, find_ffmpeg
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.segments import read_segments
from emotion2vec.corpora.utterance import Listing
from emotion2vec.errors import AudioError, ConfigError, ManifestError
from emotion2vec.extraction import extract
from emotion2vec.extraction.sources.named import read_sources, take_shard
from emotion2vec.model.encoder import Emotion2vec


def wav(path: Path, samples: int = 4_000, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech(samples, seed=len(str(path))), rate)
    return path


def ids(*args: object, **options: object) -> list[str]:
    return [item.id for item in read_sources(*args, **options).utterances]  # type: ignore[arg-type]


def test_several_sources_of_different_kinds(tmp_path: Path) -> None:
    wav(tmp_path / "a" / "x.wav")
    wav(tmp_path / "b" / "deep" / "y.wav")
    one = wav(tmp_path / "z.wav")
    (tmp_path / "list.csv").write_text("file\nz.wav\ngone.wav\n")
    found = read_sources([tmp_path / "a", str(tmp_path / "b"), one, tmp_path / "list.csv"])
    assert [item.id for item in found.utterances] == ["x", "deep/y", "z", "z"]
    assert len(found.faults) == 1
    with pytest.raises(ConfigError, match="no source is given"):
        read_sources([])


def test_globs_name_files_below_their_fixed_part(tmp_path: Path) -> None:
    for name in ("s1/a.wav", "s1/a.flac", "s2/b.wav", "c.wav"):
        wav(tmp_path / name)
    (tmp_path / "s2" / "notes.txt").write_text("")
    assert ids(f"{tmp_path}/**/*.wav") == ["c", "s1/a", "s2/b"]
    assert ids(f"{tmp_path}/s?/*") == ["s1/a.flac", "s1/a.wav", "s2/b"]
    wav(tmp_path / "odd[1].wav")
    assert ids(str(tmp_path / "odd[1].wav")) == ["odd[1]"]  # a file of that name is no glob
    with pytest.raises(ManifestError, match=r"\*\.mp3: matches no audio"):
        read_sources(f"{tmp_path}/*.mp3")


def from_stdin(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def test_a_list_on_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wav(tmp_path / "a b.wav")
    monkeypatch.chdir(tmp_path)
    from_stdin(monkeypatch, f"a b.wav\r\n\n{tmp_path}/deep/../c.wav\nmemory://bucket/d.wav\n/x/../e.wav".encode())
    found = read_sources("-").utterances
    assert [item.id for item in found] == ["a b", "c", "bucket/d", "e"]
    assert found[0].audio == tmp_path / "a b.wav" and found[2].audio == "memory://bucket/d.wav"
    from_stdin(monkeypatch, b"new\nline.wav\0\xff.wav\0")
    assert ids("-", root=tmp_path) == ["new\nline", os.fsdecode(b"\xff")]
    from_stdin(monkeypatch, b"\n")
    with pytest.raises(ManifestError, match="nothing to extract: "):
        read_sources("-")


def test_names_of_other_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "Zoe\u0308" / "a.wav")
    assert [item.audio for item in read_sources(f"{tmp_path}/Zo\u00eb/*.wav").utterances] == [path]
    for raw in ("Zo\u00eb/a.wav\n".encode(), "Zo\u00eb\\a.wav\r\n".encode("utf-16"), "\ufeffZo\u00eb/a.wav".encode()):
        from_stdin(monkeypatch, raw)
        found = read_sources("-", root=tmp_path)
        assert [(item.id, item.audio) for item in found.utterances] == [("Zo\u00eb/a", path)] and len(
            found.changes
        ) == 1


def test_urls_and_object_storage(model: Emotion2vec, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    path = wav(tmp_path / "x.wav")
    for name in ("a.wav", "deep/b.wav"):
        with fsspec.open(f"memory://bucket/{name}", "wb") as stream:
            stream.write(path.read_bytes())
    np.testing.assert_array_equal(load_audio("memory://bucket/a.wav"), load_audio(path))
    assert ids("memory://bucket/**/*.wav") == ["bucket/deep/b"] or ids("memory://bucket/**") != []
    report = extract(
        ["memory://bucket/a.wav", "memory://bucket/gone.wav", "nonsense://x/y.wav"],
        model=model,
        output=tmp_path / "out",
    )
    assert report.written == 1 and (tmp_path / "out" / "bucket" / "a.npy").exists()
    assert [fault.where for fault in report.failed] == ["memory://bucket/gone.wav", "nonsense://x/y.wav"]
    assert "Protocol not known" in report.failed[1].reason


def test_one_channel(tmp_path: Path, model: Emotion2vec) -> None:
    stereo = np.stack([speech(4_000), speech(4_000, seed=1)], axis=1)
    soundfile.write(tmp_path / "x.wav", stereo, 16_000, subtype="FLOAT")
    for channel in (0, 1):
        report = extract(tmp_path / "x.wav", model=model, output=tmp_path / str(channel), channel=channel)
        assert report.exit_code == 0
        expected = model.extract_features(stereo[:, channel], 16_000).frames
        np.testing.assert_allclose(np.load(tmp_path / str(channel) / "x.npy"), expected, atol=1e-5)
    report = extract(tmp_path / "x.wav", model=model, output=tmp_path / "out", channel=2)
    assert "no such channel: 2 is asked for, and it has 0 to 1" in report.failed[0].reason
    with pytest.raises(ConfigError, match="channel is -1"):
        read_sources(tmp_path / "x.wav", channel=-1)


def test_kaldi_segments_cut_recordings(tmp_path: Path, model: Emotion2vec) -> None:
    samples = speech(32_000)
    soundfile.write(tmp_path / "rec.wav", samples, 16_000, subtype="FLOAT")
    (tmp_path / "wav.scp").write_text("call1 rec.wav\n")
    (tmp_path / "segments").write_text("utt1 call1 0.25 1.0\nutt2 call1 1.0 1.5\nutt3 other 0 1\nutt4 call1 1 3\n")
    report = extract(tmp_path / "wav.scp", segments=tmp_path / "segments", model=model, output=tmp_path / "out")
    assert report.written == 2
    assert report.failed[0] == Fault(f"{tmp_path}/segments:3", "expected one recording named 'other', found none")
    assert "the segment ends at 3 s, but the audio has 2 s" in report.failed[1].reason
    expected = model.extract_features(samples[4_000:16_000], 16_000).frames
    np.testing.assert_allclose(np.load(tmp_path / "out" / "utt1.npy"), expected, atol=1e-5)


def test_rttm_names_recordings_by_stem_and_keeps_speakers(tmp_path: Path) -> None:
    wav(tmp_path / "calls" / "rec.wav", 40_000)
    (tmp_path / "x.rttm").write_text(
        "SPEAKER rec 1 0.50 0.75 <NA> <NA> anna <NA> <NA>\nSPKR-INFO rec 1 <NA>\nSPEAKER rec 1 1.5 0.5 <NA> <NA> <NA>\n"
    )
    found = read_sources(tmp_path / "calls", segments=tmp_path / "x.rttm").utterances
    assert [(item.id, item.start, item.duration, item.speaker) for item in found] == [
        ("rec_0.500_1.250", 0.5, 0.75, "anna"),
        ("rec_1.500_2.000", 1.5, 0.5, None),
    ]


def test_broken_segments_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("u r 0\nu r 2 1\nu r a b\nu r -1 1\nu r 0 nan\n")
    with pytest.raises(ManifestError) as caught:
        read_segments(tmp_path / "segments")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()[1:]] == ["1", "2", "3", "4", "5"]
    with pytest.raises(ManifestError, match="does not exist"):
        read_segments(tmp_path / "gone")


def cut(tmp_path: Path, name: str, text: str, *recordings: str) -> Listing:
    for recording in recordings:
        wav(tmp_path / "in" / f"{recording}.wav")
    (tmp_path / name).write_text(text)
    return read_sources(tmp_path / "in", segments=tmp_path / name)


def test_channels_of_segments(tmp_path: Path, model: Emotion2vec) -> None:
    stereo = np.stack([speech(16_000), speech(16_000, seed=1)], axis=1)
    soundfile.write(tmp_path / "call.wav", stereo, 16_000, subtype="FLOAT")
    lists = {
        "segments": "a call 0 0.5 0\nb call 0 0.5 1\nc call 0.5 -1 B\nd call 0.5 -1\n",
        "nist.rttm": "SPEAKER call 1 0 0.5 <NA> <NA> a <NA> <NA>\nSPEAKER call 2 0 0.5 <NA> <NA> b <NA> <NA>\n",
        "zero.rttm": "SPEAKER call 0 0 0.5 <NA> <NA> a <NA> <NA>\nSPEAKER call 1 0 0.5 <NA> <NA> b <NA> <NA>\n",
        "mixed.rttm": "SPEAKER call 1 0 0.5 <NA> <NA> a <NA> <NA>\nSPEAKER call 1 0 0.5 <NA> <NA> b <NA> <NA>\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    expected = [model.extract_features(stereo[:8_000, channel], 16_000).frames for channel in (0, 1)]
    for name, channels in (("segments", [0, 1, 1, None]), ("nist.rttm", [0, 1]), ("zero.rttm", [0, 1])):
        found = read_sources(tmp_path / "call.wav", segments=tmp_path / name)
        assert [item.channel for item in found.utterances] == channels
        report = extract(tmp_path / "call.wav", segments=tmp_path / name, model=model, output=tmp_path / f"{name}.out")
        assert report.exit_code == 0
        paths = [tmp_path / f"{name}.out" / f"{item.id}.npy" for item in found.utterances]
        for path, frames in zip(paths, expected, strict=False):
            np.testing.assert_allclose(np.load(path), frames, atol=1e-5)
    last = [np.load(tmp_path / "segments.out" / f"{name}.npy") for name in "cd"]
    assert last[0].shape == expected[0].shape == last[1].shape  # both to the end
    found = read_sources(tmp_path / "call.wav", segments=tmp_path / "mixed.rttm")
    assert [(item.id, item.channel) for item in found.utterances] == [
        ("call_0.000_0.500_a", None),
        ("call_0.000_0.500_b", None),
    ]


def test_lines_that_are_no_segments_are_left_out_aloud(tmp_path: Path) -> None:
    text = "SPEAKER r 1 0.1 0.00 <NA> <NA> a <NA> <NA>\nSPEAKER r 1 0.1 0.1 <NA> <NA> a <NA> <NA>\n"
    found = cut(tmp_path, "x.rttm", text, "r")
    assert [item.id for item in found.utterances] == ["r_0.100_0.200"]
    assert found.faults == [Fault(f"{tmp_path}/x.rttm:1", "lasts 0 s, expected more than 0")]
    found = cut(tmp_path, "x.rttm", text.replace("0.00", "0.1"), "r")
    assert len(found.utterances) == 1 and "was given at" in found.faults[0].reason  # the same stretch twice


def test_recordings_whose_names_have_spaces(tmp_path: Path) -> None:
    names = ("my call", "my call 1", "r", "Zoe\u0308 2")
    found = cut(
        tmp_path,
        "x.rttm",
        "SPEAKER my call 1 0.05 0.1 <NA> <NA> Ann Lee <NA> <NA>\nSPEAKER my call 1 1 0.05 0.1 <NA> <NA> b <NA> <NA>\n"
        "SPEAKER\tmy call\t1\t0.1\t0.1\t<NA>\t<NA>\tc d\t<NA>\t<NA>\n",
        *names,
    )
    assert [(item.id, item.speaker) for item in found.utterances] == [
        ("my call_0.050_0.150", "Ann Lee"),
        ("my call 1_0.050_0.150", "b"),
        ("my call_0.100_0.200", "c d"),
    ]
    text = "a my call 0 0.1\nb my call 1 0.1 0.2\nc Zo\u00eb 2 0 0.1 0\nd r 0 0.1 0\ne no such 0 0.1 0\nf r 0 0.1\n"
    found = cut(tmp_path, "segments", text, *names)
    assert [(item.id, Path(item.audio).stem, item.channel) for item in found.utterances] == [
        ("a", "my call", None),
        ("b", "my call 1", None),
        ("c", "Zoe\u0308 2", 0),
        ("d", "r", 0),
        ("f", "r", None),
    ]
    assert "recordings named 'no such' are possible" in found.faults[0].reason


def test_shards_are_disjoint_and_complete(tmp_path: Path) -> None:
    for index in range(7):
        wav(tmp_path / f"{index}.wav")
    items = read_sources(tmp_path).utterances
    shards = [take_shard(items, f"{i}/3") for i in range(3)]
    assert sorted(item.id for shard in shards for item in shard) == [item.id for item in items]
    assert take_shard(items, None) == items


# What only ffmpeg decodes


def test_without_ffmpeg_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.audio.decode.ffmpeg.find_ffmpeg", lambda: None)
    (tmp_path / "clip.m4a").write_bytes(b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(100))
    wav(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"clip\.m4a: it is MP4 or M4A .*needs ffmpeg: .*pip install imageio-ffmpeg"):
        load_audio(tmp_path / "clip.m4a")
    assert ids(tmp_path) == ["a", "clip"]


@pytest.mark.skipif(find_ffmpeg() is None, reason="needs ffmpeg, or the package imageio-ffmpeg")
@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".mkv", ".webm"])
def test_ffmpeg_decodes_what_libsndfile_does_not(tmp_path: Path, suffix: str) -> None:
    assert suffix in AUDIO_SUFFIXES
    program = find_ffmpeg()
    assert program is not None
    time = np.arange(48_000 * 2) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "x.wav", np.stack([tone, tone], axis=1), 48_000)
    path = tmp_path / f"x{suffix}"
    subprocess.run([program, "-v", "error", "-i", str(tmp_path / "x.wav"), str(path)], check=True)
    waveform = load_audio(path)
    assert waveform.size == pytest.approx(32_000, abs=2_000)
    middle = waveform[8_000:24_000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    segment = load_audio(path, start=0.5, duration=1.0)
    assert segment.size == 16_000
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AudioError, match="cannot be decoded: ffmpeg says"):
        load_audio(path)
