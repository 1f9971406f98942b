"""Whole runs: they learn, keep what is frozen, choose by held-out speakers, and go on bit for bit after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import quick, quick_config, write_model
from foreign import write_encoder
from safetensors.torch import load_file
from tables import rows_of, scores_of
from training.helpers import TIMINGS, Run

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.heard import read_heard, utterance_key
from emotion2vec.errors import TrainingError
from emotion2vec.extraction.predict import predict
from emotion2vec.finetune.objective import Finetuning
from emotion2vec.finetune.run import finetune
from emotion2vec.training.trainer import Trainer


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def test_a_run_learns_and_leaves_a_model_that_predicts(talkers: Path, model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = quick_config(
        talkers, model, tmp_path / "run", "optim.max_updates=30", "validation.every=10", "optim.lr=3e-3"
    )
    finetune(config, said.append)
    lines = metrics(tmp_path / "run")
    scores = {line["update"]: line["validation_score"] for line in lines if "validation_score" in line}
    assert sorted(scores) == [10, 20, 30] and max(scores.values()) > 90
    best = max(scores, key=lambda update: (scores[update], update))
    assert f"the model is that of update {best}, validation" in said[-1]
    kept = load_file(tmp_path / "run" / "checkpoints" / f"update_{best:08d}" / "model.safetensors")
    tuned, facts = load_model(tmp_path / "run"), json.loads((tmp_path / "run" / "finetuned.json").read_text())
    assert facts["update"] == best and facts["validation"]["score"] == pytest.approx(scores[best], rel=1e-4)
    for name, value in tuned.state_dict().items():  # the last layer took in the temperature
        divisor = facts["temperature"] if name in ("head.weight", "head.bias") else 1
        assert torch.allclose(value * divisor, kept[name], rtol=1e-5), name
    assert tuned.head is not None and tuned.head.labels == ("anger", "neutral", "sadness")

    report = predict(str(talkers.parent), model=tmp_path / "run", output=tmp_path / "out.jsonl")
    rows = rows_of(tmp_path / "out.jsonl")
    assert report.written == 24
    assert np.mean([row["label"] in row["file"] for row in rows]) > 0.9
    assert any("s0" in line or "s1" in line or "s2" in line or "s3" in line for line in said if "held out" in line)


@pytest.mark.parametrize("kind", ["hubert base", "wavlm large"])
def test_an_encoder_of_transformers_is_tuned_and_kept(kind: str, talkers: Path, tmp_path: Path) -> None:
    write_encoder(tmp_path / "start", kind)
    config = quick_config(
        talkers, tmp_path / "start", tmp_path / "run", "data.min_samples=4000", "data.max_seconds=0.6"
    )
    finetune(config, lambda text: None)
    finetune(config, lambda text: None)  # opens its last checkpoint again
    before, after = load_model(tmp_path / "start").state_dict(), load_model(tmp_path / "run").state_dict()
    moved = {name.split(".")[1] for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"encoder"}  # neither the convolutions nor the projection
    predict(str(talkers.parent), model=tmp_path / "run", output=tmp_path / "out.jsonl")
    rows = rows_of(tmp_path / "out.jsonl")
    assert len(rows) == 24 and all(sum(scores_of(row).values()) == pytest.approx(1, abs=1e-4) for row in rows)


def test_what_is_frozen_stays_and_the_rest_moves(talkers: Path, model: Path, tmp_path: Path) -> None:
    before = load_model(model).state_dict()
    for strategy, moved in (
        (["finetune.strategy=frozen"], set()),
        (["finetune.strategy=top:1"], {"backbone.blocks.1"}),
        (
            ["finetune.freeze=none"],
            {"frontend.layers.0", "frontend.layers.1", "backbone.blocks.0", "backbone.blocks.1"},
        ),
    ):
        run = tmp_path / strategy[0]
        finetune(quick_config(talkers, model, run, *strategy, "optim.max_updates=2"), lambda text: None)
        after = load_model(run).state_dict()
        changed = {".".join(name.split(".")[:3]) for name in before if not torch.equal(before[name], after[name])}
        assert changed == moved


def run(arguments: list[str], log: Path, **how: int) -> int:
    """Exit code of the verb in a process of its own, 0 only where all ranks have it."""
    return max(Run(arguments, log, verb="finetune", **how).wait(), key=lambda code: abs(code or 0)) or 0


def check_killed_and_resumed(
    table: Path, model: Path, folder: Path, more: list[str], *, killed_in: int, last: int
) -> dict[str, torch.Tensor]:
    """Compare a run that is killed in a step and resumed with one that is not; what the last checkpoint trains on."""
    log = folder / "log"
    whole, parts = (quick(table, model, folder / name, *more) for name in ("whole", "parts"))
    assert run(whole, log) == 0, log.read_text()
    assert run(parts, log, die_in_step=killed_in) == 9
    assert not (folder / "parts" / "model.json").exists()
    assert load_model(folder / "parts").head is not None
    assert run(parts, log) == 0, log.read_text()
    for name in ("model.safetensors", f"checkpoints/update_{last:08d}/training.safetensors"):
        ours, theirs = load_file(folder / "parts" / name), load_file(folder / "whole" / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert metrics(folder / "parts") == metrics(folder / "whole")
    return ours


def test_killed_and_resumed_is_bit_for_bit_uninterrupted(talkers: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", dropout=0.1)
    more = ["augment.gain_prob=0.5", "augment.mix_prob=0.5", "optim.accumulate=2", "optim.max_updates=7"]
    more += ["loss.mixup=0.4", "loss.contrast=0.3", "loss.adversarial=pgd", "loss.steps=2"]
    check_killed_and_resumed(talkers, model, tmp_path, more, killed_in=6, last=7)


def test_two_processes_share_an_update_and_its_validation(talkers: Path, model: Path, tmp_path: Path) -> None:
    more = ["loss.contrast=0.3", "augment.mix_prob=0.5", "optim.max_updates=2"]
    more += ["loss.smoothing=0", "augment.gain_prob=0", "optim.accumulate=2"]
    finetune(quick_config(talkers, model, tmp_path / "one", *more), lambda text: None)
    more[-1] = "optim.accumulate=1"
    log = tmp_path / "log"
    assert run(quick(talkers, model, tmp_path / "two", *more), log, ranks=2) == 0, log.read_text()
    one, two = metrics(tmp_path / "one")[-1], metrics(tmp_path / "two")[-1]
    for name in ("loss", "contrast", "grad_norm", "UA", "validation_loss", "validation_UA", "validation_score"):
        assert one[name] == pytest.approx(two[name], rel=1e-4), name


def test_sharing_an_update_out_changes_nothing(talkers: Path, model: Path, tmp_path: Path) -> None:
    losses = []
    for accumulate in (1, 3):
        run = tmp_path / str(accumulate)
        settings = [
            f"optim.accumulate={accumulate}",
            "loss.class_weights=1",
            "data.balance=none",
            "optim.max_updates=1",
        ]
        config = quick_config(talkers, model, run, *settings, "finetune.strategy=frozen", "optim.warmup_updates=0")
        finetune(config, lambda text: None)
        losses.append([metrics(run)[0][name] for name in ("loss", "grad_norm", "WA", "UA")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_record_names_whose_labels_were_used(talkers: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(talkers, model, tmp_path, "optim.max_updates=2"), lambda text: None)
    heard = read_heard(tmp_path)
    import soundfile

    keys = [utterance_key(path.name, soundfile.info(path).duration) for path in talkers.parent.glob("*.wav")]
    assert heard is not None and heard.share("labels", keys) == 1.0


def test_a_tensor_without_gradient_is_named(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Finetuning.check

    def forgotten(self: Finetuning, update: int, found: dict[str, float]) -> None:
        block = self.model.backbone.blocks[1]
        block.fc1.weight.grad = None
        check(self, update, found)

    monkeypatch.setattr(Finetuning, "check", forgotten)
    with pytest.raises(TrainingError, match=r"1 trainable tensors got no gradient.*blocks\.1\.fc1\.weight"):
        finetune(quick_config(talkers, model, tmp_path), lambda text: None)


def test_a_loss_that_is_no_number_names_the_clips(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Trainer._forward_backward

    def poisoned(self: Trainer, update: int, batches: list, size: object) -> list:  # type: ignore[type-arg]
        for batch in batches:
            batch.waveforms[0] = float("nan")
        return forward(self, update, batches, size)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_forward_backward", poisoned)
    with pytest.raises(TrainingError, match=r"update 1: loss is nan.*Utterances of this update: .*s\d_"):
        finetune(quick_config(talkers, model, tmp_path), lambda text: None)


def test_scores_that_are_not_finite_stop_the_run(talkers: Path, model: Path, tmp_path: Path) -> None:
    config = quick_config(talkers, model, tmp_path / "run", "optim.lr=1e30", "finetune.strategy=frozen")
    with pytest.raises(TrainingError, match=r"scores of 6 of 6 held-out clips are not finite; the last.*They are of s"):
        finetune(config, lambda text: None)
