"""Masks, views, targets and losses against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import tiny_config, waveforms

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.model.config import DecoderConfig
from emotion2vec.pretrain.config import MaskConfig
from emotion2vec.pretrain.decoder import Decoder
from emotion2vec.pretrain.ema import Teacher
from emotion2vec.pretrain.losses import frame_loss_sum, utterance_loss_sum
from emotion2vec.pretrain.masking import batch_masks, time_mask, visible_indices
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.targets import UtteranceTarget, deviation, frame_targets
from emotion2vec.training.metrics import Moments


@pytest.mark.parametrize("length", [1, 2, 3, 10, 99, 500])
@pytest.mark.parametrize("config", [MaskConfig(), MaskConfig(span=10), MaskConfig(prob=0.55, adjust=0.1)])
def test_every_row_masks_the_same_number(length: int, config: MaskConfig) -> None:
    rng = np.random.default_rng(0)
    assert {int(time_mask(length, config, rng).sum()) for _ in range(50)} == {max(1, int(length * config.prob))}


def test_a_span_lies_around_its_center_and_ends_at_the_last_frame() -> None:
    """One center for as many frames as are to be masked: what is cut off at an end is masked somewhere else."""
    config = MaskConfig(prob=0.1, adjust=0.0, span=10)
    for seed in range(300):
        center = int(np.random.default_rng(seed).integers(0, 100, size=1)[0])
        expected = np.arange(max(0, center - 5), min(100, center + 5))
        found = np.flatnonzero(time_mask(100, config, np.random.default_rng(seed)))
        assert len(found) == 10 and set(expected) <= set(found)
        assert len(expected) < 10 or found.tolist() == expected.tolist()


def test_masks_depend_on_their_key_alone() -> None:
    config = MaskConfig(views=3)
    both = batch_masks(["a", "b"], 50, config, seed=1, update=7)
    assert torch.equal(both[1:], batch_masks(["b"], 50, config, seed=1, update=7))
    more = batch_masks(["a", "b"], 50, MaskConfig(views=4), seed=1, update=7)
    assert torch.equal(both, more[:, :3])
    for changed in (
        batch_masks(["a", "b"], 50, config, seed=2, update=7),
        batch_masks(["a", "b"], 50, config, seed=1, update=8),
        batch_masks(["c", "d"], 50, config, seed=1, update=7),
    ):
        assert not torch.equal(both, changed)
    assert not torch.equal(both[0, 0], both[0, 1])


def test_visible_indices_are_the_unmasked_frames_in_order() -> None:
    mask = batch_masks(["a"], 40, MaskConfig(), seed=0, update=1)[0]
    for row, kept in zip(mask, visible_indices(mask), strict=True):
        assert kept.tolist() == torch.nonzero(~row).flatten().tolist()


def test_an_extra_view_changes_no_other_view() -> None:
    config = tiny_config()
    torch.manual_seed(0)
    model = Pretrainer(config)
    x = waveforms(2, 8_000)
    three = batch_masks(["a", "b"], WAVEFORM_GRID.count(8_000), MaskConfig(views=3), seed=0, update=1)
    decoded: list[torch.Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(output))
    with torch.no_grad():
        model(x, three)
        model(x, three[:, :2])
    with_extra = decoded[0].unflatten(0, (2, 3))[:, :2]
    torch.testing.assert_close(decoded[1].unflatten(0, (2, 2)), with_extra, atol=1e-5, rtol=1e-5)


def test_masked_frames_do_not_reach_the_student() -> None:
    model = Pretrainer(tiny_config()).eval()
    local = torch.randn(1, 20, 32)
    mask = batch_masks(["a"], 20, MaskConfig(views=1), seed=0, update=1)[0]
    changed = local + 100 * mask.unsqueeze(2) * torch.randn(1, 20, 32)
    with torch.no_grad():
        first, second = (model.student.backbone(x, visible=visible_indices(mask)).x for x in (local, changed))
    torch.testing.assert_close(first, second)


def test_frame_targets_are_instance_normalized_means_of_layers() -> None:
    layers = [torch.randn(2, 30, 5) * 3 + 1 for _ in range(3)]
    expected = torch.zeros(2, 30, 5)
    for layer in layers:
        mean, var = layer.mean(dim=1, keepdim=True), layer.var(dim=1, keepdim=True, unbiased=False)
        expected += (layer - mean) / (var + 1e-5).sqrt() / 3
    targets = frame_targets(layers)
    torch.testing.assert_close(targets, expected, atol=1e-5, rtol=1e-5)
    assert targets.mean(dim=1).abs().max() < 1e-6  # the trap: pooling these over time gives nothing


@pytest.mark.parametrize("kind", ["plain", "layernorm", "standardized"])
def test_utterance_target_differs_between_utterances(kind: str) -> None:
    torch.manual_seed(0)
    model = Pretrainer(tiny_config(f"loss.utterance_target={kind}"))
    x = torch.cat([waveforms(4, 8_000), waveforms(4, 8_000, seed=3).cumsum(dim=1) * 0.05])
    mask = batch_masks([str(i) for i in range(8)], WAVEFORM_GRID.count(8_000), MaskConfig(views=1), seed=0, update=1)
    with torch.no_grad():
        pooled = model(x, mask).pooled
        for _ in range(1_500):
            model.utterance_target.update(pooled.mean(dim=0), pooled.square().mean(dim=0))
    target = model.utterance_target(pooled)
    spread = target.std(dim=0, unbiased=False)
    assert spread.min() > 1e-4
    if kind == "standardized":
        torch.testing.assert_close(target.mean(dim=0), torch.zeros(32), atol=1e-3, rtol=0)
        variance = pooled.var(dim=0, unbiased=False)
        torch.testing.assert_close(spread, (variance / (variance + 1e-6)).sqrt(), atol=2e-2, rtol=2e-2)


def test_running_statistics_follow_the_closed_formula() -> None:
    target = UtteranceTarget("standardized", 3, momentum=0.9)
    data = torch.randn(50, 4, 3) * 2 + 5
    for batch in data:
        target.update(batch.mean(dim=0), batch.square().mean(dim=0))
    weights = torch.tensor([0.9 ** (49 - i) for i in range(50)])
    weights /= weights.sum()
    mean = (weights[:, None] * data.mean(dim=1)).sum(dim=0)
    square = (weights[:, None] * data.square().mean(dim=1)).sum(dim=0)
    torch.testing.assert_close(target.mean, mean)
    torch.testing.assert_close(target.std(), (square - mean.square() + 1e-6).sqrt())


@pytest.mark.parametrize("size", [4, 40])
def test_standardized_targets_have_unit_deviation_from_the_first_update_on(size: int) -> None:
    """Vectors whose channels deviate by 0.02 to 0.2 around means of up to 3, as those of an untrained teacher do."""
    generator = torch.Generator().manual_seed(0)
    scale, center = torch.linspace(0.02, 0.2, 64), 3 * torch.randn(64, generator=generator)
    target, largest = UtteranceTarget("standardized", 64), 0.0
    held_out = center + scale * torch.randn(500, 64, generator=generator)
    for update in range(400):
        pooled = center + scale * torch.randn(size, 64, generator=generator)
        if update in (0, 1, 10, 300):
            shown = target(pooled if update == 0 else held_out)
            assert shown.std(dim=0).mean() == pytest.approx(1, abs=0.35 if update < 2 else 0.08), update
            largest = max(largest, float(shown.abs().max()))
        target.update(pooled.mean(dim=0), pooled.square().mean(dim=0), size)
    torch.testing.assert_close(target(held_out).std(dim=0), torch.ones(64), atol=0.15, rtol=0)
    assert largest < 20  # no channel whose variance was small by chance


@pytest.mark.parametrize("size", [1, 2])
def test_standardized_targets_stay_small_when_hardly_anything_was_seen(size: int) -> None:
    target = UtteranceTarget("standardized", 64)
    data = 0.1 * torch.randn(5, size, 64, generator=torch.Generator().manual_seed(0)) + 2
    for pooled in data:
        assert target(pooled).isfinite().all() and target(pooled).abs().max() < 30
        target.update(pooled.mean(dim=0), pooled.square().mean(dim=0), size)
    assert target(data[:, 0]).std(dim=0).mean() > 0.5


def test_frame_loss_formula() -> None:
    decoded, targets = torch.randn(2, 3, 7, 4), torch.randn(2, 7, 4)
    mask = torch.rand(2, 3, 7) < 0.5
    expected = 0.0
    for b, m, t in mask.nonzero().tolist():
        expected += ((decoded[b, m, t] - targets[b, t]) ** 2).sum().item() / 4**0.5
    assert frame_loss_sum(decoded, targets, mask).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("kind", "tokens"), [("token", 1), ("chunk", 10), ("global", 0)])
def test_utterance_loss_formula(kind: str, tokens: int) -> None:
    outputs, frames, target = torch.randn(2, 3, tokens, 4), torch.randn(2, 3, 6, 4), torch.randn(2, 4)
    expected = 0.0
    for b in range(2):
        for m in range(3):
            pooled = (frames if kind == "global" else outputs)[b, m].mean(dim=0)
            expected += ((pooled - target[b]) ** 2).sum().item() / 4**0.5
    assert utterance_loss_sum(kind, outputs, frames, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cnn", ["optim.cnn_lr_scale=1", "optim.cnn_lr_scale=0", "optim.cnn_grad_scale=0"])
@pytest.mark.parametrize(("kind", "tokens"), [("token", 1), ("chunk", 3), ("global", 0), ("none", 2)])
def test_pretrainer_trains_with_every_utterance_loss(kind: str, tokens: int, cnn: str) -> None:
    """Every parameter that is to train gets a gradient, for which several processes wait, a frozen CNN or not."""
    torch.manual_seed(0)
    model = Pretrainer(
        tiny_config(f"loss.utterance={kind}", f"model.tokens={tokens}", "loss.utterance_target=layernorm", cnn)
    )
    x = waveforms(2, 8_000)
    mask = batch_masks(["a", "b"], WAVEFORM_GRID.count(8_000), MaskConfig(views=2), seed=0, update=1)
    output = model(x, mask)
    assert (output.utterance_loss.item() > 0) == (kind != "none")
    (output.frame_loss + output.utterance_loss).backward()
    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert without == set()
    assert all(p.grad is None for p in model.teacher.parameters())


def test_cnn_gradients_are_scaled_and_projection_is_not() -> None:
    grads = {}
    x, mask = (
        waveforms(2, 8_000),
        batch_masks(["a", "b"], WAVEFORM_GRID.count(8_000), MaskConfig(views=2), seed=0, update=1),
    )
    for scale in (1.0, 0.1, 0.0):
        torch.manual_seed(0)
        model = Pretrainer(tiny_config(f"optim.cnn_grad_scale={scale}"))
        model(x, mask).frame_loss.backward()
        grads[scale] = (model.student.frontend.layers[0].weight.grad, model.student.frontend.projection.weight.grad)
    torch.testing.assert_close(grads[0.1][0], 0.1 * grads[1.0][0], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(grads[0.1][1], grads[1.0][1])
    assert grads[0.0][0] is None


@pytest.mark.parametrize(
    ("setting", "frozen"), [("cnn_lr_scale=0", True), ("cnn_grad_scale=0", True), ("lr=1e-4", False)]
)
def test_a_cnn_that_is_not_to_learn_has_no_gradients(setting: str, frozen: bool) -> None:
    model = Pretrainer(tiny_config(f"optim.{setting}"))
    assert {parameter.requires_grad for parameter in model.student.frontend.layers.parameters()} == {not frozen}
    model(waveforms(1, 8_000), batch_masks(["a"], 24, MaskConfig(), seed=0, update=1)).frame_loss.backward()
    assert (model.student.frontend.layers[0].weight.grad is None) == frozen
    assert model.student.frontend.projection.weight.grad is not None


@pytest.mark.parametrize("frontend", [False, True])
def test_teacher_copies_and_follows_the_student(frontend: bool) -> None:
    torch.manual_seed(0)
    student = Pretrainer(tiny_config()).student
    teacher = Teacher(student, frontend=frontend).train()
    assert not teacher.training
    copied = {n for n, _ in teacher.named_parameters()}
    assert any(n.startswith("frontend.") for n in copied) == frontend
    before = {n: p.clone() for n, p in teacher.named_parameters()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    teacher.update(student, 0.75)
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.25)


def test_teacher_with_its_own_front_end_sees_the_waveform() -> None:
    torch.manual_seed(0)
    model = Pretrainer(tiny_config("ema.frontend=true"))
    x = waveforms(1, 8_000)
    local = model.student.frontend(x)
    expected = model.teacher(x, local).ffn[-1]
    torch.testing.assert_close(model.teacher(x, torch.zeros_like(local)).ffn[-1], expected)


def test_moments_add_up_to_numpys_variance() -> None:
    parts = [torch.randn(n, 5) * 4 + 2 for n in (3, 10, 1)]
    total = Moments.of(parts[0]) + Moments.of(parts[1]) + Moments.of(parts[2])
    variance = np.var(torch.cat(parts).double().numpy(), axis=0, ddof=1)
    np.testing.assert_allclose(total.variance().numpy(), variance)
    assert float(total.std()) == pytest.approx(np.sqrt(variance + 1e-6).mean())


def test_a_deviation_has_a_floor_of_a_thousandth() -> None:
    """√(variance + 1e-6), as data2vec 2.0 measures collapse: of equal rows, and of those that deviate by as little."""
    assert float(Moments.of(torch.full((10, 4), 3.0)).std()) == pytest.approx(1e-3)
    small = torch.tensor([[-1.0], [1.0]]) * 1e-3 / np.sqrt(2)  # of variance 1e-6
    assert float(Moments.of(small).std()) == pytest.approx(np.sqrt(2e-6), rel=1e-4)
    assert float(Moments.of(torch.ones(1, 4)).std()) == pytest.approx(1e-3)


def test_the_deviation_between_utterances_by_its_formula() -> None:
    """The variance of a sample, drawn towards the channels' mean as by four utterances more, and 1e-6."""
    for count in (2, 5, 100):
        data = torch.randn(count, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([0, 1e-3, 0.1, 1, 2, 3])
        variance = np.var(data.double().numpy(), axis=0, ddof=1)
        variance += (variance.mean() - variance) * 4 / (count + 4)
        found = deviation(data.mean(dim=0), data.square().mean(dim=0), torch.tensor(float(count)))
        np.testing.assert_allclose(found.numpy(), np.sqrt(variance + 1e-6), rtol=1e-3)
    still = deviation(torch.full((3,), 0.5), torch.full((3,), 0.25), torch.tensor(10.0))
    assert still.tolist() == pytest.approx([1e-3] * 3)
    one = deviation(torch.randn(3), torch.randn(3).square(), torch.tensor(1.0))
    assert one.tolist() == pytest.approx([np.sqrt(1 + 1e-6)] * 3)


@pytest.mark.parametrize("training", [True, False])
def test_the_decoder_drops_what_it_is_given_and_fills_masked_frames_with_noise(training: bool) -> None:
    """Seen by its first convolution: a quarter of the student's values, and N(0, 0.5²) where nothing was seen."""
    decoder = Decoder(DecoderConfig(width=16, layers=2, groups=4, input_dropout=0.25, mask_noise=0.5), 32)
    decoder.train(training)
    seen: list[torch.Tensor] = []
    decoder.convs[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    visible = torch.arange(0, 400, 2).expand(3, -1)
    torch.manual_seed(0)
    out = decoder(torch.ones(3, 200, 32), visible, 400)
    assert out.shape == (3, 400, 32)
    given, noise = seen[0][:, ::2], seen[0][:, 1::2]
    assert given.unique().tolist() == pytest.approx([0.0, 4 / 3] if training else [1.0], rel=1e-4)
    assert (given == 0).float().mean().item() == pytest.approx(0.25 if training else 0.0, abs=0.02)
    assert noise.std().item() == pytest.approx(0.5, rel=0.03) and noise.mean().item() == pytest.approx(0, abs=0.02)
