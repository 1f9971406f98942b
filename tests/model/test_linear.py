"""B: utterances. S: samples. T: frames."""

from __future__ import annotations

import pytest
import torch
from networks import tiny_config, waveforms
from torch import nn

from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.linear import Linear, can_pack, packed

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu"), torch.bfloat16), reason="needs oneDNN with bfloat16 on this CPU"
)


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


@torch.inference_mode()
def test_a_packed_network_has_the_same_features() -> None:
    model, x = network(), waveforms(2, 9_123)
    padding = torch.zeros(2, 9_123, dtype=torch.bool)
    padding[1, 6_000:] = True
    for mask in (None, padding):
        expected = model(x, mask).frames
        with packed(model, torch.float32):
            torch.testing.assert_close(model(x, mask).frames, expected, rtol=0, atol=1e-5)
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
