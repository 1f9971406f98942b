"""What is watched: counted work, ranks, spikes, validation, probes and pictures."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import TINY, tiny_config, waveforms
from torch.utils.flop_counter import FlopCounterMode
from training.helpers import assert_same_run, metrics, overrides

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.checkpoint.native import description
from emotion2vec.cli import main
from emotion2vec.errors import ConfigError, TrainingError
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.masking import batch_masks, masked_frames
from emotion2vec.pretrain.metrics import UpdateSums, UtteranceCovariance, covariance_rank, effective_rank
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.run import pretrain
from emotion2vec.pretrain.work import decoder_flops, utterance_flops
from emotion2vec.training.config import GuardConfig, ProbeConfig
from emotion2vec.training.guards import SpikeGuard
from emotion2vec.training.metrics import Moments
from emotion2vec.training.plot import curves, plot_run, smooth
from emotion2vec.training.probing import Prober
from emotion2vec.training.trainer import Trainer
from emotion2vec.training.work import block_flops, cnn_flops, position_flops


def _linear_flops(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    """A product of (..., I) and (O, I) by oneDNN, which PyTorch's counter does not know."""
    return 2 * x.numel() * weight[0]


def _attention_flops(query: torch.Size, *_: object, **__: object) -> int:
    """Fused attention of (B, H, L, E) on a CPU."""
    return 4 * query.numel() * query[2]


UNKNOWN = {
    torch.ops.mkldnn._linear_pointwise: _linear_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


@pytest.mark.usefixtures("products")
def test_counted_work_is_what_torch_counts() -> None:
    """PyTorch's counter sees the products and convolutions that run; ours knows only shapes."""
    config = tiny_config("model.channels=32", "mask.views=3")
    model, samples = Pretrainer(config), 16_000
    frames = WAVEFORM_GRID.count(samples)
    mask = batch_masks(["a"], frames, config.mask, seed=0, update=1)
    with FlopCounterMode(display=False, custom_mapping=UNKNOWN) as counter:
        model(waveforms(1, samples), mask)
    network = config.model
    depth = network.prenet_depth + network.depth
    expected = cnn_flops(network, samples) + 2 * frames * network.channels * network.width
    expected += 4 * position_flops(network, frames) + 3 * decoder_flops(config, frames)
    kept = network.tokens + frames - masked_frames(frames, config.mask.prob)
    expected += 3 * depth * block_flops(network, kept) + depth * block_flops(network, network.tokens + frames)
    assert counter.get_total_flops() == expected
    parts = utterance_flops(config, samples, frames)
    teacher, learned = parts.pop("teacher"), sum(parts.values())
    assert learned / 3 + teacher == pytest.approx(expected)


def test_effective_rank_of_known_covariances() -> None:
    assert covariance_rank(torch.eye(7, dtype=torch.float64)) == pytest.approx(7)
    assert covariance_rank(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])).double()) == pytest.approx(2)
    assert effective_rank(torch.randn(50_000, 5)) == pytest.approx(5, rel=1e-3)


def test_utterance_covariance_is_the_weighted_one() -> None:
    covariance, rng = UtteranceCovariance(3, torch.device("cpu"), momentum=0.5), np.random.default_rng(0)
    updates = [rng.normal(size=(count, 3)) @ np.diag([1.0, 2.0, 0.1]) + 5 for count in (4, 2, 6)]
    for data in updates:
        pooled = torch.from_numpy(data)
        moments = Moments.of(pooled)
        covariance.update(UpdateSums(torch.zeros(2), moments, moments, moments, pooled.T @ pooled))
    weights = np.concatenate([np.full(len(d), w / len(d)) for d, w in zip(updates, (0.125, 0.25, 0.5), strict=True)])
    expected = np.cov(np.concatenate(updates).T, aweights=weights, ddof=0)
    mean = covariance.mean / covariance.weight
    found = covariance.outer / covariance.weight - torch.outer(mean, mean)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_spikes_are_counted_skipped_and_stop_in_the_end() -> None:
    guard = SpikeGuard(GuardConfig(spike="skip", spike_factor=5.0, max_spikes=2))
    for update in range(30):
        assert guard.passes(update, {"loss": 1.0, "grad_norm": 1.0 + 0.1 * (update % 2)}, [])
    assert guard.mean_norm == pytest.approx(1.05)
    assert guard.passes(30, {"loss": 1.0, "grad_norm": 4.9}, [])
    assert not guard.passes(31, {"loss": 1.0, "grad_norm": 9.0}, [])
    assert not guard.passes(32, {"loss": float("nan"), "grad_norm": 1.0}, [])
    again = SpikeGuard(guard.config)
    again.load(json.loads(json.dumps(guard.state())))
    assert again == guard and (again.spikes, again.streak) == (2, 2)
    with pytest.raises(TrainingError, match=r"grad_norm is 99, .*spike 3 in a row.*Utterances of this update: a"):
        again.passes(33, {"loss": 1.0, "grad_norm": 99.0}, ["a"])
    with pytest.raises(TrainingError, match="loss is nan"):
        SpikeGuard(GuardConfig()).passes(1, {"loss": float("nan"), "grad_norm": 1.0}, [])


def test_a_mean_norm_is_trusted_after_twenty_updates_and_spans_a_hundred() -> None:
    def after(norms: list[float]) -> SpikeGuard:
        guard = SpikeGuard(GuardConfig(spike="skip", spike_factor=5.0, max_spikes=2))
        assert all(guard.passes(update, {"loss": 1.0, "grad_norm": norm}, []) for update, norm in enumerate(norms))
        return guard

    assert after([1.0] * 19).passes(20, {"loss": 1.0, "grad_norm": 5.1}, [])
    assert not after([1.0] * 20).passes(21, {"loss": 1.0, "grad_norm": 5.1}, [])
    assert after([1.0] * 20).passes(21, {"loss": 1.0, "grad_norm": 5.0}, [])
    assert after([1.0] * 100 + [2.0] * 300).mean_norm == pytest.approx(2 - 0.99**300)
    guard = after([1.0] * 30)
    for _ in range(3):  # as many spikes as are left out in a row, again and again
        assert not any(guard.passes(31, {"loss": 1.0, "grad_norm": 9.0}, []) for _ in range(2))
        assert guard.passes(32, {"loss": 1.0, "grad_norm": 1.0}, [])


def test_a_skipped_update_moves_nothing(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, seen = Pretrainer.forward, []

    def poisoned(self: Pretrainer, waveforms: torch.Tensor, *rest: object) -> object:
        seen.append({name: value.clone() for name, value in self.state_dict().items()})
        output = forward(self, waveforms, *rest)  # type: ignore[arg-type]
        output.frame_loss = output.frame_loss * (float("nan") if len(seen) == 2 else 1.0)
        return output

    monkeypatch.setattr(Pretrainer, "forward", poisoned)
    pretrain(load_config(None, overrides(speech, tmp_path, "guard.spike=skip")))
    assert all(torch.equal(value, seen[2][name]) for name, value in seen[1].items())
    assert not all(torch.equal(value, seen[3][name]) for name, value in seen[2].items())
    assert [line["spikes"] for line in metrics(tmp_path)] == [0, 1, 1, 1]


def test_validation_repeats_itself_and_leaves_training_alone(speech: Path, tmp_path: Path) -> None:
    random = ["model.dropout=0.2", "decoder.mask_noise=0.1", "optim.lr=1e-30", "ema.decay=1", "ema.end_decay=1"]
    random += ["loss.utterance=none"]
    validated = [f"validation.data={speech}", "validation.every=2"]
    pretrain(load_config(None, overrides(speech, tmp_path / "with", *random, *validated)))
    pretrain(load_config(None, overrides(speech, tmp_path / "without", *random)))
    lines = metrics(tmp_path / "with")
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert len(losses) == 2 and losses[0] == losses[1]  # nothing learns, so nothing may change
    shared = [{k: v for k, v in line.items() if not k.startswith("validation_")} for line in lines]
    assert shared == metrics(tmp_path / "without")
    assert {"utterance_rank", "cnn_rank", "cnn_std", "grad_norm", "lr", "ema_decay", "masked_share"} <= set(shared[-1])


def test_probes_run_beside_and_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probing process is stood in for: it must get the model, and what it writes must be read."""
    script = tmp_path / "stand_in.py"
    script.write_text(
        "import json, sys; from pathlib import Path\n"
        "words = sys.argv[1:]; model = Path(words[words.index('--model') + 1])\n"
        "assert (model / 'model.safetensors').is_file() and '--select' in words\n"
        "chosen = ['--table', 'x.csv', '--folds', 'speaker', '--layer', 'last', '--head', 'logreg']\n"
        "assert words[:11] == [*chosen, '--seed', '0', '--no-standardize'], words\n"
        "scores = {'WA': 1.0, 'UA': 2.0, 'WF1': 3.0}\n"
        "document = {'mean': scores, 'selection': {'keys': [5, 7]}}\n"
        "Path(words[words.index('--output') + 1]).write_text(json.dumps(document))\n"
    )
    config = tiny_config("probe.every=2", "probe.table=x.csv", "probe.head=logreg", "probe.standardize=false")
    prober, said = Prober(config.probe, tmp_path / "probes.jsonl", print), []
    prober._say = said.append
    prober.command = [sys.executable, str(script)]
    assert [update for update in range(1, 7) if prober.due(update)] == [2, 4, 6]
    prober.start(2, description(config.model), Pretrainer(config).student.state_dict())
    prober.start(4, description(config.model), {})
    assert said == ["no probe of update 4: the one of update 2 is not done"]
    assert prober.poll(wait=True) == (2, {"WA": 1.0, "UA": 2.0, "WF1": 3.0})
    assert prober.poll() is None and prober.chosen_by == [5, 7]
    assert json.loads((tmp_path / "probes.jsonl").read_text()) == {"update": 2, "WA": 1.0, "UA": 2.0, "WF1": 3.0}
    assert not (tmp_path / "probes" / "update_00000002").exists()
    script.write_text("raise SystemExit(3)")
    prober.start(6, description(config.model), Pretrainer(config).student.state_dict())
    assert prober.poll(wait=True) is None
    assert "the probe of update 6 failed (exit code 3" in said[-1]


def test_every_option_of_the_section_is_one_of_the_command() -> None:
    """Typer reads what the job says, so that a probe does not fail for a word that is none."""
    from typer.main import get_command

    from emotion2vec.cli import app

    options = [
        option for word in get_command(app).commands["probe"].params for option in (*word.opts, *word.secondary_opts)
    ]  # type: ignore[attr-defined]
    names = {item.name for item in dataclasses.fields(ProbeConfig)} - {"every", "threads"}
    assert {f"--{name}" for name in names} | {"--no-standardize"} <= set(options)


def test_scores_are_logged_under_the_update_that_was_probed(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe of update 3 that finishes after the last, 4."""
    from lightning.fabric import Fabric

    logged: list[tuple[int, set[str]]] = []
    monkeypatch.setattr(Fabric, "log_dict", lambda self, metrics, step: logged.append((step, set(metrics))))
    monkeypatch.setattr(Prober, "start", lambda self, update, *rest: setattr(self, "update", update))

    def poll(self: Prober, *, wait: bool = False) -> tuple[int, dict[str, float]] | None:
        done, self.update = (self.update, None) if wait and self.update else (None, self.update)
        return None if done is None else (done, {"UA": 50.0})

    monkeypatch.setattr(Prober, "poll", poll)
    pretrain(load_config(None, overrides(speech, tmp_path, "probe.every=3", "probe.table=x.csv")))
    assert [step for step, names in logged if "probe_UA" in names] == [3]
    assert [step for step, names in logged if "loss" in names] == [1, 2, 3, 4]


def test_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    lines = [
        {"update": n, "loss": 9 / n, "frame_loss": 9 / n, "explained_share": 0.1, "grad_norm": None} for n in (1, 2)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"update": 3, "lo')
    (tmp_path / "probes.jsonl").write_text('{"update": 2, "UA": 50.0, "WF1": 40.0}\n')
    monkeypatch.setattr(sys, "argv", ["emotion2vec", "plot", str(tmp_path), "--output", str(tmp_path / "a" / "b.png")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code and capsys.readouterr().out.strip().endswith("b.png")
    assert (tmp_path / "a" / "b.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"metrics.jsonl: no metrics"):
        plot_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot be written"):
        plot_run(tmp_path, tmp_path / "metrics.nope")
    assert curves(lines, ["loss", "grad_norm"]) == {"loss": ([1, 2], [9.0, 4.5])}
    assert smooth([0.0, 3.0, 6.0], window=3) == [1.5, 3.0, 4.5]


@pytest.mark.parametrize("setting", ["run.checkpoint_activations=true", "checkpoint.background=false"])
def test_options_that_change_no_number(speech: Path, tmp_path: Path, setting: str) -> None:
    random = ["model.dropout=0.2", "model.attention_dropout=0.2", "optim.max_updates=3"]
    pretrain(load_config(None, overrides(speech, tmp_path / "plain", *random)))
    pretrain(load_config(None, overrides(speech, tmp_path / "other", *random, setting)))
    assert metrics(tmp_path / "plain") == metrics(tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run.strategy=fsdp", "run.precision=fp16"], "run.strategy is fsdp and run.precision fp16"),
        (["validation.every=5"], "validation.every is on and validation.data is empty"),
        (["probe.every=5"], "probe.every is on, but of section probe: expected one of dataset, table, emobox or root"),
        (["probe.every=5", "probe.dataset=emodb"], "root is missing, expected the folder of the audio of emodb"),
        (["probe.every=5", "probe.root=x", "probe.target=[arousal]"], "targets arousal need a dataset or a table"),
        (["probe.every=5", "probe.arguments=[--table, x.csv]"], "unknown key probe.arguments"),
        (["checkpoint.keep_best=probe"], "expected a multiple of checkpoint.every"),
    ],
)
def test_settings_that_contradict_each_other(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [*TINY, *words])


def test_fp16_loss_scale_is_saved_and_overflows_are_left_out(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's loss scaling, on a CPU: too high a scale overflows, is halved, and grows again after two updates."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.precision.amp import MixedPrecision

    def fp16(*wanted: object, **more: object) -> Fabric:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-20, growth_interval=2)
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))

    monkeypatch.setattr("emotion2vec.training.run.build_fabric", fp16)
    settings = ["optim.max_updates=7", "checkpoint.every=2", "model.dropout=0.1"]
    pretrain(load_config(None, overrides(speech, tmp_path / "whole", *settings)))
    scales = [line["loss_scale"] for line in metrics(tmp_path / "whole")]
    assert scales[0] == pytest.approx(2.0**20, rel=1e-5) and len(set(scales)) > 1
    step = Trainer._step

    def dying(self: Trainer, update: int, *rest: object) -> dict[str, float]:
        if update == 4:
            raise KeyboardInterrupt
        return step(self, update, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        pretrain(load_config(None, overrides(speech, tmp_path / "parts", *settings)))
    monkeypatch.setattr(Trainer, "_step", step)
    pretrain(load_config(None, overrides(speech, tmp_path / "parts", *settings)))
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 7)
