"""One model whose weights are the mean of several models' weights.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time". The mean makes sense of models that were fine-tuned from the same one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion2vec.checkpoint.native import description, save_model
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.files import check_folder_name
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.settings import to_dict


def average(models: Sequence[str | Path], output: str | Path, weights: Sequence[float] = ()) -> None:
    """Write a model folder with the mean of models' weights, computed in float64.

    Args:
        models: whatever `load_model` takes, of the same dimensions, head and labels; at least two.
        output: a new folder.
        weights: what each counts, in proportion; empty for alike.

    Raises:
        ConfigError: there is a single model, something at `output`, or other weights than models.
        CheckpointError: a model cannot be read, or is of other dimensions or labels than the first.
    """
    shares = _shares(len(models), weights)
    output = Path(output)
    check_folder_name(output, "output", "a model")
    if output.exists():
        raise ConfigError(f"output {output}: is there already, expected a new folder")
    first = load_model(models[0])
    total = {name: shares[0] * value.double() for name, value in first.state_dict().items()}
    heard = first.heard
    for name, share in zip(models[1:], shares[1:], strict=True):
        other = load_model(name)
        _check_alike(str(models[0]), first, str(name), other)
        for key, value in other.state_dict().items():
            total[key] += share * value.double()
        known = other.heard
        heard = None if heard is None or known is None else heard.with_more(known.audio.tolist(), known.labels.tolist())
    save_model(output, first.config, _like(first, total), heard=heard, **_head(first))


def _shares(count: int, weights: Sequence[float]) -> list[float]:
    """What each of so many models counts, 1 in all.

    Raises:
        ConfigError: there are too few models, or the weights are not theirs.
    """
    if count < 2:
        raise ConfigError(f"{count} model to average, expected at least 2")
    given = list(weights) or [1.0] * count
    if len(given) != count:
        raise ConfigError(f"weights are {len(given)} numbers for {count} models, expected one for each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not sum(given):
        shown = ", ".join(f"{weight:g}" for weight in given)
        raise ConfigError(f"weights are {shown}, expected numbers from 0 on, not all of them 0")
    return [weight / sum(given) for weight in given]


def _check_alike(first_name: str, first: SpeechEncoder, other_name: str, other: SpeechEncoder) -> None:
    """Check that two models can be averaged.

    Raises:
        CheckpointError: they differ in dimensions, labels or head.
    """
    one, two = (_facts(model) for model in (first, other))
    for key in one | two:  # labels first
        if one.get(key) != two.get(key):
            found, expected = (facts.get(key, "not there") for facts in (two, one))
            raise CheckpointError(
                f"{other_name}: {key} is {found}, expected {expected} as of {first_name}; only models that are alike "
                "can be averaged (predict --model A --model B averages probabilities)"
            )


def _facts(model: SpeechEncoder) -> dict[str, Any]:
    """What must be equal in all models: dimensions, labels in their order, head, and the sizes of tensors."""
    labels, head = ((), None) if model.head is None else (model.head.labels, model.head.config)
    content = description(model.config, labels, head)
    facts: dict[str, Any] = {"labels": ", ".join(labels) or "none"}
    for one in model.further_heads():
        facts |= {f"labels of {one.target}": ", ".join(one.labels), f"head of {one.target}": to_dict(one.config)}
    for section in ("model", "foreign", "head"):
        facts |= {f"{section} {key}": value for key, value in content.get(section, {}).items()}
    return facts | {f"size of {name}": list(value.shape) for name, value in model.state_dict().items()}


def _like(model: SpeechEncoder, total: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means in the dtypes of a model's tensors, whole numbers rounded."""
    own = model.state_dict()
    return {
        name: (value if own[name].is_floating_point() else torch.round(value)).to(own[name].dtype)
        for name, value in total.items()
    }


def _head(model: SpeechEncoder) -> dict[str, Any]:
    """What `save_model` needs to know of a model's heads."""
    if model.head is None:
        return {}
    return {"labels": model.head.labels, "head": model.head.config, "further": model.further_heads()}
