"""B: utterances. S: samples. T: frames."""

from __future__ import annotations

import pytest
import torch
from networks import tiny_config, waveforms
from torch import nn

from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.linear import Linear, can_pack, packed

pytestmark = pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="this PyTorch was built without oneDNN")


def network() -> Emotion2vec:
    torch.manual_seed(0)
    return Emotion2vec(tiny_config().model).eval()


@pytest.mark.parametrize("shape", [(1, 48), (2, 7, 48), (1, 300, 48)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_a_packed_product_is_that_of_nn_linear(shape: tuple[int, ...], bias: bool, gelu: bool) -> None:
    torch.manual_seed(0)
    linear, reference, x = Linear(48, 96, bias=bias), nn.Linear(48, 96, bias=bias).double(), torch.randn(shape)
    reference.load_state_dict(linear.state_dict())
    expected = reference(x.double())
    expected = nn.functional.gelu(expected) if gelu else expected
    with torch.inference_mode(), packed(linear, torch.float32):
        torch.testing.assert_close(linear(x, gelu=gelu).double(), expected, rtol=0, atol=1e-6)
    with torch.inference_mode(), packed(linear, torch.bfloat16):
        rounded = linear(x, gelu=gelu)
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.double(), expected, rtol=0, atol=0.02)
    torch.testing.assert_close(linear(x, gelu=gelu).double(), expected, rtol=0, atol=1e-6)


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
