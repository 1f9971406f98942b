"""What we write, read by the real tools, each in its own environment; `make test-interop` makes them and runs this."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile
import torch
from networks import tiny_config

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.exporting.convert import convert
from emotion2vec.integrations.fairseq import user_dir
from emotion2vec.model.encoder import Emotion2vec

pytestmark = [pytest.mark.slow, pytest.mark.interop]
Run = Callable[..., CompletedProcess[str]]
LABELS = ("生气/angry", "happy", "unuse_0", "<unk>")


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, LABELS)
    folder = tmp_path_factory.mktemp("native") / "model"
    save_model(folder, model.config, model.state_dict(), labels=LABELS)
    return folder


def test_funasr_gives_our_features_and_scores(native: Path, clips: Path, tmp_path: Path, peer: Run) -> None:
    convert(native, tmp_path / "funasr", to="funasr")
    peer("funasr", "funasr_outputs.py", tmp_path / "funasr", clips, tmp_path / "out.json")
    answers, model = json.loads((tmp_path / "out.json").read_text()), load_model(native)
    for name, samples in np.load(clips).items():
        frames = np.array(answers[name]["frames"], dtype=np.float32)
        assert relative_error(model.extract_features(samples, 16_000).frames, frames) < 1e-5
        assert model.predict(samples, 16_000) == pytest.approx(answers[name]["scores"], abs=1e-5)


def test_fairseq_gives_our_features(native: Path, clips: Path, tmp_path: Path, peer: Run) -> None:
    convert(native, tmp_path / "model.pt", to="fairseq")
    peer("fairseq", "fairseq_features.py", tmp_path / "model.pt", clips, tmp_path / "out.npz")
    answers, model = np.load(tmp_path / "out.npz"), load_model(native)
    for name, samples in np.load(clips).items():
        assert relative_error(model.extract_features(samples, 16_000).frames, answers[name]) < 1e-5


def test_fairseq_takes_teacher_and_decoder_too(shared: Path, clips: Path, tmp_path: Path, peer: Run) -> None:
    original = shared / "golden" / "data2vec2_tiny" / "fairseq_checkpoint.pt"
    convert(original, tmp_path / "model.pt", to="fairseq")
    peer("fairseq", "fairseq_features.py", tmp_path / "model.pt", clips, tmp_path / "out.npz")
    answers = np.load(tmp_path / "out.npz")
    teacher = torch.load(original, weights_only=False)["model"]["_ema"]
    found = {name.removeprefix("teacher/"): answers[name] for name in answers if name.startswith("teacher/")}
    assert found.keys() == teacher.keys()
    assert all(np.array_equal(found[name], value.numpy()) for name, value in teacher.items())


def test_fairseq_pretrains_our_model(root: Path, sample_speech: Path, tmp_path: Path, peer: Run) -> None:
    """A few updates in which the loss falls, a resumed run, and a checkpoint that loads here."""
    lines = [str(tmp_path)]
    for path in sorted(sample_speech.glob("en*.opus"))[:8]:
        samples = load_audio(path)
        soundfile.write(tmp_path / f"{path.stem}.wav", samples, 16_000)
        lines.append(f"{path.stem}.wav\t{len(samples)}")
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")

    def train(updates: int) -> list[float]:
        done = peer(
            "fairseq", "fairseq_train.py", "--config-dir", root / "configs" / "fairseq", "--config-name", "tiny",
            f"common.user_dir={user_dir()}", f"task.data={tmp_path}", f"optimization.max_update={updates}",
            "optimization.lr=[0.001]", "lr_scheduler.warmup_updates=1", "dataset.max_tokens=96000",
            f"checkpoint.save_dir={tmp_path / 'saved'}", cwd=tmp_path,
        )  # fmt: skip
        text = done.stdout + done.stderr
        return [float(value) for value in re.findall(r'train_inner.*?"loss": "([\d.]+)"', text)]

    first = train(6)
    assert len(first) == 6 and np.mean(first[3:]) < 0.9 * np.mean(first[:3])
    assert len(train(8)) == 2  # continued from the sixth update
    source = read_source(tmp_path / "saved" / "checkpoint_last.pt")
    assert source.update == 8 and source.teacher and source.decoder
    assert load_model(source.path, use="teacher").config.heads == 4


def test_s3prl_takes_our_hidden_states(native: Path, clips: Path, tmp_path: Path, peer: Run) -> None:
    peer("s3prl", "s3prl_states.py", native, clips, tmp_path / "out.npz")
    answers, model = np.load(tmp_path / "out.npz"), load_model(native)
    depth = model.config.prenet_depth + model.config.depth
    assert answers["states"].shape[0] == depth + 1
    assert set(answers["rates"]) == {320}
    for row, samples in enumerate(np.load(clips).values()):
        expected = model.extract_features(samples, 16_000, layers=True)
        frames = answers["states"][1:, row, : len(expected.frames)]
        assert expected.layers is not None and relative_error(frames, expected.layers) < 1e-5
        assert answers["lengths"][0, row] == (len(samples) - 1) // 320 + 1
    assert np.allclose(answers["mixed"], answers["states"].mean(axis=0), atol=1e-4)
    assert np.isfinite(answers["short"]).all()


def test_s3prl_runs_a_downstream_task(native: Path, tmp_path: Path, peer: Run) -> None:
    (tmp_path / "config.yaml").write_text(
        "runner: {total_steps: 2, gradient_clipping: 1, gradient_accumulate_steps: 1, log_step: 1, eval_step: 100, "
        "save_step: 2, max_keep: 1, eval_dataloaders: [dev]}\n"
        "optimizer: {name: Adam, lr: 1.0e-3}\n"
        "downstream_expert: {datarc: {num_workers: 0, train_batch_size: 1, eval_batch_size: 1}, "
        "modelrc: {input_dim: 16}}\n"
    )
    peer(
        "s3prl", "s3prl_runner.py", "-m", "train", "-u", "emotion2vec_custom", "-k", native, "-d", "example",
        "-c", tmp_path / "config.yaml", "-p", tmp_path / "experiment", "--device", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert (tmp_path / "experiment" / "states-2.ckpt").is_file()
