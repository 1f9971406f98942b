from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import AudioError, ManifestError


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def ids(manifest: Listing) -> list[str]:
    return [utterance.id for utterance in manifest.utterances]


def reasons(manifest: Listing) -> list[str]:
    return [f"{Path(fault.where).name} {fault.reason}" for fault in manifest.faults]


def test_single_file(write_audio) -> None:
    path = write_audio("one.wav")
    assert read_manifest(path) == Listing([Utterance(id="one", audio=path, file=path.name)], [])


def test_folder_is_sorted_and_passes_over_other_and_hidden_files(write_audio, tmp_path: Path) -> None:
    for name in ("b/z.wav", "a/y.flac", "x.WAV", "b/._z.wav", ".cache/w.wav"):
        write_audio(name)
    write_lines(tmp_path / "b" / "notes.txt", "text")
    manifest = read_manifest(tmp_path)
    assert ids(manifest) == ["a/y", "b/z", "x"]
    assert manifest.faults == []


def test_folder_with_loop_and_dangling_link(write_audio, tmp_path: Path) -> None:
    write_audio("corpus/a/x.wav")
    (tmp_path / "corpus/a/loop").symlink_to(tmp_path / "corpus", target_is_directory=True)
    (tmp_path / "corpus/gone.wav").symlink_to(tmp_path / "nowhere.wav")
    manifest = read_manifest(tmp_path / "corpus")
    assert ids(manifest) == ["a/x"]
    assert reasons(manifest) == ["gone.wav the link points nowhere"]


def test_same_stem_twice_keeps_the_suffix(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav")
    write_audio("x.flac")
    assert ids(read_manifest(tmp_path)) == ["x.flac", "x.wav"]


def test_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no usable entry.*\.flac.*\.wav"):
        read_manifest(tmp_path)


def test_fairseq(write_audio, tmp_path: Path) -> None:
    path = write_audio("audio/s1/x.wav")
    tsv = write_lines(tmp_path / "train.tsv", str(tmp_path / "audio"), "s1/x.wav\t8000", "s1/gone.wav\t8000")
    manifest = read_manifest(tsv)
    assert manifest.utterances == [Utterance(id="s1/x", audio=path, file="s1/x.wav")]
    assert [fault.where for fault in manifest.faults] == [f"{tsv}:3"]


def test_fairseq_root_can_be_overridden(write_audio, tmp_path: Path) -> None:
    path = write_audio("moved/x.wav")
    tsv = write_lines(tmp_path / "train.tsv", "/old/place", "x.wav\t8000")
    assert read_manifest(tsv, root=tmp_path / "moved").utterances[0].audio == path


def test_kaldi_scp(write_audio, tmp_path: Path) -> None:
    path = write_audio("audio/with space.wav")
    scp = write_lines(tmp_path / "wav.scp", "utt1 audio/with space.wav", "utt2", "utt1 audio/with space.wav")
    manifest = read_manifest(scp)
    assert manifest.utterances == [Utterance(id="utt1", audio=path, file="audio/with space.wav")]
    assert [fault.where for fault in manifest.faults] == [f"{scp}:2", f"{scp}:3"]
    assert "expected 'key path'" in manifest.faults[0].reason
    assert f"'utt1' was given at {scp}:1" in manifest.faults[1].reason


def test_kaldi_pipe_is_refused_and_not_run(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav")
    scp = write_lines(tmp_path / "wav.scp", "utt1 x.wav", f"utt2 touch {tmp_path}/ran; cat x.wav |")
    manifest = read_manifest(scp)
    assert ids(manifest) == ["utt1"] and "commands are never run" in reasons(manifest)[0]
    with pytest.raises(ManifestError, match=r"pipes\.scp:1.*commands are never run"):
        read_manifest(write_lines(tmp_path / "pipes.scp", f"utt2 touch {tmp_path}/ran; cat x.wav |"))
    assert not (tmp_path / "ran").exists()


def test_nemo_offset_and_duration(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav", seconds=2)
    rows = [
        {"audio_filepath": "x.wav", "duration": 2.0, "label": "sad"},
        {"audio_filepath": "x.wav", "offset": 0.5, "duration": 1.0, "speaker": 7},
        {"audio_filepath": "x.wav", "offset": -1, "duration": 1.0},
    ]
    manifest = read_manifest(write_lines(tmp_path / "nemo.json", *map(json.dumps, rows)))
    whole, segment = manifest.utterances
    assert (whole.id, whole.start, whole.duration, whole.label) == ("x", None, None, "sad")
    assert (segment.id, segment.start, segment.duration, segment.speaker) == ("x_0.500_1.500", 0.5, 1.0, "7")
    assert reasons(manifest) == ["nemo.json:3 the field 'offset' is -1, expected a number of seconds, 0 to 1e+09"]


def test_json_faults_are_gathered(write_audio, tmp_path: Path) -> None:
    path = write_audio("x.wav")
    good = json.dumps({"key": "k", "audio": "x.wav", "label": "anger"})
    source = write_lines(tmp_path / "list.jsonl", '{"key": "a", "wav"', good, "[1]", '{"key": "b"}', "")
    source.write_bytes(source.read_bytes() + b'{"key": "\xff", "wav": "x.wav"}\n')
    manifest = read_manifest(source)
    assert manifest.utterances == [Utterance(id="k", audio=path, file="x.wav", label="anger")]
    assert sorted(fault.where for fault in manifest.faults) == [f"{source}:{line}" for line in (1, 3, 4, 6)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_table(write_audio, tmp_path: Path, separator: str) -> None:
    path = write_audio("x.wav", seconds=3)
    rows = [
        ("File", "emotion", "speaker", "start", "end"),
        ("x.wav", "sad", "s1", "", ""),
        ("x.wav", "happy", "s1", "1", "2.5"),
        ("x.wav", "happy", "s1", "2", ""),
        ("x.wav", "happy", "s1", "2", "1"),
        ("", "happy", "s1", "", ""),
    ]
    source = tmp_path / ("table.tsv" if separator == "\t" else "table.csv")
    source.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows), encoding="utf-8")
    manifest = read_manifest(source)
    same = {"audio": path, "file": "x.wav", "speaker": "s1"}
    assert manifest.utterances == [
        Utterance(id="x", label="sad", **same),
        Utterance(id="x_1.000_2.500", start=1.0, duration=1.5, label="happy", **same),
        Utterance(id="x_2.000_end", start=2.0, label="happy", **same),
    ]
    assert [fault.where for fault in manifest.faults] == [f"{source}:5", f"{source}:6"]


def test_table_of_one_column_is_not_taken_for_fairseq(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav")
    assert ids(read_manifest(write_lines(tmp_path / "t.tsv", "file", "x.wav"))) == ["x"]


def test_table_without_file_column(write_audio, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"column 'file', found the columns \['path', 'emotion'\]"):
        read_manifest(write_lines(tmp_path / "t.csv", "path,emotion", "x.wav,sad"))


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_quotes_never_swallow_rows(write_audio, tmp_path: Path, suffix: str) -> None:
    texts = ['"Well, I told you', "yes", 'he said "no"', 'never again"', "end", '"']
    for index in range(len(texts)):
        write_audio(f"{index}.wav")
    separator = "\t" if suffix == "tsv" else ";"
    rows = [separator.join([f"{index}.wav", text, "sad"]) for index, text in enumerate(texts)]
    source = write_lines(tmp_path / f"t.{suffix}", separator.join(["file", "text", "emotion"]), *rows)
    manifest = read_manifest(source)
    if suffix == "tsv":
        assert ids(manifest) == ["0", "1", "2", "3", "4", "5"] and not manifest.faults
        return
    assert ids(manifest) == ["1", "2", "3", "4"]
    assert [fault.where for fault in manifest.faults] == [f"{source}:2", f"{source}:7"]
    assert all("never closed" in fault.reason for fault in manifest.faults)
    source = write_lines(tmp_path / "u.csv", "file;text;emotion", '0.wav;"Well,', "I told", 'you";sad', "4.wav;x;sad")
    manifest = read_manifest(source)
    assert ids(manifest) == ["4"] and [fault.where for fault in manifest.faults] == [f"{source}:2-4"]
    assert "goes from line 2 to line 4" in manifest.faults[0].reason


def test_quoted_fields_of_a_csv_may_hold_separators_and_quotes(write_audio, tmp_path: Path) -> None:
    write_audio("a, b.wav")
    source = write_lines(tmp_path / "t.csv", "file,text,emotion", '"a, b.wav","""Well"", he said\x85",sad')
    (utterance,) = read_manifest(source).utterances
    assert (utterance.id, utterance.label) == ("a, b", "sad")


def test_a_row_with_more_fields_than_the_header_is_a_fault(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav")
    source = write_lines(tmp_path / "t.csv", "file,text,emotion", "x.wav,Well, yes,sad", "x.wav,no,sad,,", ",,")
    manifest = read_manifest(source)
    assert ids(manifest) == ["x"]
    assert reasons(manifest) == [
        "t.csv:2 the row has 4 fields and the header 3, expected a field for each column: put text with separators in "
        "quotes"
    ]
    with pytest.raises(ManifestError, match="names emotion twice"):
        read_manifest(write_lines(tmp_path / "u.csv", "file,emotion,Emotion", "x.wav,sad,joy"))


def test_tables_as_excel_saves_them(write_audio, tmp_path: Path) -> None:
    write_audio("Zoë.wav")
    for name, text, encoding in (
        ("unicode.tsv", "file\temotion\r\nZoë.wav\tsad\r\n", "utf-16"),
        ("big.tsv", "\ufefffile\temotion\nZoë.wav\tsad\n", "utf-16-be"),
        ("bare.tsv", "file\temotion\nZoë.wav\tsad\n", "utf-16-le"),
        ("sep.csv", "sep=;\r\nfile;emotion\r\nZoë.wav;sad\r\n", "utf-8-sig"),
        ("mac.csv", "file;emotion\rZoë.wav;sad\r", "utf-8"),
    ):
        (tmp_path / name).write_bytes(text.encode(encoding))
        manifest = read_manifest(tmp_path / name)
        assert [(u.id, u.label) for u in manifest.utterances] == [("Zoë", "sad")] and not manifest.faults
    (tmp_path / "cp1252.csv").write_bytes("file;emotion\nZoë.wav;sad\n\nZo\xeb.wav;sad\n".encode("cp1252"))
    with pytest.raises(
        ManifestError, match=r"cp1252\.csv:2: not UTF-8 text .* as Windows-1252 it reads 'Zoë\.wav;sad'"
    ):
        read_manifest(tmp_path / "cp1252.csv")


def test_paths_as_on_windows(write_audio, tmp_path: Path) -> None:
    first, second = write_audio("s1/a.wav"), write_audio("s2/b.wav")
    rows = ["s1\\a.wav", "C:\\data\\corpus\\s2\\b.wav", "D:\\s3\\b.wav"]
    manifest = read_manifest(write_lines(tmp_path / "t.csv", "file", *rows), root=tmp_path)
    assert [(u.id, u.audio) for u in manifest.utterances] == [("s1/a", first), ("data/corpus/s2/b", second)]
    assert [change.kind for change in manifest.changes] == ["path written as on Windows", "searched by stem"]
    assert "'D:\\\\s3\\\\b.wav' does not exist" in manifest.faults[0].reason


def test_names_in_another_unicode_form_are_found_if_there_is_one(write_audio, tmp_path: Path) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    path = write_audio(f"{decomposed}/{decomposed}.wav")
    source = write_lines(tmp_path / "t.csv", "file", f"{composed}/{composed}.wav")
    manifest = read_manifest(source)
    assert [utterance.audio for utterance in manifest.utterances] == [path]
    assert [change.kind for change in manifest.changes] == ["name in another Unicode form"]
    for name in ("\u1e69", "s\u0323\u0307"):  # a list that has a third form
        write_audio(f"{name}.wav")
    write_lines(source, "file", "\u1e63\u0307.wav")
    with pytest.raises(ManifestError, match="is 2 files in different Unicode forms"):
        read_manifest(source)


def test_what_is_named_itself_may_have_another_unicode_form(write_audio, tmp_path: Path) -> None:
    path = write_audio("Zoe\u0308/e\u0308.wav")
    assert read_manifest(tmp_path / "Zo\u00eb" / "\u00eb.wav").utterances[0].audio == path
    assert ids(read_manifest(tmp_path / "Zo\u00eb")) == ["e\u0308"]
    source = write_lines(tmp_path / "t.csv", "file", "\u00eb.wav")
    assert read_manifest(source, root=tmp_path / "Zo\u00eb").utterances[0].audio == path


def test_a_suffix_is_one_of_audio(write_audio, tmp_path: Path) -> None:
    for name in ("X.opus", "X.orig.wav", "v1.2/take.3.flac", "v1.2/take.4.flac"):
        write_audio(name)
    assert ids(read_manifest(tmp_path)) == ["X", "X.orig", "v1.2/take.3", "v1.2/take.4"]
    rows = write_lines(tmp_path / "t.csv", "file", "v1.2/take.3", "X.orig", "v1.2/take.wav")
    manifest = read_manifest(rows)
    assert ids(manifest) == ["v1.2/take.3", "X.orig"]
    assert [utterance.audio.name for utterance in manifest.utterances] == ["take.3.flac", "X.orig.wav"]


def test_lhotse_cuts_as_lhotse_writes_them(write_audio, tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    mono, stereo = write_audio("mono.wav", seconds=2), write_audio("stereo.wav", seconds=1, channels=2)
    whole = Recording.from_file(stereo).to_cut()
    part = Recording.from_file(mono).to_cut().truncate(offset=0.5, duration=1.0, preserve_id=True)
    part.supervisions.append(
        SupervisionSegment(id="s", recording_id="mono", start=0, duration=1, speaker="ann", custom={"emotion": "fear"})
    )
    right = Recording.from_file(stereo, recording_id="right").to_cut()
    right = MonoCut(id="right", start=0, duration=1.0, channel=1, recording=right.recording)
    fast = Recording.from_file(mono, recording_id="fast").to_cut().perturb_speed(1.1)
    mixed = part.with_id("mix").append(part.with_id("tail"))
    source = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts([whole, part, right, fast, mixed]).to_file(source)

    manifest = read_manifest(source)
    assert manifest.utterances == [
        Utterance(id=whole.id, audio=stereo),
        Utterance(id=part.id, audio=mono, start=0.5, duration=1.0, label="fear", speaker="ann"),
        Utterance(id="right", audio=stereo, channel=1),
    ]
    assert [fault.where for fault in manifest.faults] == [f"{source}:4", f"{source}:5"]
    assert "transforms" in manifest.faults[0].reason
    assert "MixedCut" in manifest.faults[1].reason


def test_lhotse_command_source_is_refused_and_not_run(write_audio, tmp_path: Path) -> None:
    from lhotse import Recording

    cut = Recording.from_file(write_audio("x.wav")).to_cut().to_dict()
    cut["recording"]["sources"][0].update(type="command", source=f"touch {tmp_path}/ran")
    with pytest.raises(ManifestError, match=r"\['command'\], expected a recording of one 'file'"):
        read_manifest(write_lines(tmp_path / "cuts.jsonl", json.dumps(cut)))
    assert not (tmp_path / "ran").exists()


def test_truncated_gzip(tmp_path: Path) -> None:
    source = tmp_path / "cuts.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"key": "a"}\n' * 100)[:-9])
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(source)


def test_missing_path_is_found_by_stem(write_audio, tmp_path: Path) -> None:
    path = write_audio("audio/03a.flac")
    row = json.dumps({"key": "emodb-03a", "wav": "downloads/emodb/wav/03a.wav", "emo": "anger"})
    source = write_lines(tmp_path / "lists" / "emodb.jsonl", row)
    expected = Utterance(id="emodb-03a", audio=path, file="downloads/emodb/wav/03a.wav", label="anger")
    assert read_manifest(source, root=tmp_path).utterances == [expected]
    with pytest.raises(ManifestError, match="does not exist below"):
        read_manifest(source)


def test_stem_search_takes_the_folder_that_agrees_and_never_guesses(write_audio, tmp_path: Path) -> None:
    train = write_audio("meld/train/dia0.wav")
    write_audio("meld/dev/dia0.wav")
    rows = [{"key": "a", "wav": "downloads/train/dia0.mp4"}, {"key": "b", "wav": "downloads/other/dia0.mp4"}]
    rows += [{"key": "c", "wav": "downloads/dia0.mp4"}]
    manifest = read_manifest(write_lines(tmp_path / "meld.jsonl", *map(json.dumps, rows)))
    assert manifest.utterances == [Utterance(id="a", audio=train, file="downloads/train/dia0.mp4")]
    assert [change.kind for change in manifest.changes] == ["searched by stem"]
    assert "2 files have its stem only in other folders" in manifest.faults[0].reason
    assert "2 files have its stem, such as" in manifest.faults[1].reason


def test_stem_search_takes_no_file_of_another_speaker(write_audio, tmp_path: Path) -> None:
    write_audio("s2/sad.opus")
    for suffix in ("wav", "flac"):
        write_audio(f"s3/sad.{suffix}")
    source = write_lines(tmp_path / "t.csv", "file,speaker", "s1/sad.opus,s1", "old/s3/sad.flac,s3", "s3/sad.mp3,s3")
    manifest = read_manifest(source)
    assert [(u.speaker, u.audio.relative_to(tmp_path).as_posix()) for u in manifest.utterances] == [
        ("s3", "s3/sad.flac")
    ]
    assert [fault.where for fault in manifest.faults] == [f"{source}:2", f"{source}:4"]
    assert "only in other folders" in manifest.faults[0].reason and "2 files" in manifest.faults[1].reason


def test_stem_search_does_not_give_one_file_to_two_entries(write_audio, tmp_path: Path) -> None:
    write_audio("speaker2/1.wav")
    source = write_lines(tmp_path / "list.csv", "file", "speaker1/1.wav", "speaker2/1.wav")
    manifest = read_manifest(source)
    assert ids(manifest) == ["speaker2/1"]
    assert [fault.where for fault in manifest.faults] == [f"{source}:2"]


def test_ids_never_leave_their_folder(write_audio, tmp_path: Path) -> None:
    outside = write_audio("outside/x.wav")
    scp = write_lines(tmp_path / "lists" / "a.scp", "../evil ../outside/x.wav", "ok ../outside/x.wav")
    manifest = read_manifest(scp)
    assert ids(manifest) == ["ok"]
    assert "would leave its folder" in manifest.faults[0].reason
    table = write_lines(tmp_path / "lists" / "t.csv", "file", "../outside/x.wav")
    assert ids(read_manifest(table)) == [outside.relative_to(outside.anchor).with_suffix("").as_posix()]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.doc", "x.wav", r"unknown kind of manifest '\.doc'"),
        ("list.txt", "x.wav", r"no usable entry; 1 faults.*'x\.wav' does not exist below"),
        ("list.jsonl", "", "the file is empty"),
        ("empty.csv", "file,emotion", r"empty\.csv: no usable entry; it names nothing$"),
        ("list.csv", "file\nnowhere.wav", r"no usable entry; 1 faults.*list\.csv:2.*'nowhere\.wav' does not exist"),
    ],
)
def test_unusable_lists(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


def test_missing_source_and_root(write_audio, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist, expected an audio file"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="not a folder"):
        read_manifest(write_audio("x.wav"), root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "rate"), [("x.wav", 8_000), ("x.wav", 44_100), ("x.flac", 16_000), ("x.opus", 48_000)]
)
def test_segment_is_the_same_stretch_of_the_whole(write_audio, name: str, rate: int) -> None:
    path = write_audio(name, seconds=2, rate=rate, channels=2)
    whole = load_audio(path)
    segment = Utterance(id="x", audio=path, start=0.5, duration=1.0).load()
    assert segment.shape == (16_000,)
    inner = slice(1_600, -1_600)  # the resampler sees other neighbours at the ends
    error = segment[inner] - whole[8_000:24_000][inner]
    assert np.sqrt(np.mean(error**2)) < 1e-3 * whole.std()


def test_segment_takes_the_channel(write_audio) -> None:
    path = write_audio("x.wav", seconds=1, channels=2)
    samples, _ = soundfile.read(path, dtype="float32")
    segment = Utterance(id="x", audio=path, start=0.25, channel=1).load()
    np.testing.assert_array_equal(segment, samples[4_000:, 1])


@pytest.mark.parametrize(("start", "duration"), [(0.5, 0.7), (1.5, None), (0.0, 9.0)])
def test_segment_outside_the_audio(write_audio, start: float, duration: float | None) -> None:
    path = write_audio("x.wav", seconds=1)
    with pytest.raises(AudioError, match="but the audio has 1 s"):
        Utterance(id="x", audio=path, start=start, duration=duration).load()


def test_reading_lists_stays_light(write_audio, tmp_path: Path) -> None:
    write_audio("x.wav")
    code = (
        "import sys; from emotion2vec.corpora.lists.manifests import read_manifest; read_manifest(sys.argv[1]);"
        "print(sorted({'torch', 'lhotse', 'soundfile', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_emobox_lists_find_every_file(shared: Path) -> None:
    emodb = read_manifest(shared / "data" / "emobox" / "emodb" / "emodb.jsonl", root=shared / "data" / "emodb")
    assert (len(emodb.utterances), emodb.faults) == (535, [])
    assert all(u.id == f"emodb-{u.audio.stem}" and u.audio.suffix == ".flac" for u in emodb.utterances)
    ased = read_manifest(shared / "data" / "emobox" / "ased" / "ased.jsonl", root=shared / "data" / "ased")
    assert (len(ased.utterances), ased.faults) == (2474, [])
    assert len({u.audio for u in ased.utterances}) == 2474


def test_emobox_folds_under_both_names_agree(shared: Path) -> None:
    fold = shared / "data" / "emobox" / "emodb" / "fold_1"
    names = ("emodb_test_fold1.jsonl", "emodb_test_fold_1.jsonl")
    old, new = (read_manifest(fold / name, root=shared / "data" / "emodb") for name in names)
    assert [(u.id, u.audio, u.label) for u in old.utterances] == [(u.id, u.audio, u.label) for u in new.utterances]


def test_emobox_list_of_absent_audio_names_each_line(shared: Path) -> None:
    source = shared / "data" / "emobox" / "iemocap" / "iemocap.jsonl"
    with pytest.raises(ManifestError, match=r"no usable entry; 5531 faults.*iemocap\.jsonl:1: 'downloads/iemocap"):
        read_manifest(source, root=shared / "data" / "emodb")
