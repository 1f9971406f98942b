"""A model of all clips: how long it learns, held-out speakers have said before.

Speakers who choose a checkpoint do not teach it, which costs most where there are few. With `validation.refit` a first
model is trained and chosen as usual, in the folder `chosen`, and then the run's own begins anew: it learns from all
clips, for as many updates as the chosen one had, and takes over its temperature. The scores of the held-out clips are
those of the first model, which did not know them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.checkpoint.native import CONFIG_FILE
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.finetune.config import FinetuneConfig, chooser
from emotion2vec.finetune.fitting import fit, fit_all
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.result import FACTS, check_same, publish_again
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.stages.run import learn_in_stages
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.trainer import FitResult


def learn(
    config: FinetuneConfig,
    corpus: Corpus,
    split: Split,
    *,
    say: Callable[[str], None],
    rows: KeptRows,
    on_progress: ProgressCallback | None = None,
) -> FitResult:
    """Train one model, or several one after the other where the configuration says so; see `fitting.fit`."""
    if config.gmp.enabled:
        return learn_in_stages(config, corpus, split, say=say, on_progress=on_progress)
    if not config.validation.refit:
        return fit(config, corpus, split, say=say, rows=rows, on_progress=on_progress)
    first = chooser(config)
    if not _is_chosen(first):
        say("a first model says how long to learn")
        result = fit(first, corpus, split, say=say, rows=rows, on_progress=on_progress)
        if result.signal is not None:
            return result
    chosen: dict[str, Any] = json.loads((Path(first.run.dir) / FACTS).read_text(encoding="utf-8"))
    clips = np.union1d(split.train, split.valid)
    say(f"now all {len(clips)} clips teach, for {chosen['update']} updates")
    last = chosen["update"]
    result = fit_all(config, corpus, clips, say=say, rows=rows, last=last, on_progress=on_progress)
    if result.signal is None:
        publish_again(RunFolder(config), chosen, say)
    return result


def _is_chosen(config: FinetuneConfig) -> bool:
    """Whether the first model is there.

    Raises:
        ConfigError: it is of other settings.
    """
    if config.run.extend or not (Path(config.run.dir) / CONFIG_FILE).is_file():
        return False
    check_same(config)
    return True
