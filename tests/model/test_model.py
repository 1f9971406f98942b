"""The network: padding, positions, sizes."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from networks import tiny_config, waveforms

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.audio.samples import normalize
from emotion2vec.model.attention import Bias
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import ConvLayer, GradScale
from emotion2vec.model.frozen import frozen
from emotion2vec.model.position import FrameConv, alibi_distance, alibi_slopes
from emotion2vec.model.shapes import shapes_alone
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.network import Pretrainer

RUN = ["data.train=x", "run.dir=x"]


def tiny_model(*overrides: str, seed: int = 0) -> Emotion2vec:
    torch.manual_seed(seed)
    model = Emotion2vec(tiny_config(*overrides).model).eval()
    for parameter in model.parameters():  # make biases and norms take part
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim == 1 else None
    return model


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize(
    ("length", "kernel", "stride"), [(400, 10, 5), (403, 10, 5), (81, 3, 2), (80, 3, 2), (7, 2, 2)]
)
def test_conv_layer_is_torchs_convolution(length: int, kernel: int, stride: int) -> None:
    layer = ConvLayer(6, 8, kernel, stride)
    x = torch.randn(2, length, 6)
    expected = torch.nn.functional.conv1d(x.transpose(1, 2), layer.weight, stride=stride).transpose(1, 2)
    expected = torch.nn.functional.gelu(layer.norm(expected))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_grad_scale_changes_only_the_gradient() -> None:
    x = torch.randn(5, requires_grad=True)
    y = GradScale.apply(x, 0.1)
    assert torch.equal(y, x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((5,), 0.1))


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("tokens", [0, 10])
def test_clip_alone_equals_clip_in_padded_batch(tokens: int) -> None:
    model = tiny_model(f"model.tokens={tokens}", "loss.utterance=none")
    short, long = waveforms(1, 9_000)[0], waveforms(1, 16_000, seed=1)[0]
    padded = torch.full((2, 16_000), 7.0)  # what is in the padding must not matter
    padded[0, :9_000], padded[1] = short, long
    padding = torch.arange(16_000).unsqueeze(0) >= torch.tensor([[9_000], [16_000]])
    with torch.no_grad():
        together, alone = model(padded, padding), model(short.unsqueeze(0))
    frames = alone.frames.shape[1]
    assert frames == WAVEFORM_GRID.count(9_000)
    assert together.padding is not None
    assert (~together.padding).sum(dim=1).tolist() == [frames, WAVEFORM_GRID.count(16_000)]
    torch.testing.assert_close(together.frames[0, :frames], alone.frames[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.tokens[0], alone.tokens[0], atol=1e-5, rtol=1e-5)


def test_alibi_slopes_of_twelve_heads() -> None:
    expected = [2.0**-i for i in range(1, 9)] + [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5]
    assert alibi_slopes(12).tolist() == pytest.approx(expected)


def test_alibi_bias_uses_original_positions_and_spares_tokens() -> None:
    positions, slopes = torch.tensor([[0, 3, 4, 9]]), torch.tensor([0.5, 0.25])
    bias = Bias(alibi_distance(positions, tokens=2), slopes).dense
    assert bias.shape == (1, 2, 6, 6)
    for head, slope in enumerate(slopes.tolist()):
        for i, a in enumerate([None, None, 0, 3, 4, 9]):
            for j, b in enumerate([None, None, 0, 3, 4, 9]):
                expected = 0.0 if a is None or b is None else -slope * abs(a - b)
                assert bias[0, head, i, j].item() == pytest.approx(expected)


def test_alibi_scale_is_clamped_at_zero() -> None:
    model, x = tiny_model(), waveforms(1, 4_000)
    with torch.no_grad():
        model.backbone.alibi_scale.fill_(-1.0)
        negative = model(x).frames
        model.backbone.alibi_scale.fill_(0.0)
        assert torch.equal(negative, model(x).frames)
        model.backbone.alibi_scale.fill_(1.0)
        assert not torch.allclose(negative, model(x).frames)


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("base", (768, 12, 4, 8)), ("large", (1024, 16, 8, 16))],
)
def test_shipped_dimensions(name: str, dimensions: tuple[int, ...], root) -> None:
    config = load_config(root / "configs" / "pretrain" / f"{name}.yaml", RUN)
    model = config.model
    assert (model.width, model.heads, model.prenet_depth, model.depth) == dimensions
    with shapes_alone():
        pretrainer = Pretrainer(config)
    decoder = sum(p.numel() for p in pretrainer.decoder.parameters())
    total = decoder + sum(p.numel() for p in pretrainer.student.parameters())
    if name == "base":
        assert (total, decoder) == (93_790_988, 619_776)
    else:  # data2vec 2.0 large, counted from its dimensions by hand
        d, f, c, w, kernel = 1024, 4096, 512, 768, 19
        block = 4 * d * d + 4 * d + 2 * d * f + f + d + 4 * d
        cnn = c * 10 + 4 * c * c * 3 + 2 * c * c * 2 + 7 * 2 * c
        positions = 5 * (d * (d // 16) * kernel + d)
        own = w * (d // 16) * 7 + w + 3 * (w * (w // 16) * 7 + w) + w * d + d
        assert decoder == own
        assert total == own + cnn + 2 * c + c * d + d + positions + 2 * d + 24 * block + 16 + 10 * d


def test_initialization() -> None:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config("model.width=128", "model.ffn_width=512").model)
    block = model.backbone.blocks[0]
    assert block.fc1.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert block.fc1.bias.abs().max() == 0
    assert model.backbone.tokens[0].abs().max() == 0
    assert model.backbone.tokens[1:].std().item() == pytest.approx(1.0, rel=0.1)
    assert model.backbone.alibi_scale.tolist() == [1.0] * 4
    fan_in = 16 * 3
    assert model.frontend.layers[1].weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.1)
    limit = 1 / math.sqrt(16)  # PyTorch's default: uniform
    assert 0.9 * limit < model.frontend.projection.weight.abs().max().item() <= limit


def test_extract_features_of_a_clip() -> None:
    model = tiny_model()
    samples = np.random.default_rng(0).normal(size=22_050).astype(np.float32) * 0.1
    features = model.extract_features(samples, 16_000, layers=True)
    with torch.no_grad():
        expected = model(torch.from_numpy(normalize(samples)).unsqueeze(0))
    frames = expected.frames[0].numpy()
    np.testing.assert_allclose(features.frames, frames, atol=1e-6)
    np.testing.assert_allclose(features.utterance, frames.mean(axis=0), atol=1e-6)
    assert features.layers is not None and features.layers.shape == (3, WAVEFORM_GRID.count(22_050), 32)
    np.testing.assert_array_equal(features.layers[-1], features.frames)


def test_extract_features_leaves_the_mode_alone() -> None:
    model = tiny_model("model.dropout=0.5").train()
    samples = np.random.default_rng(0).normal(size=4_000)
    first, second = (model.extract_features(samples, 16_000).frames for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training


def test_a_frozen_face_shares_everything_but_the_mode() -> None:
    model = tiny_model("model.dropout=0.5").train()
    face = frozen(model)
    assert type(face) is type(model) and not any(module.training for module in face.modules())
    assert all(module.training for module in model.modules())
    assert face.state_dict().keys() == model.state_dict().keys()
    x = torch.randn(1, 4_000)
    with torch.no_grad():
        before = face(x).frames
        for parameter in model.parameters():
            parameter.mul_(1.1)
        after = face(x).frames
        torch.testing.assert_close(after, copy.deepcopy(model).eval()(x).frames)
    assert not torch.allclose(before, after)


def test_calls_from_threads_and_training_do_not_meet() -> None:
    model = tiny_model("model.dropout=0.5").train()
    samples = np.random.default_rng(0).normal(size=4_000)
    expected = model.extract_features(samples, 16_000).frames

    def call(number: int) -> np.ndarray:
        if number % 3 == 0:
            model.train()
        return model.extract_features(samples, 16_000).frames

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(call, range(40)):
            np.testing.assert_array_equal(found, expected)
    assert all(module.training for module in model.modules())


def test_a_list_is_a_batch_of_clips() -> None:
    model = tiny_model()
    clips = [np.random.default_rng(seed).normal(size=4_000 + 500 * seed).astype(np.float32) for seed in range(3)]
    found = model.extract_features(clips, sampling_rate=16_000)
    assert isinstance(found, list) and len(found) == 3
    for one, clip in zip(found, clips, strict=True):
        np.testing.assert_array_equal(one.frames, model.extract_features(clip, 16_000).frames)


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "groups"), [(32, 32, 19, 4), (32, 16, 7, 2), (3, 5, 1, 1)])
def test_frames_are_convolved_as_by_conv1d(inputs: int, outputs: int, kernel: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = FrameConv(inputs, outputs, kernel, groups)
    plain = torch.nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, groups=groups).double()
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 23, inputs, requires_grad=True)
    exact = x.detach().double().requires_grad_()
    grad = torch.randn(2, 23, outputs)
    mine, theirs = conv(x), plain(exact.transpose(1, 2)).transpose(1, 2)
    mine.backward(grad)
    theirs.backward(grad.double())
    pairs = [(mine, theirs), (x.grad, exact.grad), (conv.weight.grad, plain.weight.grad)]
    for one, other in [*pairs, (conv.bias.grad, plain.bias.grad)]:
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
