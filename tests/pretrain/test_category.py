"""Labels in pretraining: the contrast by its formula, whoever has the utterances, and none where none is wanted."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from networks import TINY, tiny_config, waveforms
from training.helpers import finish, metrics, tensors

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Position
from emotion2vec.data.prepare import prepare
from emotion2vec.errors import ConfigError
from emotion2vec.pretrain.category import CategoryLoss
from emotion2vec.pretrain.config import load_config, without_effect
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.pretrain.run import pretrain

LABELS = ["happy", "joy", "", "sad", "Sadness", "", "happiness", "anger"]
NUMBERS = [1, 1, -1, 2, 2, -1, 1, 0]
"""Classes of these by their first letters: other forms of a word are one class."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of one second, two of them without a label."""
    folder = tmp_path_factory.mktemp("labelled")
    random = np.random.default_rng(0)
    lines = ["file,emotion"]
    for number, label in enumerate(LABELS):
        tone = np.sin(2 * np.pi * (100 + 60 * number) * np.arange(16_000) / 16_000)
        soundfile.write(folder / f"{number}.wav", 0.3 * tone + 0.05 * random.normal(size=16_000), 16_000)
        lines.append(f"{number}.wav,{label}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def settings(table: Path, folder: Path, *more: str) -> list[str]:
    own = [f"data.train={table}", f"run.dir={folder}", "log.every=1", "data.max_samples=16000", "data.buckets=1"]
    return [*TINY, *own, "optim.max_updates=3", "data.batch_seconds=8", *more]


def run(table: Path, folder: Path, *more: str) -> list[str]:
    said: list[str] = []
    pretrain(load_config(None, settings(table, folder, *more)), said.append)
    return said


def contrast(embedded: torch.Tensor, labels: list[int], temperature: float) -> float:
    """L_out of Khosla et al. (2020), pair by pair, of those that have a label."""
    rows = [(row / row.norm(), label) for row, label in zip(embedded.double(), labels, strict=True) if label >= 0]
    losses = []
    for i, (one, label) in enumerate(rows):
        others = [(float(one @ other) / temperature, also) for j, (other, also) in enumerate(rows) if j != i]
        whole = math.log(sum(math.exp(value) for value, _ in others))
        if partners := [value - whole for value, also in others if also == label]:
            losses.append(-sum(partners) / len(partners))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("kind", "tokens"), [("none", 0), ("global", 0), ("token", 1), ("chunk", 4)])
def test_the_loss_is_that_of_labelled_utterances_by_its_formula(kind: str, tokens: int) -> None:
    utterance = [f"loss.utterance={kind}", f"model.tokens={tokens}"]
    config = tiny_config(*utterance, "loss.category=2", "loss.category_temperature=0.5")
    pretrainer = Pretrainer(config)
    objective, plain = (Pretraining(one, pretrainer, torch.device("cpu")) for one in (config, tiny_config(*utterance)))
    assert objective.category is not None
    ids = [str(number) for number in range(8)]
    objective.category._numbers = {(0, name): number for name, number in zip(ids, NUMBERS, strict=True) if number >= 0}
    batch = MicroBatch(waveforms(8, 8000), ids, Position())
    output = pretrainer(*objective.inputs(batch, 1, 0))
    counts = objective.counts(batch)
    found = objective.loss(output, counts) - plain.loss(output, counts)
    expected = contrast(output.embedded.detach(), NUMBERS, 0.5)
    assert float(found.detach()) == pytest.approx(2 * expected, rel=1e-4)
    (gradient,) = torch.autograd.grad(found, output.embedded, retain_graph=True)
    unlabelled = torch.tensor(NUMBERS) < 0
    assert (gradient[unlabelled] == 0).all() and (gradient[~unlabelled] != 0).any(dim=1).all()
    named = objective.metrics(objective.sums([output]), counts)
    assert float(named["category_loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(named["loss"]) == pytest.approx(float(objective.loss(output, counts).detach()), rel=1e-5)
    validated = objective.inputs(batch, 0, 0)
    assert len(validated) == 3 and "category_loss" not in objective.metrics(objective.sums([output]), counts)


def test_an_update_is_the_same_however_it_is_shared_out(table: Path, tmp_path: Path) -> None:
    """Whole, in four parts, and on two processes with two parts each."""
    more = ["loss.category=1", "loss.category_temperature=0.5"]
    run(table, tmp_path / "one", *more)
    said = run(table, tmp_path / "parts", *more, "data.batch_seconds=2", "optim.accumulate=4")
    assert "loss.category: 6 of 8 utterances have a label: anger 1, happiness 3, sadness 2" in said
    two = settings(table, tmp_path / "two", *more, "data.batch_seconds=2", "optim.accumulate=2")
    finish(two, tmp_path / "two.log", ranks=2)
    expected = tensors(tmp_path / "one", 3)
    for name in ("parts", "two"):
        found = tensors(tmp_path / name, 3)
        for key in (key for key in expected if not key.startswith("optimizer.")):
            torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=2e-6)
        for line, other in zip(metrics(tmp_path / name), metrics(tmp_path / "one"), strict=True):
            watched = ("loss", "category_loss", "frame_loss", "grad_norm")
            assert [line[key] for key in watched] == pytest.approx([other[key] for key in watched], rel=1e-4)
    assert metrics(tmp_path / "one")[0]["category_loss"] > 0
    for name in ("one", "parts", "two"):
        heard = load_model(tmp_path / name).heard
        assert heard is not None and (len(heard.audio), len(heard.labels)) == (8, 6)


def test_without_a_weight_labels_change_nothing(table: Path, tmp_path: Path) -> None:
    bare = table.parent / "bare.csv"
    bare.write_text("file,speaker\n" + "".join(f"{number}.wav,x\n" for number in range(8)))
    run(table, tmp_path / "labels")
    run(bare, tmp_path / "none")
    run(table, tmp_path / "weight", "loss.category=1")
    plain, same, other = (tensors(tmp_path / name, 3) for name in ("none", "labels", "weight"))
    students = [key for key in plain if "student" in key]
    assert students and all(torch.equal(plain[key], same[key]) for key in students)
    assert any(not torch.equal(plain[key], other[key]) for key in students)
    with pytest.raises(ConfigError, match=r"loss\.category is 1, and 0 have a label of the 8 utterances.*0 classes"):
        run(bare, tmp_path / "refused", "loss.category=1")


def test_sources_that_call_theirs_alike_have_their_own_labels(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list with the words the other way round, and a prepared corpus, which has none."""
    turned = dict(zip(LABELS, reversed(LABELS), strict=True))
    shutil.copytree(table.parent, tmp_path / "turned")
    rows = [f"{number}.wav,{turned[label]}" for number, label in enumerate(LABELS)]
    (tmp_path / "turned" / "list.csv").write_text("\n".join(["file,emotion", *rows]) + "\n")
    prepare(table, tmp_path / "prepared", workers=1)
    train = f"[{table},{tmp_path / 'turned' / 'list.csv'},{tmp_path / 'prepared'}]"
    labels, seen = CategoryLoss.labels, set[tuple[int, str, int]]()

    def noted(self: CategoryLoss, batch: MicroBatch) -> torch.Tensor:
        found = labels(self, batch)
        seen.update(zip(batch.sources, batch.ids, found.tolist(), strict=True))
        return found

    monkeypatch.setattr(CategoryLoss, "labels", noted)
    said = run(table, tmp_path / "run", "loss.category=1", f"data.train={train}", "data.weights=[1,2,1]")
    assert any(line.startswith("loss.category: 12 of 24 utterances") for line in said)
    number = {label: place for label, place in zip(LABELS, NUMBERS, strict=True)}
    expected = {
        *((1, str(n), number[label]) for n, label in enumerate(LABELS)),
        *((2, str(n), number[turned[label]]) for n, label in enumerate(LABELS)),
        *((0, str(n), -1) for n in range(8)),
    }
    assert seen <= expected and {source for source, _, _ in seen} == {0, 1, 2}


def test_a_run_with_labels_goes_on_as_if_it_had_not_stopped(table: Path, tmp_path: Path) -> None:
    more = ["loss.category=1", "data.batch_seconds=4", "optim.accumulate=2", "checkpoint.every=1"]
    run(table, tmp_path / "whole", *more)
    parts = settings(table, tmp_path / "parts", *more)
    seen: list[object] = []

    def stop(progress: object) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pretrain(load_config(None, parts), lambda text: None, stop)
    pretrain(load_config(None, parts), lambda text: None)
    ours, expected = tensors(tmp_path / "parts", 3), tensors(tmp_path / "whole", 3)
    assert ours.keys() == expected.keys() and all(torch.equal(ours[key], expected[key]) for key in expected)


def test_a_temperature_without_weight_is_told() -> None:
    assert any("category_temperature" in text for text in without_effect(tiny_config("loss.category_temperature=0.5")))
    assert not any("category" in text for text in without_effect(tiny_config("loss.category=1")))
