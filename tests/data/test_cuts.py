from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.decode.reading import Header
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data.cuts import load_cut, load_cuts, make_cut
from emotion2vec.errors import AudioError, ManifestError


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("x.wav", 8_000, 1), ("x.wav", 16_000, 1), ("x.wav", 44_100, 2), ("x.flac", 22_050, 1), ("x.opus", 48_000, 2)],
)
def test_durations_come_from_headers_and_audio_decodes_as_elsewhere(write_audio, name, rate, channels) -> None:
    path = write_audio(name, seconds=1.25, rate=rate, channels=channels)
    corpus = load_cuts([path], min_samples=8_000, max_bad_share=0.0, workers=0)
    (cut,) = corpus.cuts
    assert cut.duration == pytest.approx(1.25, abs=1e-3)
    assert cut.recording.num_channels == channels
    np.testing.assert_array_equal(load_cut(cut), load_audio(path))


def test_lhotse_reads_the_same_samples(write_audio) -> None:
    path = write_audio("x.wav", seconds=1.0, channels=2)
    (cut,) = load_cuts([path], min_samples=8_000, max_bad_share=0.0, workers=0).cuts
    np.testing.assert_allclose(load_cut(cut), cut.load_audio().mean(axis=0), atol=1e-7)


def test_segments_and_channels(write_audio, tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, Recording

    path = write_audio("x.wav", seconds=2.0, channels=2)
    recording = Recording.from_file(path)
    right = MonoCut(id="right", start=0.5, duration=1.0, channel=1, recording=recording)
    CutSet.from_cuts([right]).to_file(tmp_path / "cuts.jsonl")
    (cut,) = load_cuts([tmp_path / "cuts.jsonl"], min_samples=8_000, max_bad_share=0.0, workers=0).cuts
    assert (cut.id, cut.start, cut.duration) == ("right", 0.5, 1.0)
    np.testing.assert_array_equal(load_cut(cut), soundfile.read(path, dtype="float32")[0][8_000:24_000, 1])


def test_bad_and_short_files_are_told_apart(write_audio, tmp_path: Path) -> None:
    for number in range(6):
        write_audio(f"corpus/good{number}.wav", seconds=0.5)
    write_audio("corpus/just_short.wav", seconds=7_999 / 16_000)
    write_audio("corpus/just_short_44.wav", seconds=0.49, rate=44_100)
    (tmp_path / "corpus/empty.wav").touch()
    (tmp_path / "corpus/text.flac").write_text("not audio " * 20)
    soundfile.write(tmp_path / "corpus/silent.wav", np.zeros(0), 16_000)
    corpus = load_cuts([tmp_path / "corpus"], min_samples=8_000, max_bad_share=0.3, workers=2)
    assert [cut.id for cut in corpus.cuts] == [f"good{number}" for number in range(6)]
    assert [Path(fault.where).name for fault in corpus.too_short] == ["just_short.wav", "just_short_44.wav"]
    assert {Path(fault.where).name: fault.reason.split(",")[0] for fault in corpus.faults} == {
        "empty.wav": "the file is empty (0 bytes)",
        "silent.wav": "holds no samples",
        "text.flac": "cannot be decoded: it is text",
    }


def test_too_many_bad_files_stop_with_count_share_limit_and_names(write_audio, tmp_path: Path) -> None:
    write_audio("corpus/good.wav")
    for name in "abcdefg":
        (tmp_path / f"corpus/{name}.wav").touch()
    with pytest.raises(ManifestError, match=r"7 of 8 entries \(87\.5%\).*at most 50\.0%.*a\.wav.*e\.wav.*\.\.\."):
        load_cuts([tmp_path / "corpus"], min_samples=8_000, max_bad_share=0.5, workers=0)
    assert len(load_cuts([tmp_path / "corpus"], min_samples=8_000, max_bad_share=7 / 8, workers=0).cuts) == 1


def test_faults_of_the_manifest_count_as_bad(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav")
    (tmp_path / "list.csv").write_text("file\nx.wav\nnowhere.wav\n")
    with pytest.raises(ManifestError, match=r"1 of 2 entries \(50\.0%\)"):
        load_cuts([tmp_path / "list.csv"], min_samples=8_000, max_bad_share=0.4, workers=0)


def test_nothing_long_enough(write_audio) -> None:
    with pytest.raises(ManifestError, match=r"none of 1 entries can be used: .*too short, 3200 samples"):
        load_cuts([write_audio("x.wav", seconds=0.2)], min_samples=8_000, max_bad_share=1.0, workers=0)
    with pytest.raises(ManifestError, match="no source"):
        load_cuts([], min_samples=8_000, max_bad_share=1.0, workers=0)


def test_ids_stay_unique_over_sources(write_audio, tmp_path: Path) -> None:
    write_audio("one/x.wav")
    write_audio("two/x.wav")
    sources = [tmp_path / "one", tmp_path / "two", tmp_path / "one"]
    corpus = load_cuts(sources, min_samples=8_000, max_bad_share=0.0, workers=0)
    assert [cut.id for cut in corpus.cuts] == ["x", "x#2", "x#3"]


def test_segment_that_overshoots_by_rounding_is_clipped_and_more_is_a_fault(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav", seconds=2.0)
    (tmp_path / "list.csv").write_text("file,start,end\nx.wav,0.5,2.05\nx.wav,0.5,2.5\n")
    corpus = load_cuts([tmp_path / "list.csv"], min_samples=8_000, max_bad_share=0.5, workers=0)
    assert [cut.duration for cut in corpus.cuts] == [1.5]
    assert "from 0.5 s to 2.5 s, but the audio has 2 s" in corpus.faults[0].reason


def test_truncated_audio_is_an_error(write_audio) -> None:
    path = write_audio("x.flac", seconds=3.0)
    (cut,) = load_cuts([path], min_samples=8_000, max_bad_share=0.0, workers=0).cuts
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"x\.flac"):
        load_cut(cut)
    soundfile.write(path, soundfile.read(write_audio("y.wav", seconds=1.0))[0], 16_000)
    with pytest.raises(AudioError, match=r"truncated, 1\.00 s could be decoded, its header states 3\.00 s"):
        load_cut(cut)


@pytest.mark.parametrize(
    ("segment", "fault"),
    [
        ({"channel": 1}, None),
        ({"channel": 2}, "no such channel: 2 is asked for, and it has 0 to 1"),
        ({"start": 2.0}, "goes from 2 s to 2 s, but the audio has 2 s"),
        ({"start": 2.0, "duration": 0.05}, "goes from 2 s to 2.05 s, but the audio has 2 s"),
        ({"start": 1.9}, None),
        ({"start": 1.5, "duration": 0.59}, None),
        ({"start": 1.5, "duration": 0.61}, "goes from 1.5 s to 2.11 s, but the audio has 2 s"),
        ({"duration": 2.2}, "goes from 0 s to 2.2 s, but the audio has 2 s"),
    ],
)
def test_segments_and_channels_must_be_in_the_audio(segment: dict[str, float], fault: str | None) -> None:
    """By its header, to a tenth of a second, which rounded times may overshoot by."""
    utterance = Utterance(id="x", audio=Path("x.wav"), **segment)
    header = Header(rate=8_000, samples=16_000, channels=2)
    if fault is None:
        cut = make_cut(utterance, header)
        assert cut.start == segment.get("start", 0.0) and cut.end <= 2.0
        assert cut.channel == segment.get("channel", [0, 1])
    else:
        with pytest.raises(AudioError, match=fault):
            make_cut(utterance, header)
