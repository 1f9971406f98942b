"""The paper's tasks on miniature folders in the corpora's own layouts: sentiment, and M3ED's conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import run
from probe.conversations import (
    follows_the_turn_before,
    write_m3ed,
    write_released_mosi,
    write_sentiment,
)

from emotion2vec.corpora.named.registry import read_named
from emotion2vec.errors import ManifestError
from emotion2vec.probe import probe
from emotion2vec.probe.dialogues import DialogueHead

SEEN = ("Acc-2 with 0", "F1 with 0", "Acc-2 without 0", "F1 without 0", "Acc-7", "MAE", "Pearson", "CCC")


def test_the_preset_of_sentiment_runs_on_folders_like_the_corpora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_released_mosi(tmp_path / "MOSI", whole=False)
    write_sentiment(tmp_path / "MOSEI")
    words = ["benchmark", "--config", "sentiment", f"data={tmp_path}", f"output={tmp_path / 'out'}"]
    assert run(monkeypatch, *words, "features=[logmel]", "heads=[logreg]") == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    numbers = [f"{title} as a number" for title in ("CMU-MOSI", "CMU-MOSEI")]
    assert [row["title"] for row in found] == ["CMU-MOSI", "CMU-MOSEI", *numbers]
    assert all(row["pooled"]["UA"] > 90 for row in found[:2])
    for row in found[2:]:
        assert set(SEEN) <= set(row["metrics"]) and row["pooled"]["CCC"] > 0.5
        assert row["pooled"]["Acc-2 without 0"] > 0.9 and 0 < row["pooled"]["Acc-7"] < 1
        low, high = row["intervals"]["Acc-2 with 0"]
        assert low <= row["pooled"]["Acc-2 with 0"] <= high
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Acc-2 without 0" in page and "Acc-7" in page


@pytest.mark.parametrize("whole", [True, False])
def test_mosi_as_it_was_released(whole: bool, tmp_path: Path) -> None:
    found = read_named("mosi", write_released_mosi(tmp_path, whole=whole), targets=["sentiment"])
    clips = {(clip.speaker, clip.text): clip for clip in found.utterances}
    assert len(found.utterances) == len({clip.id for clip in found.utterances}) == 48
    splits = {clip.speaker: clip.split for clip in found.utterances}
    assert splits["2iD-tVS8NPw"] == "train" and splits["WKA5OygbEKI"] == "valid" and splits["c7UH_rxdZv4"] == "test"
    clip = clips["03bSnISJMiM", "LIKE 3"]
    assert clip.label == ("positive" if clip.values["sentiment"] > 0 else "negative")
    if whole:
        assert (clip.start, clip.duration) == (0.2, pytest.approx(0.1)) and clip.file.endswith("/03bSnISJMiM.wav")
    else:
        assert clip.is_whole and clip.file.endswith("/03bSnISJMiM_3.wav")


def test_faults_of_the_released_list_are_gathered(tmp_path: Path) -> None:
    file = write_released_mosi(tmp_path, whole=True) / "Raw" / "Labels" / "OpinionLevelSentiment.csv"
    file.write_text("1,2,a,1\n2,1,a,1,0.5\n1,2,a,2,good\n1,2,a,3,-4\nx,2,a,4,1\n")
    with pytest.raises(ManifestError) as error:
        read_named("mosi", tmp_path, targets=["sentiment"])
    assert str(error.value).partition(": ")[2] == (
        "1 rows are not start, end, video, clip and sentiment: row 1 has 4 cells; 2 clips are no stretches of time: "
        "a/1 is from '2' to '1', a/4 is from 'x' to '2'; 1 labels are no numbers: a/2 is 'good'; "
        "1 labels are not from −3 to 3: a/3 is '-4'"
    )


def test_conversations_of_m3ed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_m3ed(tmp_path, follows_the_turn_before)
    found = read_named("m3ed", root, conversations=True)
    first = [clip for clip in found.utterances if clip.dialogue == "anjia_1"]
    assert [clip.turn for clip in first] == list(range(14))
    assert [clip.id.rpartition("_")[2] for clip in first] == [str(n) for n in range(1, 15)]
    quick = DialogueHead(hidden=16, lr=1e-2, batch=16, epochs=12)
    result = probe(dataset="m3ed", root=root, context=6, folds="official", features=["logmel"], heads=[quick])
    (row,) = result.results
    assert row["pooled"]["UA"] > 90  # of the last series, of which nothing was in training
    assert (row["folds"][0]["name"], row["folds"][0]["clips"]) == ("test", 5 * 13)
    assert run(
        monkeypatch, *["probe", "--dataset", "m3ed", "--root", root, "--context", "6", "--folds", "official"],
        *["--features", "logmel", "--output", tmp_path / "m3ed.json"],
    ) == 0  # fmt: skip
    assert json.loads((tmp_path / "m3ed.json").read_text())["head"] == "dialogue"
