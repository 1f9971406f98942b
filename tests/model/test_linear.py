"""B: utterances. S: samples. T: frames."""

from __future__ import annotations

import pytest
import torch
from networks import tiny_config, waveforms
from torch import nn

from emotion2vec.model.cpu import packing
from emotion2vec.model.cpu.packing import LAYOUTS, Int8Weight, int8_product_gain, packed
from emotion2vec.model.cpu.products import onednn_multiplies
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.linear import Linear

exact_int8 = pytest.mark.skipif(not int8_product_gain(), reason="int8 products are not exact on this processor")


@pytest.fixture(params=list(LAYOUTS), autouse=True)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each layout of packed weights in turn, whatever is the fastest here; bfloat16 takes what there is."""
    name = str(request.param)
    available = {dtype: name != "onednn" or onednn_multiplies(dtype) for dtype in (torch.float32, torch.bfloat16)}
    monkeypatch.setattr(packing, "choose_layout", lambda dtype, *_: name if available[dtype] else "plain")
    return name


def network() -> Emotion2vec:
    torch.manual_seed(0)
    return Emotion2vec(tiny_config().model).eval()


@pytest.mark.parametrize("shape", [(1, 48), (2, 7, 48), (1, 300, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_products_are_those_of_nn_linear(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList([Linear(48, 96, bias=bias), Linear(96, 48, bias=bias)])
    first, second = (nn.Linear(*size, bias=bias).double() for size in ((48, 96), (96, 48)))
    first.load_state_dict(layers[0].state_dict())
    second.load_state_dict(layers[1].state_dict())
    x = torch.randn(shape)
    expected = first(x.double())
    fed_forward = second(nn.functional.gelu(expected))

    def assert_as_expected(dtype: torch.dtype, error: float) -> None:
        early, late = layers[1](layers[0](x, gelu=True)), layers[1](layers[0](x), gelu_first=True)
        for mine, theirs in ((layers[0](x), expected), (early, fed_forward), (late, fed_forward)):
            assert mine.dtype == dtype
            torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=error)

    with torch.inference_mode(), packed(layers, torch.float32):
        assert_as_expected(torch.float32, 1e-6)
    with torch.inference_mode(), packed(layers, torch.bfloat16):
        assert_as_expected(torch.bfloat16, 0.02)
    assert_as_expected(torch.float32, 1e-6)


def test_packed_products_add_in_the_same_pass(layout: str) -> None:
    torch.manual_seed(0)
    x, rest = torch.randn(2, 7, 48), torch.randn(2, 14, 96)[:, ::2]
    for bias in (True, False):
        linear = Linear(48, 96, bias=bias)
        expected = linear(x) + rest
        before = rest.clone()
        with torch.inference_mode(), packed(linear, torch.float32):
            torch.testing.assert_close(linear(x, add=rest), expected.detach())
            torch.testing.assert_close(
                linear(x, gelu=True, add=rest), nn.functional.gelu(expected - rest).detach() + rest
            )
        assert torch.equal(rest, before)  # what is added stays what it is
        torch.testing.assert_close(linear(x, add=rest), expected)


@exact_int8
@torch.inference_mode()
def test_int8_products_are_those_of_rounded_numbers() -> None:
    """Against the same rounding in float64: rows by their own largest number, weights by their output's."""
    torch.manual_seed(0)
    weight, bias = torch.randn(64, 48), torch.randn(64)
    x = torch.randn(5, 48) * torch.tensor([1e-3, 1.0, 30.0, 1.0, 0.0]).unsqueeze(1)
    x_scale = (x.double().abs().amax(1, keepdim=True) / 127).clamp(min=1e-30)
    w_scale = weight.double().abs().amax(1, keepdim=True) / 127
    rounded = torch.floor(x.double() / x_scale + 0.5) @ torch.round(weight.double() / w_scale).t()
    expected = rounded * x_scale * w_scale.t() + bias
    found = Int8Weight(weight, bias)(x)
    assert (found.double() - expected).abs().max() < 0.02 * expected.abs().max()  # a half may round the other way
    assert (found.double() - expected).norm() / expected.norm() < 2e-3
    exact = x.double() @ weight.double().t() + bias
    assert (found.double() - exact).norm() / exact.norm() < 0.02
    assert torch.equal(found[4], bias)


@exact_int8
@torch.inference_mode()
def test_int8_features_are_near_and_independent_of_the_batch() -> None:
    model, x = network(), waveforms(2, 9_123)
    expected = model(x).frames
    with packed(model, torch.int8):
        frames = model(x).frames
        alone = model(x[:1]).frames
        assert isinstance(model.backbone.blocks[0].fc1._packed, Int8Weight)
        assert not isinstance(model.frontend.projection._packed, Int8Weight)
    assert torch.cosine_similarity(frames, expected, dim=2).mean() > 0.99
    assert not torch.allclose(frames, expected, atol=1e-5)
    torch.testing.assert_close(frames[:1], alone, rtol=0, atol=2e-2)
    torch.testing.assert_close(frames[:1].mean(), alone.mean(), rtol=0, atol=1e-3)


@torch.inference_mode()
def test_a_packed_network_has_the_same_features() -> None:
    model, x = network(), waveforms(2, 9_123)
    padding = torch.zeros(2, 9_123, dtype=torch.bool)
    padding[1, 6_000:] = True
    for mask in (None, padding):
        expected = model(x, mask).frames
        with packed(model, torch.float32):
            torch.testing.assert_close(model(x, mask).frames, expected, rtol=0, atol=2e-5)
        with packed(model, torch.bfloat16), torch.autocast("cpu", torch.bfloat16):
            frames = model(x, mask).frames.float()
        assert (
            torch.cosine_similarity(frames, expected, dim=2).min() > 0.998
        )  # few channels: bfloat16 averages out less
        assert not torch.equal(frames, expected)
        torch.testing.assert_close(model(x, mask).frames, expected, rtol=0, atol=0)


def test_fused_attention_is_the_attention_that_is_trained() -> None:
    model, x = network(), waveforms(2, 9_123)
    padding = torch.zeros(2, 9_123, dtype=torch.bool)
    padding[0, 5_000:] = True
    trained = model(x, padding)
    with torch.no_grad():
        fused = model(x, padding)
    for ours, theirs in zip(fused.layers, trained.layers, strict=True):
        torch.testing.assert_close(ours[~fused.padding], theirs[~fused.padding].detach(), rtol=0, atol=1e-5)


def test_packing_is_no_part_of_the_weights_and_ends_with_an_error() -> None:
    model = network()
    names = list(model.state_dict())
    with pytest.raises(KeyError), packed(model, torch.float32):
        assert list(model.state_dict()) == names
        raise KeyError
    model(waveforms(1, 4_000)).frames.sum().backward()
    assert all(parameter.grad is not None for parameter in model.frontend.parameters())
