"""What `prepare` makes of audio that is quiet, damaged, in stereo, or in containers that few decode."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from data.test_prepare import contents
from extraction.helpers import tiny_model

from emotion2vec.audio.decode import find_ffmpeg
from emotion2vec.audio.samples import load_audio
from emotion2vec.data.cuts import load_cuts
from emotion2vec.data.prepare import prepare
from emotion2vec.errors import ConfigError, ManifestError

WriteAudio = Callable[..., Path]


def speech(seconds: float = 2.0, rate: int = 16_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    envelope = np.abs(np.sin(np.arange(round(seconds * rate)) / rate * 7))
    samples = envelope * rng.standard_normal(envelope.size)
    return samples / np.abs(samples).max()


@pytest.mark.parametrize("peak", [1e-4, 1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_resampling_keeps_quiet_audio(tmp_path: Path, peak: float, rate: int) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", peak * speech(rate=rate), rate, subtype="FLOAT")
    prepare(tmp_path / "in", tmp_path / "out", resample=True, workers=1)
    stored, expected = contents(tmp_path / "out")["a"], load_audio(tmp_path / "in" / "a.wav")
    noise = stored - expected
    assert 10 * np.log10(np.mean(expected**2) / np.mean(noise**2 + 1e-30)) > 45
    model = tiny_model()
    first, second = (model.extract_features(samples, 16_000).frames for samples in (stored, expected))
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert cosines.min() > 0.999


def test_sixteen_bits_take_no_more_room_for_having_24(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.flac", 0.5 * speech(10), 16_000)
    report = prepare(tmp_path / "in", tmp_path / "out", resample=True, workers=1)
    assert report.size < 1.05 * (tmp_path / "in" / "a.flac").stat().st_size + 5_000


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A folder with a sound file, a truncated WAV, a truncated FLAC and a WAV from a pipe."""
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "good.wav", speech(), 16_000)
    soundfile.write(folder / "cut.wav", speech(), 16_000)
    soundfile.write(folder / "cut.flac", speech(), 16_000)
    for name in ("cut.wav", "cut.flac"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-20_000])
    content = bytearray((folder / "good.wav").read_bytes())
    content[40:44] = struct.pack("<I", 0)
    (folder / "piped.wav").write_bytes(content)
    return folder


@pytest.mark.parametrize("resample", [False, True])
def test_truncated_files_are_left_out_unless_they_are_accepted(damaged: Path, tmp_path: Path, resample: bool) -> None:
    report = prepare(damaged, tmp_path / "out", resample=resample, workers=1)
    assert sorted(contents(tmp_path / "out")) == ["good", "piped"]
    assert {Path(fault.where).name for fault in report.faults} == {"cut.wav", "cut.flac"}
    assert all("damaged: the end is missing" in fault.reason for fault in report.faults)
    assert not report.notes

    report = prepare(damaged, tmp_path / "all", resample=resample, accept_damaged=True, workers=1)
    loaded = contents(tmp_path / "all")
    assert not report.faults and report.notes == {"damaged": 2}
    assert loaded["piped"].size == loaded["good"].size == 32_000
    assert loaded["cut.wav"].size == 22_000
    np.testing.assert_allclose(loaded["cut.wav"], loaded["good"][:22_000], atol=2**-15)


def test_the_headers_of_a_list_are_not_believed(damaged: Path) -> None:
    corpus = load_cuts([damaged], min_samples=400, max_bad_share=0.5, workers=0)
    assert {cut.id: cut.duration for cut in corpus.cuts} == {"good": 2.0, "piped": 2.0}
    assert len(corpus.faults) == 2
    with pytest.raises(ManifestError, match="damaged"):
        load_cuts([damaged], min_samples=400, max_bad_share=0.0, workers=0)


def test_damage_cannot_be_accepted_where_nothing_is_copied(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accept_damaged is on and copy off"):
        prepare(damaged, tmp_path / "out", accept_damaged=True, copy=False)


def test_channels_that_cancel_each_other_are_stored_as_the_louder_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pair = np.stack([0.5 * speech(), -0.5 * speech()], axis=1)
    soundfile.write(tmp_path / "in" / "a.wav", pair, 16_000, subtype="FLOAT")
    report = prepare(tmp_path / "in", tmp_path / "out", workers=1)
    np.testing.assert_allclose(contents(tmp_path / "out")["a"], pair[:, 0], atol=2**-22)
    assert report.notes == {"louder-channel": 1}


@pytest.mark.skipif(find_ffmpeg() is None, reason="needs ffmpeg, or the package imageio-ffmpeg")
@pytest.mark.parametrize("copy", [True, False])
def test_folders_of_media_are_taken_whole(tmp_path: Path, copy: bool) -> None:
    from lhotse import CutSet

    folder, program = tmp_path / "in", find_ffmpeg()
    folder.mkdir()
    soundfile.write(folder / "a.wav", 0.5 * speech(), 16_000)
    names = ["b.m4a", "c.mp4", "d.webm", "e.aac", "f.opus", "g.mp3", "h.wma", "i.au"]
    for name in names:
        subprocess.run([str(program), "-v", "error", "-i", str(folder / "a.wav"), str(folder / name)], check=True)
    (folder / "b.m4a").rename(folder / "b.wav")  # under a wrong name
    report = prepare(folder, tmp_path / "out", copy=copy, workers=1)
    loaded = contents(tmp_path / "out")
    assert report.utterances == 9 and not report.faults and set(loaded) == set("abcdefghi")
    for path in folder.iterdir():
        expected = load_audio(path)
        np.testing.assert_allclose(loaded[path.stem], expected, atol=1e-6, err_msg=path.name)
        assert abs(expected.size - 32_000) < 2_500
    corpus = load_cuts([folder], min_samples=400, max_bad_share=0.0, workers=2)
    assert {cut.id: round(cut.duration) for cut in corpus.cuts} == dict.fromkeys("abcdefghi", 2)
    if copy:  # Lhotse reads what was stored, also of what it could not have decoded itself
        for cut in CutSet.from_shar(in_dir=tmp_path / "out" / "shar"):
            if cut.id in "abcdh":
                assert cut.load_audio().size == pytest.approx(2 * cut.sampling_rate, abs=3_000)


@pytest.mark.skipif(find_ffmpeg() is None, reason="needs ffmpeg, or the package imageio-ffmpeg")
def test_an_mp3_without_a_table_is_stored_whole(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    loud = np.random.default_rng(1).uniform(-0.9, 0.9, 80_000)
    soundfile.write(tmp_path / "a.wav", np.concatenate([loud, 0.01 * speech(10)]), 16_000)
    options = ["-ar", "44100", "-c:a", "libmp3lame", "-q:a", "2", "-write_xing", "0"]
    command = [str(find_ffmpeg()), "-v", "error", "-i", str(tmp_path / "a.wav"), *options, str(folder / "a.mp3")]
    subprocess.run(command, check=True)
    assert soundfile.info(folder / "a.mp3").duration < 14  # what libsndfile guesses
    report = prepare(folder, tmp_path / "out", workers=1)
    assert report.seconds == pytest.approx(15, abs=0.06)
    assert contents(tmp_path / "out")["a"].size == pytest.approx(15 * 16_000, abs=1_000)
    (cut,) = load_cuts([folder], min_samples=400, max_bad_share=0.0, workers=0).cuts
    assert cut.duration == pytest.approx(15, abs=0.06)
