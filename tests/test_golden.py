"""The original implementation's tensors, reproduced: features, objective, gradients, one step, masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import Golden, relative_error

from emotion2vec.pretrain.config import MaskConfig
from emotion2vec.pretrain.ema import ema_decay
from emotion2vec.pretrain.masking import time_mask, visible_indices
from emotion2vec.pretrain.network import Pretrainer, PretrainOutput
from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.training.config import OptimConfig
from emotion2vec.training.optimizer import build_optimizer

pytestmark = pytest.mark.usefixtures("products")

ACTIVATION, GRADIENT = 1e-5, 1e-4


@pytest.fixture(scope="module", params=["data2vec2_tiny", "data2vec2_tiny_global"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Golden:
    return Golden(shared / "golden" / request.param)


def backward(golden: Golden) -> tuple[Pretrainer, PretrainOutput]:
    model = golden.pretrainer()
    output = model(golden["input/source"], golden.mask)
    (output.frame_loss / output.masked).backward()
    return model, output


def named_parameters(model: Pretrainer) -> dict[str, torch.nn.Parameter]:
    return dict(model.student.named_parameters()) | {f"decoder.{n}": p for n, p in model.decoder.named_parameters()}


@pytest.mark.parametrize("group", ["features", "features_after"])
def test_features(golden: Golden, group: str) -> None:
    if f"{group}/x_with_tokens" not in golden.tensors:
        pytest.skip(f"this set has no {group}")
    model = golden.pretrainer("student" if group == "features" else "student_after").eval()
    with torch.no_grad():
        cnn = model.student.frontend.cnn(golden["input/source"])
        local = model.student.frontend.project(cnn)
        out = model.student.backbone(local)
    ours = {"cnn": cnn.transpose(1, 2), "local": local, "x_with_tokens": out.x}
    ours |= {f"ffn_output_{i}": ffn for i, ffn in enumerate(out.ffn)}
    compared = [name for name in ours if f"{group}/{name}" in golden.tensors]
    assert len(compared) >= 5
    assert {n: e for n in compared if (e := relative_error(ours[n], golden[f"{group}/{n}"])) >= ACTIVATION} == {}


def test_student_decoder_and_targets(golden: Golden) -> None:
    model = golden.pretrainer()
    mask = golden.mask.flatten(0, 1)
    seen: dict[str, torch.Tensor] = {}
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.update(decoder=output))
    model.student.backbone.register_forward_hook(lambda module, inputs, output: seen.update(student=output.x))
    model(golden["input/source"], golden.mask)
    ffn = model.teacher(golden["input/source"], model.student.frontend(golden["input/source"])).ffn
    from emotion2vec.pretrain.targets import frame_targets

    count = golden.config.model.tokens
    targets = frame_targets([layer[:, count:] for layer in ffn[-golden.config.loss.top_k :]])
    assert torch.equal(visible_indices(mask).sort(dim=1).values, visible_indices(mask))
    assert relative_error(seen["student"], golden["pretrain/student_with_tokens"]) < ACTIVATION
    assert relative_error(seen["decoder"], golden["pretrain/decoder"]) < ACTIVATION
    assert relative_error(targets, golden["pretrain/targets"]) < ACTIVATION


def test_loss_and_monitored_values(golden: Golden) -> None:
    _, output = backward(golden)
    assert output.masked == int(golden["pretrain/sample_size"])
    assert output.masked / golden.mask.numel() == pytest.approx(float(golden["pretrain/masked_pct"]))
    assert relative_error(output.frame_loss / output.masked, golden["pretrain/frame_loss"]) < ACTIVATION
    assert output.targets.std() == pytest.approx(float(golden["pretrain/target_var"]), rel=ACTIVATION)
    assert output.predictions.std() == pytest.approx(float(golden["pretrain/pred_var"]), rel=ACTIVATION)


def test_gradients(golden: Golden) -> None:
    model, _ = backward(golden)
    ours, theirs = named_parameters(model), golden.group("grad")
    assert set(theirs) == {name for name, p in ours.items() if p.grad is not None}
    assert {n: e for n, g in theirs.items() if (e := relative_error(ours[n].grad, g)) >= GRADIENT} == {}
    norm = torch.nn.utils.get_total_norm([p.grad for p in ours.values() if p.grad is not None])
    assert float(norm) == pytest.approx(float(golden["pretrain/grad_norm"]), rel=GRADIENT)


def test_optimizer_and_ema_step(golden: Golden) -> None:
    model, _ = backward(golden)
    # fairseq adds eps before the bias correction; at the first step this eps makes AdamW the same.
    config = OptimConfig(lr=1e-3, eps=1e-6 / (1 - 0.98) ** 0.5)
    objective = Pretraining(golden.config, model, torch.device("cpu"))
    optimizer = build_optimizer(objective.parameter_groups(), config)
    undecayed = {id(p) for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]}
    from emotion2vec.checkpoint.formats.data2vec.names import from_fairseq

    expected = {from_fairseq(name) for name in golden.facts["no_weight_decay"]}
    assert {name for name, p in named_parameters(model).items() if id(p) in undecayed} == expected
    optimizer.step()
    decay = ema_decay(1, golden.config.ema)
    assert decay == pytest.approx(golden.facts["ema_decay_at_update_1"], abs=1e-12)
    model.teacher.update(model.student, decay)
    ours, after = named_parameters(model), golden.group("student_after")
    assert set(ours) == set(after)
    assert {n: e for n, p in after.items() if (e := relative_error(ours[n], p)) >= GRADIENT} == {}
    teacher = dict(model.teacher.named_parameters())
    assert {
        n: e for n, p in golden.group("teacher_after").items() if (e := relative_error(teacher[n], p)) >= 1e-6
    } == {}


@pytest.mark.parametrize("length", [49, 99, 250, 999])
def test_mask_statistics(golden: Golden, shared: Path, length: int) -> None:
    folder = "data2vec2_tiny" if golden.config.model.tokens else "data2vec2_tiny_global"
    expected = json.loads((shared / "golden" / folder / "mask_statistics.json").read_text())[str(length)]
    rng = np.random.default_rng(0)
    masks = np.stack([time_mask(length, MaskConfig(), rng) for _ in range(2048)])
    runs = [len(run) for row in masks for run in "".join("x" if m else " " for m in row).split()]
    assert masks.sum(axis=1).min() == expected["masked_min"]
    assert masks.sum(axis=1).max() == expected["masked_max"]
    assert np.mean(runs) == pytest.approx(expected["mean_run"], rel=0.04)
    assert np.mean([run >= 5 for run in runs]) == pytest.approx(expected["p_run_ge5"], abs=0.03)
    assert masks[:, 0].mean() == pytest.approx(expected["edge_rate"], abs=0.05)
    assert masks[:, length // 2].mean() == pytest.approx(expected["middle_rate"], abs=0.05)
