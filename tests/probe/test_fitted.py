"""What training leaves behind: heads that say of an encoder's frames what the fold's predictions say."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import tiny_config
from probe.stand_in import problem_of, write_tones
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import Head
from emotion2vec.probe import probe
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.probe.features.table import FeatureTable, extract_table
from emotion2vec.probe.heads import LinearHead, LogisticRegressionHead, MlpHead, SequenceHead, WeightedHead
from emotion2vec.probe.logreg import linear_head
from emotion2vec.probe.problem import Fitted, HeadRecipe, Problem
from emotion2vec.probe.ridge import RidgeHead

RECIPES = [
    LinearHead(updates=100, lr=1e-2, validate_every=25),
    MlpHead(epochs=10, batch=8),
    WeightedHead(epochs=10, lr=1e-2),
    SequenceHead(name="attention", hidden=8, epochs=10, lr=1e-2),
    SequenceHead(name="gru", hidden=8, epochs=10, lr=1e-2),
]


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("recipe", [*RECIPES, LogisticRegressionHead(), RidgeHead()], ids=lambda recipe: recipe.name)
def test_a_fitted_head_says_of_a_models_frames_what_was_predicted(
    tmp_path: Path, recipe: HeadRecipe, standardize: bool
) -> None:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model).eval()
    clips = read_table(write_tones(tmp_path)).utterances
    layers = recipe.needs == "layers"
    extractor = make_extractor(model, layer="all" if layers else "last", device="cpu")
    table = extract_table(clips, extractor, frames=recipe.needs == "frames")
    speakers = np.array([clip.speaker for clip in clips])
    labels = np.array([["high", "low"].index(clip.label) for clip in clips])
    problem = Problem(
        labels=np.stack([labels, -3.0 * labels], axis=1) + 5 if isinstance(recipe, RidgeHead) else labels,
        outputs=2,
        speakers=speakers,
        train=np.flatnonzero(np.isin(speakers, ["s0", "s1"])),
        valid=np.flatnonzero(speakers == "s2"),
        test=np.flatnonzero(speakers == "s3"),
        standardize=standardize,
        seed=0,
    )
    fitted = recipe.fit(recipe.prepare(table, "cpu"), problem)
    with torch.inference_mode():
        for place, expected in zip(problem.test, fitted.scores, strict=True):
            encoded = model(torch.from_numpy(normalize(load_audio(clips[place].path))).unsqueeze(0))
            read = torch.stack(encoded.layers, dim=1) if layers else encoded.frames  # (1, L, T, D) or (1, T, D)
            found = fitted.head(read)
            if isinstance(recipe, LogisticRegressionHead):
                found = found.softmax(dim=1)
            elif not problem.continuous:
                found = found.log_softmax(dim=1)
            np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("recipe", RECIPES[:2], ids=lambda recipe: recipe.name)
def test_heads_of_values_give_them_in_their_units(recipe: HeadRecipe) -> None:
    random = np.random.default_rng(0)
    frames = (5 + 3 * random.standard_normal((120, 4, 6))).astype(np.float32)
    table = FeatureTable(
        vectors=frames.mean(axis=1), frames=frames.reshape(-1, 6), lengths=np.full(120, 4), failures={}
    )
    problem = problem_of(100 + 20 * frames.mean(axis=1)[:, :2].astype(np.float64), outputs=2)
    fitted = recipe.fit(recipe.prepare(table, "cpu"), problem)
    found = fitted.head(torch.from_numpy(frames[problem.test]))
    np.testing.assert_allclose(found.numpy(), fitted.scores, rtol=1e-4)
    assert np.abs(found.numpy().mean() - problem.labels.mean()) < 20


@pytest.mark.parametrize("seen", [[0, 1], [1, 3], [0, 1, 2, 3], [0, 2, 3]])
def test_a_head_from_scikit_learns_logistic_regression(seen: list[int]) -> None:
    """Its softmax is `predict_proba`, and 0 for the classes of 4 that were not in training."""
    random = np.random.default_rng(0)
    labels = random.choice(seen, 80)
    rows = random.standard_normal((80, 5)) + labels[:, None] * [1, 0, -1, 0, 0.5]
    regression = LogisticRegression(C=0.3).fit(rows, labels)
    found = linear_head(regression, 4)(torch.from_numpy(rows).float().unsqueeze(1)).softmax(dim=1).numpy()
    np.testing.assert_allclose(found[:, seen], regression.predict_proba(rows), rtol=1e-3, atol=1e-6)
    assert (found[:, sorted({0, 1, 2, 3} - set(seen))] == 0).all()


def test_a_head_of_one_value_is_scikit_learns_ridge() -> None:
    random = np.random.default_rng(0)
    rows = (1000 + 50 * random.standard_normal((120, 5))).astype(np.float32)
    problem = problem_of(rows[:, :1].astype(np.float64) / 7 + random.standard_normal((120, 1)), outputs=1)
    head = RidgeHead(grid=(0.1,)).fit(rows, problem).head
    scaler = StandardScaler().fit(rows[:80])
    expected = Ridge(alpha=0.1 * 80).fit(scaler.transform(rows[:80]), problem.labels[:80])
    found = head(torch.from_numpy(rows[80:]).unsqueeze(1)).numpy()
    np.testing.assert_allclose(found[:, 0], np.ravel(expected.predict(scaler.transform(rows[80:]))), rtol=1e-5)


def test_a_probe_keeps_no_head_longer_than_its_scores_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All folds' heads of a wide feature and five seeds would be gigabytes."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # folds one after another
    made: list[weakref.ref[Head]] = []
    alive: list[int] = []

    class Watched(LogisticRegressionHead):
        def fit(self, data: np.ndarray, problem: Problem) -> Fitted:
            gc.collect()
            alive.append(sum(reference() is not None for reference in made))
            fitted = super().fit(data, problem)
            made.append(weakref.ref(fitted.head))
            return fitted

    probe(table=write_tones(tmp_path), features=["logmel"], heads=[Watched()])
    assert len(alive) == 4 and max(alive) <= 1
