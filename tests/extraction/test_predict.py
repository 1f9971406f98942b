from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import speech
from networks import tiny_config
from tables import rows_of, scores_of, stem_of

import emotion2vec
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.predict import predict
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.progress import Progress
from emotion2vec.tasks.adaptation import adapted

LABELS = ("angry", "neutral", "unuse_0", "sad")


@pytest.fixture(scope="module")
def classifier() -> Emotion2vec:
    torch.manual_seed(0)
    return Emotion2vec(tiny_config().model, labels=LABELS).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for seed, samples in enumerate([5_000, 40_000]):
        soundfile.write(tmp_path / "in" / f"{seed}.wav", speech(samples, seed), 16_000, subtype="FLOAT")
    (tmp_path / "in" / "broken.wav").write_bytes(b"")
    return tmp_path / "in"


def test_whole_utterances(classifier: Emotion2vec, folder: Path, tmp_path: Path) -> None:
    report = predict(folder, model=classifier, output=tmp_path / "out.jsonl")
    assert report.written == 2 and report.exit_code == 1
    rows = {stem_of(row): row for row in rows_of(tmp_path / "out.jsonl")}
    for name in ("0", "1"):
        expected = classifier.predict(folder / f"{name}.wav")
        assert scores_of(rows[name]) == pytest.approx(expected, abs=1e-5)
        assert rows[name]["confidence"] == pytest.approx(max(expected.values()), abs=1e-5)
        assert rows[name]["label"] == max(expected, key=expected.__getitem__) and "unuse_0" not in expected
        assert sum(scores_of(rows[name]).values()) == pytest.approx(1, abs=1e-5)


def test_what_was_heard_stays_when_a_callback_stops_the_job(
    classifier: Emotion2vec, folder: Path, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done > progress.failed:
            raise ValueError("enough")

    more = {"summary": tmp_path / "s.csv", "export": ("srt",), "export_folder": tmp_path / "a"}
    with pytest.raises(ValueError, match="enough"):
        predict(folder, model=classifier, output=tmp_path / "out.jsonl", on_progress=stop, **more)
    assert len(rows_of(tmp_path / "out.jsonl")) >= 1
    assert (tmp_path / "s.csv").is_file() and len(list((tmp_path / "a").iterdir())) >= 1


def test_windows_over_time_as_csv_with_pictures(classifier: Emotion2vec, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    predict(folder / "1.wav", model=classifier, output=tmp_path / "out.csv", window=1.0, plot=tmp_path / "plots")
    with open(tmp_path / "out.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    times = [tuple(float(row[name]) for name in ("start", "end")) for row in rows]
    assert times == [(0.0, 1.0), (1.0, 2.0), (2.0, 2.5)]  # the last window is what is left
    frames = classifier.extract_features(folder / "1.wav").frames
    assert classifier.head is not None
    for number, row in enumerate(rows):
        pooled = torch.from_numpy(frames[50 * number : 50 * number + 50].mean(axis=0, dtype=np.float64)).float()
        (expected,) = classifier.head.by_label(classifier.head.of_pooled(pooled.unsqueeze(0)))
        assert {label: float(row[f"score:{label}"]) for label in expected} == pytest.approx(expected, abs=1e-5)
    assert (tmp_path / "plots" / "1.png").read_bytes().startswith(b"\x89PNG")
    predict(folder, model=classifier, output=tmp_path / "out.csv", window=1.0, plot=tmp_path / "all.svg")
    emotion2vec.timelines(tmp_path / "out.csv").save(tmp_path / "again.svg")
    assert (tmp_path / "all.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()


def test_rows_keep_the_order_and_the_facts_of_the_list(classifier: Emotion2vec, tmp_path: Path) -> None:
    lengths = {"a": 48_000, "b": 40_000, "c": 48_000, "d": 8_000, "e": 40_000}
    rows = ["file,emotion,speaker,start,end"]
    for seed, (name, samples) in enumerate(lengths.items()):
        soundfile.write(tmp_path / f"{name}.wav", speech(samples, seed), 16_000, subtype="FLOAT")
        rows.append(f"{name}.wav,sad,s{seed},," if seed % 2 else f"{name}.wav,,,0.5,1.25")
    (tmp_path / "b.wav").write_bytes(b"broken")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    for name in ("out.jsonl", "out.CSV"):
        report = predict(tmp_path / "list.csv", model=classifier, output=tmp_path / name)
        assert report.written == 4 and report.exit_code == 1
    found = rows_of(tmp_path / "out.jsonl")
    facts = [tuple(row[name] for name in ("file", "start", "end", "speaker", "emotion")) for row in found]
    assert facts == [
        ("a.wav", 0.5, 1.25, None, None),
        ("c.wav", 0.5, 1.25, None, None),
        ("d.wav", 0.0, 0.5, "s3", "sad"),
        ("e.wav", 0.5, 1.25, None, None),
    ]
    with open(tmp_path / "out.CSV", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["file"] for row in table] == [row["file"] for row in found]
    given = tuple(table[2][name] for name in ("end", "speaker", "emotion"))
    assert (*given, table[0]["speaker"]) == ("0.5", "s3", "sad", "")
    predict(tmp_path, model=classifier, output=tmp_path / "windows.jsonl", window=1.3)
    found = rows_of(tmp_path / "windows.jsonl")
    assert [stem_of(row) for row in found] == ["a"] * 3 + ["c"] * 3 + ["d"] + ["e"] * 2
    assert [(row["start"], row["end"]) for row in found[:3]] == [(0.0, 1.3), (1.3, 2.6), (2.6, 3.0)]


def test_mistakes_are_refused(classifier: Emotion2vec, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"window is 0\.0.*output is .*out\.txt"):
        predict(folder, model=classifier, output=tmp_path / "out.txt", window=0.0)
    for window in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ConfigError, match=r"window is .*, expected at least 0\.02 s"):
            predict(folder, model=classifier, window=window)
    with pytest.raises(ConfigError, match=r"plot is .*p\.jpg, expected a name that ends in \.png, \.svg"):
        predict(folder, model=classifier, plot=tmp_path / "p.jpg")


def test_a_model_without_a_head_is_named_and_old_scores_stay(model: Emotion2vec, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("of another day\n")
    with pytest.raises(ConfigError, match=r"^the model has no head"):
        predict(folder, model=model, output=output)
    with pytest.raises(ConfigError, match=r"^model tiny has no head, expected a model that was fine-tuned on labels"):
        predict(folder, model="tiny", output=output)
    assert output.read_text() == "of another day\n"


def test_a_missing_package_is_named(
    classifier: Emotion2vec, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion2vec.extraction.results.outputs.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"plot needs the package matplotlib: pip install 'emotion2vec\[plots\]'"):
        predict(folder, model=classifier, window=1.0, plot=tmp_path / "plots")


def test_classes_are_renormalized_and_doubts_said(classifier: Emotion2vec, folder: Path, tmp_path: Path) -> None:
    predict(folder, model=classifier, output=tmp_path / "all.jsonl")
    predict(folder, model=classifier, output=tmp_path / "two.jsonl", classes="sad, angry", abstain=0.999)
    for row, whole in zip(rows_of(tmp_path / "two.jsonl"), rows_of(tmp_path / "all.jsonl"), strict=True):
        kept = {label: whole[f"score:{label}"] for label in ("sad", "angry")}
        expected = {label: value / sum(kept.values()) for label, value in kept.items()}
        assert list(scores_of(row)) == ["sad", "angry"]
        assert scores_of(row) == pytest.approx(expected, abs=1e-5)
        assert row["label"] is None and whole["label"] is not None
    predict(folder, model=classifier, output=tmp_path / "two.csv", classes=["sad,angry"], abstain=0.999)
    with open(tmp_path / "two.csv", newline="") as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == ["", ""]


def other_model(seed: int, labels: tuple[str, ...] = LABELS) -> Emotion2vec:
    torch.manual_seed(seed)
    return Emotion2vec(tiny_config().model, labels=labels).eval()


@pytest.mark.parametrize("window", [None, 1.0])
def test_models_are_averaged_whatever_the_order_of_their_labels(
    classifier: Emotion2vec, folder: Path, tmp_path: Path, window: float | None
) -> None:
    models = [classifier, other_model(7, ("sad", "neutral", "angry"))]
    for number, model in enumerate(models):
        predict(folder, model=model, output=tmp_path / f"{number}.jsonl", window=window)
    report = predict(folder, model=models, output=tmp_path / "both.jsonl", window=window)
    assert (report.written, len(report.failed), report.exit_code) == (2, 1, 1)
    first, second, both = (rows_of(tmp_path / f"{name}.jsonl") for name in ("0", "1", "both"))
    for one, other, mean in zip(first, second, both, strict=True):
        expected = {label: (score + scores_of(other)[label]) / 2 for label, score in scores_of(one).items()}
        assert scores_of(mean) == pytest.approx(expected, abs=2e-6)
        assert [mean[name] for name in ("file", "start", "end")] == [one[name] for name in ("file", "start", "end")]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 clips, one of them broken."""
    folder = tmp_path_factory.mktemp("many")
    for seed in range(31):
        soundfile.write(folder / f"{seed:02}.wav", speech(6_000 + 40 * seed, seed), 16_000, subtype="FLOAT")
    (folder / "99.wav").write_bytes(b"")
    return folder


def test_clips_are_adapted_to_all_of_them(classifier: Emotion2vec, many: Path, tmp_path: Path) -> None:
    predict(many, model=classifier, output=tmp_path / "plain.jsonl")
    report = predict(many, model=classifier, output=tmp_path / "adapted.jsonl", adapt=True)
    assert report.written == 31 and report.exit_code == 1
    plain, found = rows_of(tmp_path / "plain.jsonl"), rows_of(tmp_path / "adapted.jsonl")
    assert [row["file"] for row in found] == [row["file"] for row in plain]
    scores = np.array([[*scores_of(row).values()] for row in found])
    expected = adapted(np.log([[*scores_of(row).values()] for row in plain]))
    np.testing.assert_allclose(scores, expected, atol=2e-2)  # what is adapted was rounded to six digits
    assert not np.allclose(scores, [[*scores_of(row).values()] for row in plain], atol=2e-2)


def test_too_few_clips_are_not_adapted_to(
    classifier: Emotion2vec, folder: Path, many: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match=r"^adapt needs at least 30 clips, of mixed emotions, and there are 3$"):
        predict(folder, model=classifier, adapt=True)
    few = [path for path in sorted(many.glob("*.wav")) if path.stem > "01"]
    predict(few, model=classifier, output=tmp_path / "few.jsonl", adapt=True)
    assert "not adapted: 29 could be scored, expected at least 30" in caplog.text
    predict(few, model=classifier, output=tmp_path / "plain.jsonl")
    assert rows_of(tmp_path / "few.jsonl") == rows_of(tmp_path / "plain.jsonl")


def test_clips_that_look_alike_are_warned_of(
    classifier: Emotion2vec, many: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sure = other_model(0)
    assert sure.head is not None
    with torch.no_grad():
        sure.head.bias[3] += 100.0
    predict(many, model=sure, output=tmp_path / "out.jsonl", adapt=True)
    assert "100 % of what is scored is sad before it is adapted" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"abstain": 1.0}, "abstain is 1.0, expected a probability above 0 and below 1"),
        ({"classes": "sad,hapy"}, "unknown class hapy; the model has angry, neutral, sad"),
        ({"classes": "sad,unuse_0"}, "unknown class unuse_0"),
        ({"classes": ["neutrl"]}, "unknown class neutrl; did you mean neutral"),
        ({"classes": "sad,sad"}, "classes is sad, expected at least 2 to tell apart"),
        ({"model": []}, "model is empty, expected at least one"),
    ],
)
def test_wrong_choices_are_named(classifier: Emotion2vec, folder: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        predict(folder, **{"model": classifier, **options})
    assert message in str(caught.value)


def test_models_with_other_labels_are_refused(classifier: Emotion2vec, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels sad, bored .* angry, neutral, sad, expected models with the same"):
        predict(folder, model=[classifier, other_model(1, ("sad", "bored"))])
