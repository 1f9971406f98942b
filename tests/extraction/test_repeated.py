"""Calls by a model's name, again and again and at once: it is loaded and packed once, and its numbers stay."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extraction.helpers import speech, tiny_model

import emotion2vec
from emotion2vec.checkpoint import save_model
from emotion2vec.extraction.encode import ready


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The loads from now on."""
    found: list[Any] = []
    load = ready.load_model

    def counting(*args: Any, **options: Any) -> Any:
        found.append(args)
        return load(*args, **options)

    monkeypatch.setattr(ready, "load_model", counting)
    ready._opened.clear()
    ready._packed.clear()
    return found


def test_threads_that_ask_for_a_model_at_once_load_it_once(loads: list[Any]) -> None:
    clip = speech(16_000)
    expected = emotion2vec.load_model("compact").extract_features(clip, 16_000).frames
    results: list[np.ndarray] = []
    frames: list[Any] = []

    def call(number: int) -> None:
        results.append(emotion2vec.extract_features(clip, 16_000, model="compact").frames)
        frames.append(emotion2vec.predict(clip, 16_000, model="compact"))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1 and len(results) == len(frames) == 6
    for found in results:
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert all(frame.equals(frames[0]) for frame in frames)


def test_weights_are_packed_once_and_belong_to_the_model_that_is_there(
    loads: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs: list[torch.dtype | None] = []
    pack = ready.pack

    def counting(model: Any, dtype: torch.dtype | None) -> None:
        packs.append(dtype)
        pack(model, dtype)

    monkeypatch.setattr(ready, "pack", counting)
    clip, model = speech(16_000), tiny_model()
    save_model(tmp_path / "model", model.config, model.state_dict())
    first = [emotion2vec.extract_features(clip, 16_000, model=tmp_path / "model").frames for _ in range(3)]
    assert packs == [torch.float32] and len(loads) == 1
    np.testing.assert_allclose(first[2], model.extract_features(clip, 16_000).frames, atol=1e-4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    save_model(tmp_path / "model", model.config, model.state_dict())
    second = emotion2vec.extract_features(clip, 16_000, model=tmp_path / "model").frames
    assert packs == [torch.float32] * 2 and len(loads) == 2
    np.testing.assert_allclose(second, model.extract_features(clip, 16_000).frames, atol=1e-4)
    assert np.abs(second - first[0]).max() > 1e-3
