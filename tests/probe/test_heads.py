from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from probe.stand_in import task_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from emotion2vec.errors import ConfigError
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.frames import FrameBank
from emotion2vec.probe.heads import HEADS as HEADS_BY_NAME
from emotion2vec.probe.heads import LinearHead, LogisticRegressionHead, MlpHead, SequenceHead, WeightedHead, make_heads
from emotion2vec.probe.networks import FrameClassifier, Schedule, VectorClassifier, batch_order, train
from emotion2vec.probe.tasks import Head, Task, inner_splits, standardized

HEADS = [
    LinearHead(updates=300, lr=1e-3, validate_every=50),
    MlpHead(epochs=15, batch=16),
    LogisticRegressionHead(),
    WeightedHead(epochs=30, lr=1e-2),
    SequenceHead(name="attention", hidden=8, epochs=15, lr=1e-2),
    SequenceHead(name="gru", hidden=8, epochs=15, lr=1e-2),
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
def task() -> Task:
    return task_of(np.arange(120) % 3, outputs=3)


def predict(head: Head, table: FeatureTable, task: Task) -> np.ndarray:
    return head.predict(head.prepare(table, "cpu"), task).classes


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_learn_what_can_be_learned(head: Head, table: FeatureTable, task: Task) -> None:
    predicted = predict(head, table, task)
    assert predicted.shape == (40,)
    assert np.mean(predicted == task.labels[task.test]) > 0.9


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_cannot_learn_what_is_not_there(head: Head, table: FeatureTable, task: Task) -> None:
    labels = np.random.default_rng(1).permutation(task.labels)
    assert np.mean(predict(head, table, replace(task, labels=labels)) == labels[task.test]) < 0.6


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_never_see_the_labels_of_the_test(head: Head, table: FeatureTable, task: Task) -> None:
    spoiled = task.labels.copy()
    spoiled[task.test] = (spoiled[task.test] + 1) % 3
    np.testing.assert_array_equal(predict(head, table, task), predict(head, table, replace(task, labels=spoiled)))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_repeat_themselves_and_leave_the_random_state_alone(head: Head, table: FeatureTable, task: Task) -> None:
    before = torch.get_rng_state()
    first = predict(head, table, task)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    np.testing.assert_array_equal(predict(head, table, task), first)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("block", [10, 1000])
def test_network_is_the_papers_on_each_clip_alone(
    table: FeatureTable, task: Task, standardize: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion2vec.probe.frames.BLOCK_FRAMES", block)
    bank = FrameBank.of(table, "fp32", "cpu")
    shift, scale = bank.moments(task.train) if standardize else (0.0, 1.0)
    network = FrameClassifier(bank, shift, scale, hidden=8, outputs=3, seed=0)
    reference = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
    reference.load_state_dict({"0.weight": network.hidden.weight, "0.bias": network.hidden.bias})
    frames = table.frames
    assert frames is not None
    trained = frames[: table.lengths[:60].sum()].astype(np.float64)
    if standardize:
        frames = ((frames - trained.mean(0)) / trained.std(0)).astype(np.float32)
    else:
        frames = frames / np.float32(100)  # smaller than they are, for float32 to compare within
        network._gain, network._offset = network._gain / 100, network._offset / 100
    clips = [7, 100, 3]
    starts = np.cumsum(table.lengths) - table.lengths
    parts = [torch.from_numpy(frames[starts[i] : starts[i] + table.lengths[i]]) for i in clips]
    expected = network.output(torch.stack([reference(part).mean(dim=0) for part in parts]))
    found = network(torch.tensor(clips))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # The first layer holds the standardization, so its gradients must be those of standardized frames.
    expected.square().sum().backward()
    found.square().sum().backward()
    for ours, theirs in ((network.hidden.weight, reference[0].weight), (network.hidden.bias, reference[0].bias)):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_linear_head_is_two_layers(table: FeatureTable) -> None:
    vectors = torch.from_numpy(standardized(table.vectors, np.arange(60)))
    network = VectorClassifier(vectors, hidden=8, outputs=3, seed=0)
    reference = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    reference.load_state_dict(
        {f"{i}.{k}": v for i, m in enumerate(network.children()) for k, v in m.state_dict().items()}
    )
    found, expected = network(torch.arange(10)), reference(vectors[:10])
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


class Scripted:
    """In place of an optimizer: after update n the network answers class n mod 3, whatever it hears."""

    def __init__(self, network: FrameClassifier):
        self.network = network
        self.updates = 0

    def zero_grad(self) -> None:
        pass

    def step(self) -> None:
        self.updates += 1
        self.network.output.bias.data = 1e6 * nn.functional.one_hot(torch.tensor(self.updates % 3), 3).float()


@pytest.mark.parametrize(("truth", "validated", "answer"), [(0, [2, 4, 5], 2), (1, [2, 4], 1), (2, [2], 2)])
def test_the_weights_best_on_validation_predict_the_test(
    table: FeatureTable, task: Task, truth: int, validated: list[int], answer: int
) -> None:
    """The network answers 2, 1 and 2 when it is validated: all wrong keeps the first, all right ends the training."""
    labels = task.labels.copy()
    labels[task.valid] = truth
    task = replace(task, labels=labels)
    network = FrameClassifier(FrameBank.of(table, "fp32", "cpu"), 0.0, 1.0, hidden=8, outputs=3, seed=0)
    optimizer, seen = Scripted(network), []
    schedule = Schedule(
        batches=batch_order(task.train, 20, seed=0),
        updates=5,
        validate_every=2,
        after_validation=lambda: seen.append(optimizer.updates),
    )
    assert train(network, task, optimizer, schedule).classes.tolist() == [answer] * len(task.test)
    assert seen == validated


def test_patience_counts_validations_without_a_better_one(table: FeatureTable, task: Task) -> None:
    labels = task.labels.copy()
    labels[task.valid] = np.r_[[2] * 11, [1] * 9]
    task = replace(task, labels=labels)
    network = FrameClassifier(FrameBank.of(table, "fp32", "cpu"), 0.0, 1.0, hidden=8, outputs=3, seed=0)
    optimizer = Scripted(network)
    schedule = Schedule(batches=batch_order(task.train, 20, seed=0), updates=50, validate_every=1, patience=4)
    assert set(train(network, task, optimizer, schedule).classes) == {2}
    assert optimizer.updates == 6  # best at update 2, then four without a better one


@pytest.mark.parametrize(
    ("named", "usual"),
    [("mlp-paper", MlpHead(precision="fp32")), ("linear-superb", LinearHead(clip_norm=1.0))],
)
def test_published_protocols_never_standardize(named: str, usual: Head, table: FeatureTable, task: Task) -> None:
    short = {"epochs": 3} if named == "mlp-paper" else {"updates": 60, "validate_every": 20}
    head, usual = replace(HEADS_BY_NAME[named], **short), replace(usual, **short)
    assert head.name == named and head.lr == usual.lr and head.batch == usual.batch
    data = head.prepare(table, "cpu")
    published = head.predict(data, task).scores
    np.testing.assert_array_equal(published, usual.predict(data, replace(task, standardize=False)).scores)
    assert np.abs(published - usual.predict(data, task).scores).max() > 0.01


def test_momentum_cycles_against_the_learning_rate(
    table: FeatureTable, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.RMSprop.step

    def watched(self: torch.optim.RMSprop, *rest: object) -> object:
        (group,) = self.param_groups
        seen.append((group["lr"], group["momentum"]))
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.RMSprop, "step", watched)
    labels = np.random.default_rng(0).permutation(task.labels)  # nothing ends training early
    head = MlpHead(epochs=9, batch=60, cycle_epochs=4, momentum=0.5, momentum_dip=0.2)
    head.predict(head.prepare(table, "cpu"), replace(task, labels=labels))
    rates, momenta = zip(*seen, strict=True)
    assert rates == pytest.approx([5e-4 + 1.25e-4 * n for n in (0, 1, 2, 3, 4, 3, 2, 1, 0)])
    assert momenta == pytest.approx([0.5 - 0.05 * n for n in (0, 1, 2, 3, 4, 3, 2, 1, 0)])


def test_gradients_are_clipped_where_that_is_asked_for(table: FeatureTable, task: Task) -> None:
    norms = {}
    for limit in (None, 1e-3):
        torch.manual_seed(0)
        network = VectorClassifier(torch.from_numpy(table.vectors), hidden=8, outputs=3, seed=0)
        schedule = Schedule(batch_order(task.train, 20, seed=0), updates=1, validate_every=1, clip_norm=limit)
        train(network, task, torch.optim.SGD(network.parameters(), lr=0.0), schedule)
        norms[limit] = sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None) ** 0.5
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3) and norms[None] > 0.1


def test_bfloat16_is_near(table: FeatureTable, task: Task) -> None:
    plain = predict(MlpHead(epochs=5, precision="fp32"), table, task)
    assert np.mean(predict(MlpHead(epochs=5, precision="bf16"), table, task) == plain) > 0.9
    with pytest.raises(ConfigError, match="'fp16', expected auto, fp32 or bf16"):
        MlpHead(precision="fp16")


def test_bfloat16_gradients_are_near(table: FeatureTable) -> None:
    grads = []
    for precision in ("fp32", "bf16"):
        network = FrameClassifier(FrameBank.of(table, precision, "cpu"), 0.0, 1.0, hidden=8, outputs=3, seed=0)
        nn.functional.cross_entropy(network(torch.arange(30)), torch.arange(30) % 3).backward()
        grads.append([parameter.grad for parameter in network.parameters()])
    for plain, rounded in zip(*grads, strict=True):
        assert (rounded - plain).norm() < 0.02 * plain.norm()


def test_moments_are_those_of_the_chosen_clips() -> None:
    rows = (np.random.default_rng(0).standard_normal((12, 3)) * [1, 100, 0] + [5, 0, 2]).astype(np.float32)
    lengths = np.array([2, 3, 3, 4])
    bank = FrameBank.of(FeatureTable(vectors=rows[:4], frames=rows, lengths=lengths, failures={}), "fp32", "cpu")
    mean, std = bank.moments(np.array([1, 3]))
    chosen = np.concatenate([rows[2:5], rows[8:12]]).astype(np.float64)
    np.testing.assert_allclose(mean, chosen.mean(0))
    np.testing.assert_allclose(std, [*chosen[:, :2].std(0), 1.0])  # a constant channel is only shifted
    np.testing.assert_allclose(bank.rows[:, :3].numpy() * bank.scale + bank.shift, rows, rtol=1e-5, atol=1e-4)


def test_batches_cover_every_clip_once_an_epoch() -> None:
    batches = batch_order(np.arange(100, 110), 4, seed=0)
    epochs = [np.concatenate([next(batches) for _ in range(3)]) for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(100, 110))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


def test_logreg_chooses_c_by_whole_training_speakers(task: Task) -> None:
    splits = inner_splits(task, np.concatenate([task.train, task.valid]), folds=5)
    assert len(splits) == 4  # speakers 0 to 3 are not in the test
    assert task.speakers is not None
    for fitted, held in splits:
        assert not set(task.speakers[fitted]) & set(task.speakers[held])
        assert not set(task.test) & {*fitted, *held}


def test_logreg_is_scikit_learns(table: FeatureTable, task: Task) -> None:
    rows = np.arange(80)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-6)).fit(table.vectors[rows], rows % 3)
    head = LogisticRegressionHead(grid=(0.1,), tolerance=1e-6)
    np.testing.assert_array_equal(predict(head, table, task), pipeline.predict(table.vectors[task.test]))
    accuracy = head._path(table.vectors, task, task.train, task.valid)
    fitted = pipeline.fit(table.vectors[task.train], task.labels[task.train])
    assert accuracy == [pytest.approx(fitted.score(table.vectors[task.valid], task.labels[task.valid]))]


def test_heads_by_name() -> None:
    own = MlpHead(epochs=3)
    assert [head.name for head in make_heads(["logreg", own, "linear"])] == ["logreg", "mlp", "linear"]
    with pytest.raises(ConfigError, match="'svm', 'knn', expected one of linear, mlp, logreg"):
        make_heads(["svm", "mlp", "knn"])
    with pytest.raises(ConfigError, match="empty"):
        make_heads([])
