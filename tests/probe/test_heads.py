from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from probe.stand_in import problem_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from emotion2vec.errors import ConfigError
from emotion2vec.model.heads import FrameMlp, MeanTwoLayers
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.heads import HEADS as HEADS_BY_NAME
from emotion2vec.probe.heads import (
    CosineHead,
    LinearHead,
    LogisticRegressionHead,
    MlpHead,
    SequenceHead,
    WeightedHead,
    make_heads,
)
from emotion2vec.probe.packed import FrameBank, mean_hidden
from emotion2vec.probe.problem import HeadRecipe, Problem, inner_splits
from emotion2vec.probe.training import Schedule, batch_order, train
from emotion2vec.tasks.scaling import Scaling

HEADS = [
    LinearHead(updates=300, lr=1e-3, validate_every=50),
    MlpHead(epochs=15, batch=16),
    LogisticRegressionHead(),
    WeightedHead(epochs=30, lr=1e-2),
    SequenceHead(name="attention", hidden=8, epochs=15, lr=1e-2),
    SequenceHead(name="statistics", hidden=8, epochs=15, lr=1e-2),
    SequenceHead(name="convolutions", hidden=8, epochs=15, lr=1e-2),
    SequenceHead(name="transformer", hidden=8, epochs=15, lr=1e-2),
    SequenceHead(name="gru", hidden=8, epochs=15, lr=1e-2),
    CosineHead(hidden=8, epochs=15, lr=1e-2),
]


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    """Three classes as clouds in six channels, in frames of clips by six speakers; channel 0 has a scale of its own."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    lengths = random.integers(3, 9, 120)
    centers = random.standard_normal((3, 6)) * 2
    frames = np.repeat(centers[labels], lengths, axis=0) + random.standard_normal((lengths.sum(), 6))
    frames[:, 0] = 1000 + 1000 * frames[:, 0]
    starts = np.cumsum(lengths) - lengths
    return FeatureTable(
        vectors=(np.add.reduceat(frames, starts) / lengths[:, None]).astype(np.float32),
        frames=frames.astype(np.float32),
        lengths=lengths,
        failures={},
    )


@pytest.fixture
def problem() -> Problem:
    return problem_of(np.arange(120) % 3, outputs=3)


def predict(head: HeadRecipe, table: FeatureTable, problem: Problem) -> np.ndarray:
    return head.fit(head.prepare(table, "cpu"), problem).classes


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_learn_what_can_be_learned(head: HeadRecipe, table: FeatureTable, problem: Problem) -> None:
    predicted = predict(head, table, problem)
    assert predicted.shape == (40,)
    assert np.mean(predicted == problem.labels[problem.test]) > 0.9


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_cannot_learn_what_is_not_there(head: HeadRecipe, table: FeatureTable, problem: Problem) -> None:
    labels = np.random.default_rng(1).permutation(problem.labels)
    assert np.mean(predict(head, table, replace(problem, labels=labels)) == labels[problem.test]) < 0.6


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_never_see_the_labels_of_the_test(head: HeadRecipe, table: FeatureTable, problem: Problem) -> None:
    spoiled = problem.labels.copy()
    spoiled[problem.test] = (spoiled[problem.test] + 1) % 3
    np.testing.assert_array_equal(predict(head, table, problem), predict(head, table, replace(problem, labels=spoiled)))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_repeat_themselves_and_leave_the_random_state_alone(
    head: HeadRecipe, table: FeatureTable, problem: Problem
) -> None:
    before = torch.get_rng_state()
    first = predict(head, table, problem)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    np.testing.assert_array_equal(predict(head, table, problem), first)


def packed(head: FrameMlp, bank: FrameBank, scaling: Scaling | None = None) -> Callable[[torch.Tensor], torch.Tensor]:
    """The fast path of the recipe `mlp`: scores of clips at some positions."""
    gain, offset = bank.standardization(scaling)
    return lambda clips: head.output(mean_hidden(head.hidden, bank, clips, gain, offset))


def frame_mlp() -> FrameMlp:
    return FrameMlp(6, 8, 3, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("block", [None, 10, 1000])
def test_packed_frames_give_the_heads_own_scores_and_gradients(
    table: FeatureTable, problem: Problem, standardize: bool, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:  # as on a GPU
        monkeypatch.setattr("emotion2vec.probe.packed.is_host", lambda device: False)
        monkeypatch.setattr("emotion2vec.probe.packed.BLOCK_FRAMES", block)
        monkeypatch.setattr("emotion2vec.probe.packed.GPU_BLOCK_FRAMES", block)
    assert table.frames is not None
    frames = table.frames if standardize else table.frames / np.float32(100)  # small, for float32 to compare within
    bank = FrameBank.of(replace(table, frames=frames), "fp32", "cpu")
    scaling = bank.scaling_over(problem.train) if standardize else None
    head, own = frame_mlp(), frame_mlp()
    if scaling is not None:
        own.standardize(scaling)
    clips = [7, 100, 3]
    ends = np.cumsum(table.lengths)
    parts = [torch.from_numpy(frames[ends[i] - table.lengths[i] : ends[i]]) for i in clips]
    padded = nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=1e4)  # (3, T, 6)
    padding = torch.arange(padded.shape[1]) >= torch.tensor([len(part) for part in parts]).unsqueeze(1)
    assert padding.any()
    expected, found = own(padded, padding), packed(head, bank, scaling)(torch.tensor(clips))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    expected.square().sum().backward()
    found.square().sum().backward()
    for ours, theirs in zip(head.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


class Scripted:
    """In place of an optimizer: after update n the network answers class n mod 3, whatever it hears."""

    def __init__(self, network: FrameMlp):
        self.network = network
        self.updates = 0

    def zero_grad(self) -> None:
        pass

    def step(self) -> None:
        self.updates += 1
        self.network.output.bias.data = 1e6 * nn.functional.one_hot(torch.tensor(self.updates % 3), 3).float()


@pytest.mark.parametrize(("truth", "validated", "answer"), [(0, [2, 4, 5], 2), (1, [2, 4], 1), (2, [2], 2)])
def test_the_weights_best_on_validation_predict_the_test(
    table: FeatureTable, problem: Problem, truth: int, validated: list[int], answer: int
) -> None:
    """The network answers 2, 1 and 2 when it is validated: all wrong keeps the first, all right ends the training."""
    labels = problem.labels.copy()
    labels[problem.valid] = truth
    problem = replace(problem, labels=labels)
    network = frame_mlp()
    optimizer, seen = Scripted(network), []
    schedule = Schedule(
        batches=batch_order(problem.train, 20, seed=0),
        updates=5,
        validate_every=2,
        after_validation=lambda: seen.append(optimizer.updates),
    )
    assert train(
        network, packed(network, FrameBank.of(table, "fp32", "cpu")), problem, optimizer, schedule
    ).classes.tolist() == [answer] * len(problem.test)
    assert seen == validated


def test_patience_counts_validations_without_a_better_one(table: FeatureTable, problem: Problem) -> None:
    labels = problem.labels.copy()
    labels[problem.valid] = np.r_[[2] * 11, [1] * 9]
    problem = replace(problem, labels=labels)
    network = frame_mlp()
    optimizer = Scripted(network)
    schedule = Schedule(batches=batch_order(problem.train, 20, seed=0), updates=50, validate_every=1, patience=4)
    assert set(
        train(network, packed(network, FrameBank.of(table, "fp32", "cpu")), problem, optimizer, schedule).classes
    ) == {2}
    assert optimizer.updates == 6  # best at update 2, then four without a better one


@pytest.mark.parametrize(
    ("named", "usual"),
    [("mlp-paper", MlpHead(precision="fp32")), ("linear-superb", LinearHead(clip_norm=1.0))],
)
def test_published_protocols_never_standardize(
    named: str, usual: HeadRecipe, table: FeatureTable, problem: Problem
) -> None:
    short = {"epochs": 3} if named == "mlp-paper" else {"updates": 60, "validate_every": 20}
    head, usual = replace(HEADS_BY_NAME[named], **short), replace(usual, **short)
    assert head.name == named and head.lr == usual.lr and head.batch == usual.batch
    data = head.prepare(table, "cpu")
    published = head.fit(data, problem).scores
    np.testing.assert_array_equal(published, usual.fit(data, replace(problem, standardize=False)).scores)
    assert np.abs(published - usual.fit(data, problem).scores).max() > 0.01


def test_momentum_cycles_against_the_learning_rate(
    table: FeatureTable, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.RMSprop.step

    def watched(self: torch.optim.RMSprop, *rest: object) -> object:
        (group,) = self.param_groups
        seen.append((group["lr"], group["momentum"]))
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.RMSprop, "step", watched)
    labels = np.random.default_rng(0).permutation(problem.labels)  # nothing ends training early
    head = MlpHead(epochs=9, batch=60, cycle_epochs=4, momentum=0.5, momentum_dip=0.2)
    head.fit(head.prepare(table, "cpu"), replace(problem, labels=labels))
    rates, momenta = zip(*seen, strict=True)
    assert rates == pytest.approx([5e-4 + 1.25e-4 * n for n in (0, 1, 2, 3, 4, 3, 2, 1, 0)])
    assert momenta == pytest.approx([0.5 - 0.05 * n for n in (0, 1, 2, 3, 4, 3, 2, 1, 0)])


def test_gradients_are_clipped_where_that_is_asked_for(table: FeatureTable, problem: Problem) -> None:
    norms = {}
    for limit in (None, 1e-3):
        torch.manual_seed(0)
        head, vectors = MeanTwoLayers(6, 8, 3, torch.Generator().manual_seed(0)), torch.from_numpy(table.vectors)
        schedule = Schedule(batch_order(problem.train, 20, seed=0), updates=1, validate_every=1, clip_norm=limit)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.0)
        train(head, lambda clips, h=head, v=vectors: h.of_pooled(v[clips]), problem, optimizer, schedule)
        norms[limit] = sum(float(p.grad.square().sum()) for p in head.parameters() if p.grad is not None) ** 0.5
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3) and norms[None] > 0.1


def test_bfloat16_is_near(table: FeatureTable, problem: Problem) -> None:
    plain = predict(MlpHead(epochs=5, precision="fp32"), table, problem)
    assert np.mean(predict(MlpHead(epochs=5, precision="bf16"), table, problem) == plain) > 0.9
    with pytest.raises(ConfigError, match="'fp16', expected auto, fp32 or bf16"):
        MlpHead(precision="fp16")


def test_bfloat16_gradients_are_near(table: FeatureTable) -> None:
    grads = []
    for precision in ("fp32", "bf16"):
        network = frame_mlp()
        scores = packed(network, FrameBank.of(table, precision, "cpu"))(torch.arange(30))
        nn.functional.cross_entropy(scores, torch.arange(30) % 3).backward()
        grads.append([parameter.grad for parameter in network.parameters()])
    for plain, rounded in zip(*grads, strict=True):
        assert (rounded - plain).norm() < 0.02 * plain.norm()


def test_moments_are_those_of_the_chosen_clips() -> None:
    rows = (np.random.default_rng(0).standard_normal((12, 3)) * [1, 100, 0] + [5, 0, 2]).astype(np.float32)
    lengths = np.array([2, 3, 3, 4])
    bank = FrameBank.of(FeatureTable(vectors=rows[:4], frames=rows, lengths=lengths, failures={}), "fp32", "cpu")
    scaling = bank.scaling_over(np.array([1, 3]))
    chosen = np.concatenate([rows[2:5], rows[8:12]]).astype(np.float64)
    np.testing.assert_allclose(scaling.shift, chosen.mean(0))
    np.testing.assert_allclose(scaling.scale, [*chosen[:, :2].std(0), 1.0])  # a constant channel is only shifted
    np.testing.assert_allclose(
        bank.rows[:, :3].numpy() * bank.scaling.scale + bank.scaling.shift, rows, rtol=1e-5, atol=1e-4
    )


def test_batches_cover_every_clip_once_an_epoch() -> None:
    batches = batch_order(np.arange(100, 110), 4, seed=0)
    epochs = [np.concatenate([next(batches) for _ in range(3)]) for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(100, 110))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


def test_logreg_chooses_c_by_whole_training_speakers(problem: Problem) -> None:
    splits = inner_splits(problem, np.concatenate([problem.train, problem.valid]), folds=5)
    assert len(splits) == 4  # speakers 0 to 3 are not in the test
    assert problem.speakers is not None
    for fitted, held in splits:
        assert not set(problem.speakers[fitted]) & set(problem.speakers[held])
        assert not set(problem.test) & {*fitted, *held}


def test_logreg_is_scikit_learns(table: FeatureTable, problem: Problem) -> None:
    rows = np.arange(80)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-6)).fit(table.vectors[rows], rows % 3)
    head = LogisticRegressionHead(grid=(0.1,), tolerance=1e-6)
    np.testing.assert_array_equal(predict(head, table, problem), pipeline.predict(table.vectors[problem.test]))
    accuracy = head._path(table.vectors, problem, problem.train, problem.valid)
    fitted = pipeline.fit(table.vectors[problem.train], problem.labels[problem.train])
    assert accuracy == [pytest.approx(fitted.score(table.vectors[problem.valid], problem.labels[problem.valid]))]


def test_heads_by_name() -> None:
    own = MlpHead(epochs=3)
    assert [head.name for head in make_heads(["logreg", own, "linear"])] == ["logreg", "mlp", "linear"]
    with pytest.raises(ConfigError, match="'svm', 'knn', expected one of linear, mlp, logreg"):
        make_heads(["svm", "mlp", "knn"])
    with pytest.raises(ConfigError, match="empty"):
        make_heads([])
