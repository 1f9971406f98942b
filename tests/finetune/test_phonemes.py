"""Phonemes beside the emotion: losses by hand, who teaches them, scores of folds, and the model that is left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from finetune.talkers import quick, quick_config
from finetune.test_goals import silent
from finetune.test_joint import built
from finetune.test_run import metrics
from torch.nn import functional
from torchmetrics.functional.text import word_error_rate

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.data.micro_batch import Mixture
from emotion2vec.errors import ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.extraction.predict import predict
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.asked import asked
from emotion2vec.finetune.check import check
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.spoken.goal import SequenceGoal
from emotion2vec.finetune.spoken.scores import recognized
from emotion2vec.finetune.spoken.settings import PHONEMES
from emotion2vec.model.config import SYMBOLS
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.report.run import write_run_report

TONES = {"A": 300.0, "B": 1_000.0, "C": 3_000.0}
HALF = dict(atol=0.05, rtol=0.01)
"""How near logits are by weights of half precision."""

SPOKEN = ["phonemes.weight=0.5", "phonemes.units=given", "data.max_seconds=2"]


def write_said(folder: Path, speakers: int = 4, takes: int = 4) -> Path:
    """Clips that say three to five tones of 0.12 s, which their text names; loud ones are angry, quiet ones sad."""
    folder.mkdir(parents=True, exist_ok=True)
    random, rows = np.random.default_rng(0), ["file,emotion,speaker,text"]
    for speaker in range(speakers):
        for take in range(takes):
            said = random.choice(list(TONES), random.integers(3, 6))
            time = np.arange(1_920) / 16_000
            sound = np.concatenate([np.sin(2 * np.pi * TONES[tone] * time) * np.hanning(1_920) for tone in said])
            level, name = (0.5, "anger") if take % 2 else (0.02, "sadness")
            noise = 0.002 * random.normal(size=sound.size)
            soundfile.write(folder / f"{speaker}_{take}.wav", level * sound + noise, 16_000)
            rows.append(f"{speaker}_{take}.wav,{name},s{speaker},{' '.join(said)}")
    table = folder / "said.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_said(tmp_path_factory.mktemp("said"))


def retold(table: Path, name: str, texts: dict[str, str]) -> Path:
    """The same clips under other texts, by the names of the files."""
    header, *rows = table.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    told = [",".join([*row[:3], texts.get(row[0].removesuffix(".wav"), row[3])]) for row in cells]
    other = table.with_name(name)
    other.write_text("\n".join([header, *told]) + "\n")
    return other


def test_the_loss_is_that_of_the_emotion_and_of_ctc_alone(said: Path, model: Path, tmp_path: Path) -> None:
    table = retold(said, "some.csv", {f"{s}_0": "" for s in range(4)})
    config = quick_config(table, model, tmp_path, *SPOKEN, "head.kind=fused", "finetune.freeze=none")
    objective = built(config)
    network, aims = objective.tuned, objective.aims
    goal = aims[PHONEMES].goal
    assert isinstance(goal, SequenceGoal) and goal.names == ("<blank>", "A", "B", "C")
    ids = list(aims[MAIN].goal.weights)[:6]
    taught = [row for row, clip in enumerate(ids) if clip in goal.weights]
    assert 0 < len(taught) < 6
    lengths = torch.tensor([8_000, 9_600, 7_000, 9_000, 8_500, 9_600])
    padding = torch.arange(9_600) >= lengths.unsqueeze(1)
    waveforms = torch.randn(6, 9_600, generator=torch.Generator().manual_seed(0)).masked_fill(padding, 0)
    output = network(waveforms, padding, asked(aims, ids), {}, 0)
    counts = {"weight": 6.0, "phonemes_weight": float(len(taught))}
    parameters = [p for p in network.parameters() if p.requires_grad]
    found = torch.autograd.grad(objective.loss(output, counts), parameters)

    encoder = network.encoder
    recognizer = encoder.heads(symbols=True)[PHONEMES]
    emotions, losses = [], []
    for row, clip in enumerate(ids):  # one by one, so that nothing is padded
        encoded = encoder(waveforms[row : row + 1, : lengths[row]])
        assert encoder.head is not None
        scores = encoder.head(encoded.read_by(encoder.head))
        emotions.append(functional.cross_entropy(scores, torch.tensor([int(aims[MAIN].goal.truth(clip))])))
        if row in taught:
            numbers = torch.tensor([n for n in goal.references[clip].tolist() if n >= 0])
            logits = recognizer.embed(encoded.read_by(recognizer))[0].log_softmax(1)
            ctc = torch.nn.CTCLoss(reduction="mean")  # per symbol
            losses.append(ctc(logits, numbers, torch.tensor(len(logits)), torch.tensor(len(numbers))))
    expected = torch.stack(emotions).mean() + 0.5 * torch.stack(losses).mean()
    assert objective.loss(output, counts).item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_check_says_which_phonemes_there_are(said: Path, model: Path, tmp_path: Path) -> None:
    lines, table = list[str](), retold(said, "check.csv", {"0_0": "", "0_1": "A B"})
    check(quick_config(table, model, tmp_path, *SPOKEN), lines.append)
    assert "phonemes: 15 of 16 clips, 3 symbols: A B C" in lines
    assert "warning: 1 clip teaches no phonemes (no text): 0_0.wav" in lines


def test_mixtures_say_nothing(said: Path, model: Path, tmp_path: Path) -> None:
    aims = built(quick_config(said, model, tmp_path, *SPOKEN)).aims
    ids = list(aims[PHONEMES].goal.weights)[:3]
    found = asked(aims, ids, [None, Mixture(ids[2], 0.7), None])
    assert found[PHONEMES].rows.tolist() == [0, 2] and found[MAIN].rows.tolist() == [0, 1, 2]
    assert found[PHONEMES].weights.tolist() == [1, 1] and found[PHONEMES].targets.ndim == 2


@pytest.fixture(scope="module")
def crossed(said: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run with folds that has learnt to tell tones, and what it said."""
    folder, lines = tmp_path_factory.mktemp("phonemes") / "run", list[str]()
    settings = [*SPOKEN, "evaluate.folds=speaker:2", "optim.max_updates=60", "validation.every=30", "data.clips=8"]
    settings += ["checkpoint.every=30", "head.kind=fused", "head.hidden=16", "phonemes.weight=2", "optim.lr=2e-2"]
    finetune(quick_config(said, model, folder, *settings, "log.every=10"), lines.append)
    return folder, lines


def test_folds_have_the_error_rates_of_what_was_recognized(crossed: tuple[Path, list[str]], said: Path) -> None:
    folder, lines = crossed
    texts = {row.split(",")[0].removesuffix(".wav"): row.split(",")[3] for row in said.read_text().splitlines()[1:]}
    scores = json.loads((folder / "scores.json").read_text())
    found, wanted = [], []
    for fold, tested in zip(scores["folds"], sorted((folder / "folds").glob("*/test.json")), strict=True):
        recognized = json.loads(tested.read_text())["recognized"]
        rows = [(" ".join(symbols), texts[name]) for name, symbols in recognized.items()]
        expected = 100 * float(word_error_rate(*zip(*rows, strict=True)))
        assert fold["chosen"][0]["PER"] == pytest.approx(expected, abs=2e-3)
        found += [row[0] for row in rows]
        wanted += [row[1] for row in rows]
    assert len(found) == 16
    total = 100 * float(word_error_rate(found, wanted))
    assert scores["PER"] == pytest.approx(total) and total < 70  # nothing at all would be 100
    assert any(f"phonemes: {total:.1f} % PER" in line for line in lines), lines
    write_run_report(folder)
    assert f"Phonemes: {total:.1f} % wrong (PER)" in (folder / "report.html").read_text(encoding="utf-8")


def test_validation_logs_the_error_rate(crossed: tuple[Path, list[str]]) -> None:
    folder, _ = crossed
    rates = [row["validation_phonemes_PER"] for row in metrics(folder) if "validation_phonemes_PER" in row]
    assert len(rates) == 2 and rates[-1] < 60
    chosen = json.loads((folder / "finetuned.json").read_text())
    assert chosen["validation"]["phonemes_PER"] == pytest.approx(rates[chosen["update"] // 30 - 1])
    losses = [row["phonemes_loss"] for row in metrics(folder) if "phonemes_loss" in row]
    assert losses and min(losses) > 0


def logits(model: SpeechEncoder, waveform: np.ndarray) -> torch.Tensor:
    """Of the symbols of each frame of a clip, (T, C)."""
    recognizer = model.heads(symbols=True)[PHONEMES]
    with torch.inference_mode():
        return recognizer.embed(model(torch.from_numpy(waveform)[None]).read_by(recognizer))[0]


def test_the_model_keeps_its_recognizer_and_predicts_as_others(
    crossed: tuple[Path, list[str]], said: Path, tmp_path: Path
) -> None:
    folder, _ = crossed
    model = load_model(folder)
    (further,) = model.further_heads()
    assert (further.target, further.config.kind, further.labels) == (PHONEMES, SYMBOLS, ("<blank>", "A", "B", "C"))
    assert list(model.heads()) == [MAIN] and describe_model(folder).further == {PHONEMES: "<blank>, A, B, C"}
    convert(folder, tmp_path / "half", dtype="fp16")
    waves = [soundfile.read(path, dtype="float32")[0] for path in sorted(said.parent.glob("0_*.wav"))]
    assert len(waves) == 4
    torch.testing.assert_close(logits(load_model(tmp_path / "half"), waves[0]), logits(model, waves[0]), **HALF)
    assert recognized(model, waves)[1:2] == recognized(model, waves[1:2])  # alone as among longer ones
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(size=9_000) / 10, 16_000)
    predict(path, model=folder, output=tmp_path / "out.csv")
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert "phonemes" not in header and "anger" in header and row.startswith(f"{path}")


def test_clips_that_cannot_teach_are_named(said: Path, model: Path, tmp_path: Path) -> None:
    many = " ".join("ABC" * 20)
    table = retold(said, "odd.csv", {"1_0": "", "1_1": many, "2_0": "A B", "3_1": ""})
    lines: list[str] = []
    more = ["validation.share=0.25", "optim.max_updates=1", "validation.every=1", "checkpoint.every=1"]
    config = quick_config(table, model, tmp_path, *SPOKEN[:2], "data.max_seconds=0.5", *more)
    finetune(config, lines.append)
    warnings = "\n".join(line for line in lines if line.startswith("warning"))
    assert "2 clips teach no phonemes (no text): 1_0.wav, 3_1.wav" in warnings
    assert "1 clip teaches no phonemes (too short for what is said): 1_1.wav" in warnings
    assert "teach no phonemes (cropped to data.max_seconds (0.5 s))" in warnings
    assert any(line.startswith("phonemes: 3 symbols (A, B, C) of ") for line in lines), lines


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (
            "",
            ["phonemes.units=given"],
            r"no clip that trains teaches any: \d+ clips teach no phonemes \(no text\)",
        ),
        ("日本", [], r"the text has 日本, which gruut does not know in en\): "),
        ("hej", ["phonemes.language=da"], "gruut has no language 'da', expected one of ar, ca"),
        ("pst", ["phonemes.units=characters", "phonemes.set=vowels"], r"the text has no vowel\): "),
    ],
)
def test_nothing_to_learn_is_one_sentence(
    said: Path, model: Path, tmp_path: Path, texts: str, settings: list[str], message: str
) -> None:
    table = retold(said, "none.csv", {f"{s}_{t}": texts for s in range(4) for t in range(4)})
    with pytest.raises(ConfigError, match=message) as raised:
        finetune(quick_config(table, model, tmp_path, "phonemes.weight=0.1", *settings), silent)
    assert "a column text (data.columns=[text=NAME] for another name)" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["joint.classes=[phonemes=0.3]"], "joint has phonemes, which phonemes.weight names too"),
        (["augment.reverse_prob=0.1"], "augment.reverse_prob and phonemes.weight are above 0, expected one of them"),
        (["phonemes.units=syllables"], "phonemes.units is 'syllables', expected one of phonemes, characters"),
        (["head.semantic=[0]"], "head.semantic"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, quick(tmp_path, tmp_path, tmp_path, "phonemes.weight=0.1", *settings))
    assert message in str(raised.value)


def test_a_group_beyond_the_model_is_said_before_training(said: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"head\.acoustic has block 7, and the model has 2, counted from 1"):
        finetune(quick_config(said, model, tmp_path, "head.kind=fused", "head.acoustic=[7]"), silent)


def write_iemocap(root: Path) -> Path:
    """A folder of IEMOCAP's names: two sessions of a woman and a man, of whose turns one has no transcription."""
    random, codes = np.random.default_rng(0), {"ang": 0.3, "sad": 0.01}
    for session in (1, 2, 3):
        dialogue = f"Ses{session:02d}F_impro01"
        dialog = root / f"Session{session}" / "dialog"
        for name in ("EmoEvaluation", "transcriptions"):
            (dialog / name).mkdir(parents=True)
        lines, said = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"], []
        for turn, (code, level) in enumerate([*codes.items()] * 4):
            name = f"{dialogue}_{'FM'[turn // 2 % 2]}{turn:03d}"
            path = root / f"Session{session}" / "sentences" / "wav" / dialogue / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, level * random.normal(size=16_000), 16_000)
            lines.append(f"[{turn}.0000 - {turn + 1}.0000]\t{name}\t{code}\t[2.5, 2.5, 2.5]\n")
            if turn:
                said.append(f"{name} [{turn:03d}.0000-{turn + 1:03d}.0000]: [LAUGHTER] Go away.\n")
        (dialog / "EmoEvaluation" / f"{dialogue}.txt").write_text("".join(lines))
        (dialog / "transcriptions" / f"{dialogue}.txt").write_text("".join(said) + "F: Huh?\n")
    return root


def test_iemocap_runs_as_it_is_published(model: Path, tmp_path: Path) -> None:
    from emotion2vec.cli.shared import find_config

    folder, lines = write_iemocap(tmp_path / "IEMOCAP"), list[str]()
    given = [item for item in quick(tmp_path, model, tmp_path / "run") if not item.startswith("data.table")]
    given += [
        f"data.corpora=[iemocap={folder}]",
        "evaluate.folds=session",
        "evaluate.final=false",
        "data.max_seconds=2",
    ]
    given += ["optim.max_updates=2"]
    finetune(load_config(find_config("phonemes", "finetune"), given), lines.append)
    text = "\n".join(lines)
    assert "phonemes: 5 symbols (eɪ, oʊ, w, ə, " in text, text  # those of go away
    assert "teaches no phonemes (no text): Session" in text or "teach no phonemes (no text)" in text
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert {"UA", "WA"} <= set(scores["pooled"]) and scores["PER"] > 0
    assert [fold["chosen"][0]["phonemes"] for fold in scores["folds"]] == [35, 35, 35]
