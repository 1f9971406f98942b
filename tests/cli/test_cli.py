"""The command line as a user meets it: exit codes and messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command import run
from networks import TINY, tiny_config

from emotion2vec.checkpoint import save_model
from emotion2vec.cli import main
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.version import __version__


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = Emotion2vec(tiny_config().model)
    save_model(tmp_path / "model", network.config, network.state_dict())
    return tmp_path / "model"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.wav", "sub/b.flac"):
        soundfile.write(folder / name, 0.1 * rng.normal(size=(8_000, 2)), 8_000)
    return folder


def test_extract(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, speech: Path, tmp_path: Path
) -> None:
    words = ("extract", speech, "--model", model, "--output", tmp_path / "out", "--granularity", "utterance")
    assert run(monkeypatch, *words) == 0
    assert np.load(tmp_path / "out" / "a.npy").shape == (32,)
    assert np.load(tmp_path / "out" / "sub" / "b.npy").shape == (32,)
    (speech / "broken.wav").write_bytes(b"RIFF no")
    assert run(monkeypatch, *words) == 1
    errors = capsys.readouterr().err
    assert "2 utterances" in errors and "1 failed" in errors and "broken.wav" in errors


def test_prepare(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], speech: Path, tmp_path: Path
) -> None:
    assert run(monkeypatch, "prepare", speech, tmp_path / "out", "--workers", 1) == 0
    assert "2 utterances (2.0 s) in 1 shard in" in capsys.readouterr().err
    (speech / "broken.wav").write_bytes(b"RIFF no")
    assert run(monkeypatch, "prepare", speech, tmp_path / "out", "--workers", 1) == 2
    assert "from another list of audio" in capsys.readouterr().err
    assert run(monkeypatch, "prepare", speech, tmp_path / "other", "--workers", 1, "--resample") == 1
    errors = capsys.readouterr().err
    assert "8000 (2)" in errors and "1 unusable" in errors and "broken.wav" in errors
    words = [*TINY, f"data.train=[{tmp_path / 'out'},{speech}]", "data.weights=[2,1]", "data.max_bad_share=0.5"]
    more = ["optim.max_updates=2", "augment.gain_prob=1", "augment.reverb_prob=1", f"run.dir={tmp_path / 'run'}"]
    assert run(monkeypatch, "pretrain", *words, *more) == 0
    errors = capsys.readouterr()
    assert "seen 2 times per epoch: 66.7% of the audio" in errors.out + errors.err


def test_pretrain_end_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], speech: Path, tmp_path: Path
) -> None:
    words = [*TINY, f"data.train={speech}", f"run.dir={tmp_path / 'run'}", "optim.max_updates=2"]
    assert run(monkeypatch, "pretrain", *words) == 0
    assert "done: 2 updates" in capsys.readouterr().err
    assert run(monkeypatch, "info", tmp_path / "run") == 0
    assert "update" in capsys.readouterr().out


def test_version_and_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"emotion2vec {__version__}\n"
    monkeypatch.setenv("_EMOTION2VEC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "emotion2vec pre")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setattr("sys.argv", ["emotion2vec"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == ["pretrain", "prepare", "predict"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "data.train=/nowhere/at/all", "run.dir=RUN"], "/nowhere/at/all: does not exist"),
        (["pretrain", "optim.lrr=1", "optim.lr=-1"], "unknown key optim.lrr; did you mean optim.lr"),
        (["pretrain", "data.train=nope://x", "run.dir=RUN"], "nope://x"),
        (["prepare", "/nowhere/at/all", "RUN"], "/nowhere/at/all: does not exist"),
        (
            ["pretrain", "--config", "nope"],
            "config is 'nope', expected a YAML file or one of base, clusters, large, small",
        ),
        (["info", "nope"], "nope: no such file or folder"),
        (["extract", "/nowhere/at/all", "--model", "MODEL", "--output", "RUN"], "/nowhere/at/all: does not exist"),
        (["extract", "/", "--model", "MODEL", "--output", "RUN", "--layers", "x"], "layers is 'x'"),
        (["probe", "--dataset", "nope", "--root", "/", "--features", "logmel"], "nope"),
        (["benchmark", "--config", "nope"], "config is 'nope', expected a YAML file or one of acted, "),
        (["visualize", "--table", "nope.csv", "--output", "RUN"], "nope.csv: cannot be opened"),
    ],
)
def test_mistakes_exit_with_2_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    filled = [word.replace("RUN", str(tmp_path / "run")).replace("MODEL", str(model)) for word in words]
    assert run(monkeypatch, *filled) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (
            ["extract", "--output", "out", "--layers", "mean:x", "--format", "xml", "--shard", "4/4"],
            ["mean:x", "format is 'xml'", "shard is '4/4'"],
        ),
        (
            ["extract", "--output", "out", "--precision", "fp8", "--chunk-seconds", "0", "--batch-seconds", "inf"],
            ["precision is 'fp8'", "chunk_seconds is 0.0", "batch_seconds is inf"],
        ),
        (["extract", "--output", "out", "--segments", "nowhere.rttm"], ["nowhere.rttm: does not exist"]),
        (
            ["predict", "--output", "out", "--precision", "fp8"],
            ["precision is 'fp8'", "ends in .csv, .tsv, .jsonl"],
        ),
        (["predict", "--window", "nan"], ["window is nan"]),
    ],
)
def test_mistakes_in_options_are_told_before_torch_is_imported(
    speech: Path, tmp_path: Path, words: list[str], messages: list[str]
) -> None:
    script = "import sys; sys.modules['torch'] = None; from emotion2vec.cli import main; main()"
    command = [sys.executable, "-c", script, *words, str(speech), "--model", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    assert all(message in done.stderr for message in messages), done.stderr
    assert not (tmp_path / "out").exists()


def test_the_compiler_of_pytorch_is_not_imported_to_use_a_model(model: Path, speech: Path, tmp_path: Path) -> None:
    """It takes as long as the rest of a short job."""
    script = f"""
import json, sys
from emotion2vec.cli import main
from emotion2vec.model.seeded import seeded_gru
import torch
for words in (["info", {str(model)!r}], ["extract", {str(speech)!r}, "--model", {str(model)!r}, "--output", "out"]):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as stopped:
        assert not stopped.code
seeded_gru(8, 8, torch.Generator())
print(json.dumps(["loaded", *({{"torch._dynamo", "sympy"}} & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["loaded"]


def test_usage_errors_exit_with_2() -> None:
    command = [sys.executable, "-m", "emotion2vec", "extract", "--nope"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--nope" in done.stderr and "Traceback" not in done.stderr


def test_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,emotion,speaker"]
    for number in range(24):
        emotion, speaker = ("low", "high")[number % 2], f"s{number // 8}"
        pitch = 120 + 400 * (number % 2) + 10 * (number // 8)
        tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(8_000) / 16_000) + 0.01 * rng.normal(size=8_000)
        soundfile.write(tmp_path / f"{number}.wav", tone, 16_000)
        lines.append(f"{number}.wav,{emotion},{speaker}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    words = ("probe", "--table", tmp_path / "table.csv", "--model", model, "--head", "logreg")
    assert run(monkeypatch, *words, "--output", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores["folds"]) == 3
    assert scores["pooled"]["UA"] > 90
    assert set(scores["mean"]) >= {"WA", "UA", "WF1"} and set(scores["std"]) >= {"WA", "UA", "WF1"}
    capsys.readouterr()
    (tmp_path / "7.wav").write_bytes(b"no audio")
    (tmp_path / "9.wav").unlink()
    assert run(monkeypatch, *words, "--output", tmp_path / "scores.json") == 1
    said = capsys.readouterr().err
    assert "these scores are incomplete" in said and "2 clips could not be used" in said
    assert "9.wav: no such file" in said and "7.wav: " in said
    assert json.loads((tmp_path / "scores.json").read_text())["complete"] is False


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert run(monkeypatch, "pretrain", "--config", "tiny", "run.dir=run") == 2
    assert "data.train" in capsys.readouterr().err
