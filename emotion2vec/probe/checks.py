"""Whether what is to be probed fits together: found before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.errors import ConfigError
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.probe.problem import HeadRecipe
from emotion2vec.tasks.targets import task_kind


def check_options(options: ProbeOptions, heads: Sequence[HeadRecipe]) -> None:
    """Raise one ConfigError with everything that is wrong about the combination of options."""
    if options.clips is None:
        faults = corpus_faults(options.corpus, options.targets, options.context)
    else:
        faults = _wanted_faults(options.targets, options.context)
    if not options.seeds:
        faults.append("seeds is empty, expected at least one number")
    if options.shots and task_kind(options.targets, options.context) != "classification":
        faults.append("shots are numbers of clips of each class, and no classes of clips are predicted")
    if min(options.shots, default=1) < 1 or len(set(options.shots)) < len(options.shots):
        faults.append(f"shots are {', '.join(map(str, options.shots))}, expected numbers from 1 on, each once")
    faults += frame_faults(heads, options.layer)
    faults += head_faults(heads, task_kind(options.targets, options.context))
    if faults:
        raise ConfigError("; ".join(faults))


def corpus_faults(corpus: CorpusOptions, targets: Sequence[str], context: int) -> list[str]:
    """What is wrong about a corpus, and what is wanted of it."""
    wanted = [f"targets {', '.join(targets)}"] * bool(targets) + ["a context"] * bool(context)
    return corpus.faults + corpus.lacking(wanted) + _wanted_faults(targets, context)


def _wanted_faults(targets: Sequence[str], context: int) -> list[str]:
    """What is wrong about targets and context, wherever clips come from."""
    faults = []
    if len(set(targets)) < len(targets):
        faults.append(f"targets are {', '.join(targets)}, expected each once")
    if targets and context:
        faults.append("targets and a context are given, expected one of them")
    if context < 0:
        faults.append(f"context is {context}, expected 0 or a number of turns")
    return faults


def head_faults(heads: Sequence[HeadRecipe], kind: str) -> list[str]:
    """Heads that cannot learn a task of this kind."""
    unfit = [head.name for head in heads if kind not in head.kinds]
    what = {
        "conversation": "is not for predicting the next turn of a conversation, expected dialogue",
        "regression": "predicts no values, expected ridge, linear, mlp, weighted, attention or gru",
        "classification": "predicts no classes of clips: ridge needs targets, dialogue a context",
    }
    return [f"head {', '.join(unfit)} {what[kind]}"] if unfit else []


def frame_faults(heads: Sequence[HeadRecipe], layer: int | str) -> list[str]:
    """Heads that need frames, where a layer gives none."""
    reading = [head.name for head in heads if head.needs == "frames"]
    if layer != "all" or not reading:
        return []
    return [f"layer is 'all', which gives no frames, and head {', '.join(reading)} reads frames"]
