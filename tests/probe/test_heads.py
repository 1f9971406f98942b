from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from emotion2vec.errors import ConfigError
from emotion2vec.probe.heads import LinearHead, LogisticRegressionHead, MlpHead, Task, make_heads
from emotion2vec.probe.networks import PooledClassifier, Segments, batch_order, moments, train
from emotion2vec.probe.store import FeatureTable

HEADS = [LinearHead(updates=300, lr=1e-3, validate_every=50), MlpHead(epochs=15, batch=16), LogisticRegressionHead()]


@pytest.fixture
def task() -> Task:
    """Three classes as clouds in six channels, in frames of clips by six speakers; channel 0 has a scale of its own."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    lengths = random.integers(3, 9, 120)
    centers = random.standard_normal((3, 6)) * 2
    frames = np.repeat(centers[labels], lengths, axis=0) + random.standard_normal((lengths.sum(), 6))
    frames[:, 0] = 1000 + 1000 * frames[:, 0]
    starts = np.cumsum(lengths) - lengths
    table = FeatureTable(
        vectors=(np.add.reduceat(frames, starts) / lengths[:, None]).astype(np.float32),
        frames=frames.astype(np.float32),
        lengths=lengths,
        failures={},
    )
    rows = np.arange(120)
    return Task(
        table=table,
        labels=labels,
        classes=3,
        speakers=rows // 20,
        train=rows[:60],
        valid=rows[60:80],
        test=rows[80:],
        standardize=True,
        seed=0,
        device="cpu",
    )


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_learn_what_can_be_learned(head: LinearHead, task: Task) -> None:
    predicted = head.predict(task)
    assert predicted.shape == (40,)
    assert np.mean(predicted == task.labels[task.test]) > 0.9


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_cannot_learn_what_is_not_there(head: LinearHead, task: Task) -> None:
    labels = np.random.default_rng(1).permutation(task.labels)
    assert np.mean(head.predict(replace(task, labels=labels)) == labels[task.test]) < 0.6


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_never_see_the_labels_of_the_test(head: LinearHead, task: Task) -> None:
    spoiled = task.labels.copy()
    spoiled[task.test] = (spoiled[task.test] + 1) % 3
    np.testing.assert_array_equal(head.predict(task), head.predict(replace(task, labels=spoiled)))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_repeat_themselves_and_leave_the_random_state_alone(head: LinearHead, task: Task) -> None:
    before = torch.get_rng_state()
    first = head.predict(task)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    np.testing.assert_array_equal(head.predict(task), first)


@pytest.mark.parametrize("standardize", [True, False])
def test_network_is_the_papers_on_each_clip_alone(task: Task, standardize: bool) -> None:
    task = replace(task, standardize=standardize)
    data = Segments.of_frames(task, torch.float32)
    network = PooledClassifier(data, hidden=8, classes=3, relu=True, seed=0)
    reference = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
    reference.load_state_dict({"0.weight": network.hidden.weight, "0.bias": network.hidden.bias})
    frames = task.table.frames
    assert frames is not None
    trained = frames[: task.table.lengths[:60].sum()].astype(np.float64)
    if standardize:
        frames = ((frames - trained.mean(0)) / trained.std(0)).astype(np.float32)
    clips = [7, 100, 3]
    starts = np.cumsum(task.table.lengths) - task.table.lengths
    parts = [torch.from_numpy(frames[starts[i] : starts[i] + task.table.lengths[i]]) for i in clips]
    expected = network.output(torch.stack([reference(part).mean(dim=0) for part in parts]))
    found = network(data, torch.tensor(clips))
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, expected, **tolerance)
    # The first layer holds the standardization, so its gradients must be those of standardized frames.
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(network.hidden.weight.grad, reference[0].weight.grad, rtol=1e-3, atol=1e-3)


def test_linear_head_commutes_with_the_mean(task: Task) -> None:
    on_vectors, on_frames = Segments.of_vectors(task), Segments.of_frames(task, torch.float32)
    on_frames = replace(on_frames, shift=on_vectors.shift, scale=on_vectors.scale)
    network = PooledClassifier(on_vectors, hidden=8, classes=3, relu=False, seed=0)
    clips = torch.arange(10)
    torch.testing.assert_close(network(on_frames, clips), network(on_vectors, clips), rtol=1e-3, atol=1e-3)


class Scripted:
    """In place of an optimizer: after update n the network answers class n mod 3, whatever it hears."""

    def __init__(self, network: PooledClassifier):
        self.network = network
        self.updates = 0

    def zero_grad(self) -> None:
        pass

    def step(self) -> None:
        self.updates += 1
        self.network.output.bias.data = 1e6 * nn.functional.one_hot(torch.tensor(self.updates % 3), 3).float()


def test_the_weights_best_on_validation_predict_the_test(task: Task) -> None:
    labels = task.labels.copy()
    labels[task.valid] = 1
    task = replace(task, labels=labels)
    data = Segments.of_frames(task, torch.float32)
    network = PooledClassifier(data, hidden=8, classes=3, relu=True, seed=0)
    optimizer, epochs = Scripted(network), []
    batches = batch_order(task.train, 20, seed=0)
    found = train(network, data, task, optimizer, batches, 5, 2, lambda: epochs.append(optimizer.updates))
    assert epochs == [2, 4, 5]  # which answer 2, 1, 2
    assert found.tolist() == [1] * len(task.test)


def test_bfloat16_is_near(task: Task) -> None:
    plain = MlpHead(epochs=5).predict(task)
    assert np.mean(MlpHead(epochs=5, precision="bf16").predict(task) == plain) > 0.9
    with pytest.raises(ConfigError, match="'fp16', expected fp32 or bf16"):
        MlpHead(precision="fp16")


def test_moments_are_those_of_the_chosen_clips() -> None:
    rows = np.random.default_rng(0).standard_normal((12, 3)) * [1, 100, 0] + [5, 0, 2]
    mean, std = moments(rows, np.array([2, 8]), np.array([3, 4]))
    chosen = np.concatenate([rows[2:5], rows[8:12]])
    np.testing.assert_allclose(mean, chosen.mean(0))
    np.testing.assert_allclose(std, np.maximum(chosen.std(0), 1e-5))


def test_batches_cover_every_clip_once_an_epoch() -> None:
    batches = batch_order(np.arange(100, 110), 4, seed=0)
    epochs = [np.concatenate([next(batches) for _ in range(3)]) for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(100, 110))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


def test_logreg_chooses_c_by_whole_training_speakers(task: Task) -> None:
    splits = LogisticRegressionHead()._inner_splits(task, np.concatenate([task.train, task.valid]))
    assert len(splits) == 4  # speakers 0 to 3 are not in the test
    assert task.speakers is not None
    for fitted, held in splits:
        assert not set(task.speakers[fitted]) & set(task.speakers[held])
        assert not set(task.test) & {*fitted, *held}


def test_heads_by_name() -> None:
    own = MlpHead(epochs=3)
    assert [head.name for head in make_heads(["logreg", own, "linear"])] == ["logreg", "mlp", "linear"]
    with pytest.raises(ConfigError, match="'svm', 'knn', expected one of linear, mlp, logreg"):
        make_heads(["svm", "mlp", "knn"])
    with pytest.raises(ConfigError, match="empty"):
        make_heads([])
