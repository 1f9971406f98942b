"""Products and attention with gradients, in the forms that CPUs are fast in, against plain ones in float64.

B: sequences. L: sequence length. H: heads. E: width of a head. I: input channels. O: output channels.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from emotion2vec.hardware import has_onednn
from emotion2vec.model import attention
from emotion2vec.model.attention import Bias, CachedAttention, attend
from emotion2vec.model.cpu import products
from emotion2vec.model.cpu.products import FORWARD, WAYS, LearnedProduct, Way, onednn_multiplies, product
from emotion2vec.model.frontend import ConvLayer
from emotion2vec.model.position import alibi_slopes


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 96), (96, 48)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu_first", [True, False])
@pytest.mark.parametrize("way", ["plain", "copied", "onednn"])
def test_learned_product(
    dtype: torch.dtype,
    error: float,
    inputs: int,
    outputs: int,
    bias: bool,
    gelu_first: bool,
    way: str,
) -> None:
    if way == "onednn" and not (has_onednn() and onednn_multiplies(dtype)):
        pytest.skip("oneDNN does not multiply this dtype here")
    torch.manual_seed(0)
    x = torch.randn(2, 30, inputs).to(dtype).requires_grad_()
    weight = torch.randn(outputs, inputs).to(dtype).requires_grad_()
    offset = torch.randn(outputs).to(dtype).requires_grad_() if bias else None
    leaves = [leaf for leaf in (x, weight, offset) if leaf is not None]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    chosen = [way if way in ways else "plain" for ways in WAYS.values()]
    ours = LearnedProduct.apply(x, weight, offset, gelu_first, chosen)
    expected = F.linear(F.gelu(exact[0]) if gelu_first else exact[0], *exact[1:])
    grad = torch.randn(2, 30, outputs).to(dtype)
    ours.backward(grad)
    expected.backward(grad.double())
    pairs = [(ours, expected), *((leaf.grad, other.grad) for leaf, other in zip(leaves, exact, strict=True))]
    for mine, other in pairs:
        assert mine is not None and other is not None
        assert (mine.double() - other).norm() / other.norm() < error


def test_a_product_after_gelu_keeps_only_what_gelu_was_given() -> None:
    x, weight = torch.randn(3, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        product(x, weight, None, gelu_first=True)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr(), weight.data_ptr()]


@pytest.mark.parametrize("kind", list(WAYS))
@pytest.mark.parametrize("strided", [False, True])
def test_every_way_computes_the_same(kind: str, strided: bool) -> None:
    """Also of views: rows of a longer sequence, every second frame, and a kernel's slice, as the CNN has them."""
    torch.manual_seed(0)
    rows, inputs, outputs = 33, 40, 24
    x, grad = torch.randn(rows * 2, inputs), torch.randn(rows * 2, outputs)
    weight = torch.randn(outputs, inputs, 3)[:, :, 1]  # its columns are three apart
    x, grad = (x[::2], grad[::2]) if strided else (x[:rows], grad[:rows])
    weight = weight if strided else weight.contiguous()
    operands = {"forward": (x, weight), "input gradient": (grad, weight), "weight gradient": (grad, x)}[kind]
    first, second = (operand.double() for operand in operands)
    expected = {
        "forward": lambda: first @ second.t(),
        "input gradient": lambda: first @ second,
        "weight gradient": lambda: first.t() @ second,
    }[kind]()
    for name, way in WAYS[kind].items():
        if name != "onednn" or has_onednn():
            found = way(*operands)
            assert (found.double() - expected).norm() / expected.norm() < 1e-6, name


def test_every_forward_way_adds_the_bias_and_keeps_the_shape() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 12), torch.randn(7, 12), torch.randn(7)
    for name, way in FORWARD.items():
        if name != "onednn" or has_onednn():
            torch.testing.assert_close(way(x, weight, bias), F.linear(x, weight, bias), msg=name)


@pytest.mark.skipif(not has_onednn(), reason="this build of PyTorch has no oneDNN")
def test_onednn_never_gets_operands_that_it_has_no_fast_kernel_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight whose rows and columns are both strided goes to its reference kernel, hundreds of times slower."""
    monkeypatch.setenv("EMOTION2VEC_PRODUCTS", "onednn")
    layer = ConvLayer(8, 16, kernel=3, stride=2)
    x = torch.randn(2, 30, 8, requires_grad=True)
    with Operands() as seen:
        layer(x).sum().backward()
    assert len(seen.calls) == 6  # two blocks of the kernel, each with a product and two gradients
    assert all(operand.is_contiguous() for call in seen.calls for operand in call)


class Operands(TorchDispatchMode):
    """Notes what oneDNN is asked to multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func._schema.name == "mkldnn::_linear_pointwise":
            self.calls.append((args[0], args[1]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("special", [None, *WAYS])
def test_each_product_goes_the_way_that_was_chosen_for_it(special: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {kind: "onednn" if kind == special else "plain" for kind in WAYS}
    used: list[str] = []

    def noting(kind: str, name: str, way: Way) -> Way:
        return lambda *operands: used.append(f"{kind} {name}") or way(*operands)

    for attribute, kind in zip(("FORWARD", "INPUT_GRADIENT", "WEIGHT_GRADIENT"), WAYS, strict=True):
        noted = {name: noting(kind, name, WAYS[kind]["plain"]) for name in WAYS[kind]}
        monkeypatch.setattr(products, attribute, noted)
    monkeypatch.setattr(products, "choose", lambda kind, *_: chosen[kind])
    x, weight = torch.randn(3, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    ours = product(x, weight, None)
    found, expected = (torch.autograd.grad(y.sum(), [x, weight]) for y in (ours, x @ weight.t()))
    torch.testing.assert_close(found, expected)
    assert used == ([] if special is None else [f"{kind} {name}" for kind, name in chosen.items()])


def test_products_follow_autocast() -> None:
    weight = torch.randn(5, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(torch.randn(3, 8), weight, None).dtype == torch.bfloat16


def reference(qkv: torch.Tensor, alibi: Bias) -> torch.Tensor:
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    scores = q @ k.transpose(2, 3) / qkv.shape[-1] ** 0.5
    scores = scores - alibi.slopes.view(1, -1, 1, 1) * alibi.distance.unsqueeze(1)
    return (torch.softmax(scores, dim=-1) @ v).transpose(1, 2)


def sample(shared: bool = False) -> tuple[torch.Tensor, Bias]:
    torch.manual_seed(0)
    times = torch.rand(1 if shared else 2, 9, dtype=torch.float64) * 20
    distance = (times.unsqueeze(2) - times.unsqueeze(1)).abs()
    qkv = torch.randn(2, 9, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    return qkv, Bias(distance, torch.rand(5, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("scores", [1, 2 * 81, 10**6])  # one head at a time, two, all
def test_cached_attention_and_its_gradients(monkeypatch: pytest.MonkeyPatch, scores: int, shared: bool) -> None:
    monkeypatch.setattr(attention, "CACHED_SCORES", scores)
    qkv, alibi = sample(shared)
    grad = torch.randn(2, 9, 5, 4, dtype=torch.float64)
    expected = reference(qkv, alibi)
    other = attend(qkv.float(), Bias(alibi.distance.float(), alibi.slopes.float()), 0.0)
    wanted = torch.autograd.grad(expected, [qkv, alibi.slopes], grad)
    found = torch.autograd.grad(other, [qkv, alibi.slopes], grad.float())
    assert (other.double() - expected).norm() / expected.norm() < 1e-6
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.double() - theirs).norm() / theirs.norm() < 1e-5


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("distances", [True, False])
def test_nobody_sees_padding_with_gradients_or_without(distances: bool, learned: bool) -> None:
    """As if each sequence were alone; no gradient reaches keys and values of the padding."""
    qkv, alibi = sample()
    qkv, distance, slopes = qkv.detach().float(), alibi.distance.float(), alibi.slopes.detach().float()
    hidden = torch.arange(9).unsqueeze(0) >= torch.tensor([[9], [6]])
    qkv.requires_grad_(learned)
    bias = Bias(distance, slopes, hidden) if distances else Bias(hidden=hidden)
    with torch.set_grad_enabled(learned):
        found = attend(qkv, bias, 0.0)
    for row, length in ((0, 9), (1, 6)):
        near = distance[row : row + 1, :length, :length] if distances else torch.zeros(1, length, length)
        alone = reference(qkv[row : row + 1, :length], Bias(near, slopes))
        torch.testing.assert_close(found[row : row + 1, :length], alone, rtol=1e-5, atol=1e-6)
    if learned:
        (grad,) = torch.autograd.grad(found[:, :6].square().sum(), qkv)
        assert not grad[1, 6:].any() and grad[0, 6:, 1:].any() and grad[1, :6].any()


def test_dropped_attention_weights_stay_dropped_in_the_backward_pass() -> None:
    """With dropout the output is linear in the values, so its gradient must give the output back."""
    qkv, alibi = sample()
    qkv = qkv.detach().float().requires_grad_()
    slopes = alibi.slopes.detach().float()
    torch.manual_seed(3)
    out = CachedAttention.apply(qkv, alibi.distance.float(), slopes, 0.5)
    grad = torch.randn_like(out)
    (found,) = torch.autograd.grad(out, qkv, grad)
    values = qkv.detach()[:, :, 2]
    assert torch.isclose((found[:, :, 2] * values).sum(), (grad * out).sum(), rtol=1e-4)
    # Along the queries, against finite differences with the same weights dropped.
    step = torch.zeros_like(qkv)
    step[:, :, 0] = 1e-2 * torch.randn_like(values)
    sides = []
    for sign in (1, -1):
        torch.manual_seed(3)
        moved = CachedAttention.apply(qkv.detach() + sign * step, alibi.distance.float(), slopes, 0.5)
        sides.append((moved * grad).sum())
    assert torch.isclose((found * step).sum(), (sides[0] - sides[1]) / 2, rtol=2e-2)


def test_dropout_keeps_the_expected_share() -> None:
    qkv, alibi = torch.zeros(1, 64, 3, 2, 4), Bias(torch.zeros(1, 64, 64), torch.zeros(2))
    qkv[:, :, 2] = 1.0
    qkv.requires_grad_()
    torch.manual_seed(0)
    sums = attend(qkv, alibi, 0.25)  # of each row's kept weights, which are all 1 / (64 · 0.75)
    assert sums.mean().item() == pytest.approx(1.0, abs=0.01)
    assert sums.std().item() == pytest.approx((0.25 / 0.75 / 64) ** 0.5, rel=0.2)


def test_no_attention_weight_is_a_subnormal_number() -> None:
    """They would be multiplied many times slower; ALiBi makes them where it is steep."""
    q, k = torch.zeros(1, 128, 4), torch.zeros(1, 128, 4)
    distance = (torch.arange(128.0).unsqueeze(1) - torch.arange(128.0)).abs()
    plain = torch.softmax(-distance, dim=-1)
    assert ((plain > 0) & (plain < torch.finfo(torch.float32).tiny)).any()
    weights = attention._weights(q, k, distance, torch.ones(1))[0]
    assert weights[weights > 0].min() > 1e-20
    torch.testing.assert_close(weights, plain)


@pytest.mark.parametrize("length", [300, 1_500])
def test_a_rounded_bias_moves_less_than_rounded_queries_and_keys_do(length: int) -> None:
    """What `attend` does on a GPU without gradients, where the bias has the compute precision."""
    torch.manual_seed(0)
    times = torch.arange(length, dtype=torch.float32)
    bias = Bias((times[:, None] - times).abs()[None], alibi_slopes(12)).dense
    q, k, v = torch.randn(3, 1, 12, length, 64).bfloat16().unbind(0)

    def attended(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(queries, keys, v.to(queries.dtype), attn_mask=mask)

    exact = attended(q.float(), k.float(), bias)
    by_bias = (attended(q.float(), k.float(), bias.bfloat16().float()) - exact).abs()
    by_rounding = (attended(q, k, bias).float() - exact).abs()
    assert by_bias.mean() < 0.4 * by_rounding.mean() and by_bias.max() < by_rounding.max()
