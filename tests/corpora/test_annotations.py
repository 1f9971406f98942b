"""Names of real clips, as the corpora's documentation gives them, and annotations in the published formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emotion2vec.corpora.folds import make_folds
from emotion2vec.corpora.named.annotations import annotation_rows
from emotion2vec.corpora.named.filenames import FILE_NAMES
from emotion2vec.corpora.named.registry import read_named
from emotion2vec.errors import ManifestError

NAMES = [
    ("aesdd", "anger/a01 (3).wav", "anger", "3", None),
    ("ased", "05Angry/a5-02-01-01-33.wav", "anger", "33", "female"),
    ("cafe", "Colère/02-C-2-5.aiff", "anger", "02", "female"),
    ("cafe", "01-N-1-1.wav", "neutral", "01", "male"),
    ("crema-d", "AudioWAV/1091_WSI_HAP_XX.wav", "happiness", "1091", None),
    ("emodb", "wav/16b10Wb.wav", "anger", "16", "female"),
    ("emovo", "f1/rab-f1-d2.wav", "anger", "f1", "female"),
    ("nemo", "samples/SM0_sadness_12.wav", "sadness", "SM0", "male"),
    ("ravdess", "Actor_12/03-01-06-01-02-01-12.wav", "fear", "12", "female"),
    ("ravdess-song", "Actor_01/03-02-04-02-01-01-01.wav", "sadness", "01", "male"),
    ("savee", "AudioData/DC/sa07.wav", "sadness", "DC", "male"),
    ("savee", "ALL/KL_su03.wav", "surprise", "KL", "male"),
    ("shemo", "female/F03W02.wav", "surprise", "F03", "female"),
    ("subesco", "M_12_SABBIR_S_3_DISGUST_2.wav", "disgust", "M_12", "male"),
    ("tess", "YAF_happy/YAF_mood_happy.wav", "happiness", "YA", "female"),
    ("tess", "OAF_sad/OA_bite_neutral.wav", "neutral", "OA", "female"),
    ("turev-db", "Sound Source/Sad/1157_hl_acik.wav", "sadness", "1157", None),
    ("urdu", "Sad/SF12_F3_S07.wav", "sadness", "SF12", "female"),
]


@pytest.mark.parametrize(("corpus", "file", "label", "speaker", "gender"), NAMES)
def test_names_say_who_and_what(corpus: str, file: str, label: str, speaker: str, gender: str | None) -> None:
    facts = FILE_NAMES[corpus].read(Path(file))
    assert facts is not None
    assert (facts["label"], facts["speaker"], facts.get("gender")) == (label, speaker, gender)


@pytest.mark.parametrize("corpus", FILE_NAMES)
def test_strangers_are_no_clips_and_the_example_is_one(corpus: str) -> None:
    assert FILE_NAMES[corpus].read(Path(FILE_NAMES[corpus].example + ".wav")) is not None
    for name in ("readme.wav", "01.wav", "03-03-06-01-02-01-12.wav", "noise/a-b-c.wav", "x03a01Fa.wav"):
        assert FILE_NAMES[corpus].read(Path(name)) is None


def test_resd_keeps_the_split_and_the_dialogue_of_its_folders() -> None:
    facts = FILE_NAMES["resd"].read(Path("/data/RESD/train/happiness_enthusiasm_32/32_happiness_enthusiasm_h_120.wav"))
    assert facts == {"label": "happiness", "session": "32", "split": "train"}
    assert FILE_NAMES["resd"].read(Path("test/03_disgust_neutral n_050.wav")) == {
        "label": "neutral",
        "session": "03",
        "split": "test",
    }
    assert FILE_NAMES["resd"].read(Path("else/11_anger_disgust d_200.flac")) == {"label": "disgust", "session": "11"}


def m3ed(root: Path) -> Path:
    def turn(part: str, emotion: str) -> dict:
        return {"Speaker": part, "Text": "nihao", "EmoAnnotation": {"final_main_emo": emotion, "EmoAnnotator1": "x"}}

    people = {"A": {"Name": "Lin"}, "B": {"Name": "Bai"}}
    annotation = {
        "anjia": {"anjia_1": {"SpeakerInfo": people, "Dialog": {"anjia_1_1": turn("A", "Happy")}}},
        "xiaoshede": {
            "xiaoshede_2": {
                "SpeakerInfo": people,
                "Dialog": {"xiaoshede_2_1": turn("B", "Anger"), "xiaoshede_2_2": turn("A", "Jealous")},
            }
        },
    }
    (root / "splitInfo").mkdir(parents=True)
    (root / "annotation.json").write_text(json.dumps(annotation))
    (root / "splitInfo" / "movie_list_train.txt").write_text("anjia")
    (root / "splitInfo" / "movie_list_test.txt").write_text("xiaoshede\nother\n")
    for name in ("A_anjia_1_1", "B_xiaoshede_2_1", "A_xiaoshede_2_2"):
        (root / f"{name}.wav").write_bytes(b"")
    return root


ENDLESS = ["[" * 100_000, '{"x": ' * 70 + "1" + "}" * 70, "[]," * 2_500_000, " " * (1 << 26) + "{}"]


@pytest.mark.parametrize("content", ENDLESS, ids=["open", "deep", "wide", "long"])
def test_an_annotation_of_m3ed_without_end(content: str, tmp_path: Path) -> None:
    (m3ed(tmp_path) / "annotation.json").write_text(content)
    with pytest.raises(
        ManifestError, match=r"annotation\.json: .*(nested more than 60 deep|more than 4,|more than 67,)"
    ):
        read_named("m3ed", tmp_path)


def test_m3ed(tmp_path: Path) -> None:
    found = read_named("m3ed", m3ed(tmp_path))
    assert [(c.label, c.speaker, c.session, c.split) for c in found.utterances] == [
        ("happiness", "anjia Lin", "anjia", "train"),
        ("anger", "xiaoshede Bai", "xiaoshede", "test"),
    ]
    assert any("1 clip of M3ED is of other classes, and left out: Jealous (1)" in text for text in found.warnings)
    assert any("lists 2 clips of M3ED, expected 24449" in text for text in found.warnings)
    (tmp_path / "annotation.json").write_text('{"anjia": {"anjia_1": {"Dialog": {"a": {}}}}}')
    with pytest.raises(ManifestError, match=r"cannot be read as M3ED's annotation: KeyError: 'Speaker'"):
        read_named("m3ed", tmp_path)


def test_iemocap(tmp_path: Path) -> None:
    evaluation = tmp_path / "Session2" / "dialog" / "EmoEvaluation"
    evaluation.mkdir(parents=True)
    (evaluation / "Ses02F_impro01.txt").write_text(
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes02F_impro01_F000\texc\t[2.5000, 2.5000, 2.5000]\n"
        "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
        "[10.0100 - 11.3925]\tSes02F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]\n"
        "[14.8872 - 18.0175]\tSes02F_impro01_M002\tang\t[2.5000, 2.5000, 2.5000]\n"
        "[19.2900 - 20.7875]\tSes02F_impro01_F003\tneu\t[2.5000, 2.5000, 2.5000]\n"
    )
    (evaluation.parent / "transcriptions").mkdir()
    (evaluation.parent / "transcriptions" / "Ses02F_impro01.txt").write_text(
        "Ses02F_impro01_F000 [006.2901-008.2357]: Excuse me.\nM: Hm.\n"
        "Ses02F_impro01_M002 [014.8872-018.0175]:  Yes, what is it? \n"
    )
    for name in ("F000", "M001", "M002"):
        (tmp_path / "Session2" / f"Ses02F_impro01_{name}.wav").write_bytes(b"")
    found = read_named("iemocap", tmp_path)
    assert [(c.label, c.speaker, c.session, c.gender) for c in found.utterances] == [
        ("happiness", "Ses02F", "02", "female"),
        ("anger", "Ses02M", "02", "male"),
    ]
    assert [clip.text for clip in found.utterances] == ["Excuse me.", "Yes, what is it?"]
    assert [clip.text for clip in read_named("iemocap", tmp_path, targets=["arousal"]).utterances] == [
        "Excuse me.",
        None,
        "Yes, what is it?",
    ]
    assert list(found.left_out) == ["Ses02F_impro01_F003"]
    assert any("lists 3 clips of IEMOCAP, expected 5531" in warning for warning in found.warnings)
    assert any("1 clip of IEMOCAP is of other classes, and left out: fru (1)" in text for text in found.warnings)


def test_meld_and_msp_podcast_and_sentiment(tmp_path: Path) -> None:
    meld, msp, mosi = (tmp_path / name for name in ("meld", "msp", "mosi"))
    for split, folder in (("train", "train_splits"), ("dev", "dev_splits_complete"), ("test", "output_test")):
        (meld / folder).mkdir(parents=True)
        (meld / f"{split}_sent_emo.csv").write_text(
            "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
            f'1,"Well, {split}",Joey,joy,positive,0,1\n2,No,Ross,anger,negative,0,2\n'
        )
        for number in (1, 2):
            (meld / folder / f"dia0_utt{number}.wav").write_bytes(split.encode())
    found = read_named("meld", meld)
    (fold,) = make_folds(found, "official")
    assert (len(fold.train), len(fold.test), fold.shared_speakers) == (2, 2, ("Joey", "Ross"))
    assert found.utterances[0].text == "Well, train"

    (msp / "Audios").mkdir(parents=True)
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    rows = ["a.wav,H,5,5,5,7,Male,Train", "b.wav,X,5,5,5,7,Male,Train", "c.wav,N,4,4,4,Unknown,Unknown,Test1"]
    rows += ["d.wav,N,4,4,4,9,Female,Test2", "e.wav,O,4,4,4,9,Female,Validation", "e.wav,A,4,4,4,9,Female,Validation"]
    (msp / "labels_consensus.csv").write_text(header + "\n".join(rows))
    for name in "abcde":
        (msp / "Audios" / f"{name}.wav").write_bytes(b"")
    found = read_named("msp-podcast", msp)
    assert [(c.label, c.speaker, c.split) for c in found.utterances] == [
        ("happiness", "7", "train"),
        ("neutral", None, "test"),
        ("anger", "9", "valid"),
    ]
    assert [text.partition(": ")[2] for text in found.warnings] == ["Test2 (1)", "X (1), O (1)"]

    (mosi / "wav" / "v1").mkdir(parents=True)
    (mosi / "label.csv").write_text("video_id,clip_id,text,label,mode\nv1,1,Good,2.4,train\nv1,2,So,0.0,train\n")
    (mosi / "wav" / "v1" / "1.wav").write_bytes(b"")
    found = read_named("mosi", mosi)
    assert any("1 neutral clips of CMU-MOSI are left out" in text for text in found.warnings)
    assert any("lists 2 clips of CMU-MOSI, expected 2199" in text for text in found.warnings)
    (clip,) = found.utterances
    assert (clip.label, clip.split, clip.speaker) == ("positive", "train", "v1")
    (mosi / "label.csv").write_text("video_id,clip_id,text,label,mode\nv1,1,Good,good,train\nv1,2,So,,train\n")
    with pytest.raises(ManifestError, match=r"2 labels are no numbers: v1/1 is 'good', v1/2 is ''"):
        read_named("mosi", mosi)


def test_a_folder_without_annotations_is_not_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"no EmoEvaluation.* and 1 audio files, expected the folder of IEMOCAP"):
        read_named("iemocap", tmp_path)


def test_annotations_that_are_not_as_published_are_named(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}_sent_emo.csv").write_text("Utterance,Speaker,Emotion,Dialogue_ID\nHi,Joey,joy,0\n")
    with pytest.raises(ManifestError, match=r"train_sent_emo.csv: columns are Utt.*Dialogue_ID, expected also Utter"):
        read_named("meld", tmp_path)
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n"
    (tmp_path / "train_sent_emo.csv").write_text(header + "Hi,Joey,joy,first,0\nNo,Ross,joy,0,\n")
    with pytest.raises(ManifestError, match=r"2 cells .* whole numbers: Dialogue_ID of row 1 is 'first', Utterance_ID"):
        read_named("meld", tmp_path, conversations=True)
    (tmp_path / "train_sent_emo.csv").write_text(header)
    with pytest.raises(ManifestError, match=r"train_sent_emo.csv: holds no rows below its header"):
        read_named("meld", tmp_path)
    (tmp_path / "labels_consensus.csv").write_text(
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Split_Set\na.wav,N,high,,4.2,1,Train\n"
    )
    with pytest.raises(ManifestError, match=r"1 cells hold something else than numbers: EmoAct of row 1 is 'high'"):
        read_named("msp-podcast", tmp_path, targets=["arousal"])


def test_cells_of_annotations_may_hold_odd_characters_but_no_end_of_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('Utterance,Speaker\r\nWell\x85 so,Joey\r\n"Oh,\u2028no",Ross\r\n'.encode() + b"Ah\x92,Joey\n")
    assert annotation_rows(path, ["Speaker"]) == [
        {"Utterance": "Well\x85 so", "Speaker": "Joey"},
        {"Utterance": "Oh,\u2028no", "Speaker": "Ross"},
        {"Utterance": "Ah\ufffd", "Speaker": "Joey"},
    ]
    path.write_text('Utterance,Speaker\n"Well, I told you,Joey\nyes,Ross\nnever again",Joey\n')
    with pytest.raises(ManifestError, match=r"a\.csv:2: broken row: a quote is opened and never closed"):
        annotation_rows(path, ["Speaker"])
