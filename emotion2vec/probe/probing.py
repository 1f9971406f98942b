"""The probe: corpus and folds in, frozen features and heads through them, scores out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.conversations import Contexts
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import make_folds
from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.corpora.summary import Summary
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.corpora.validation import selection_fold
from emotion2vec.devices import choose_device
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.files import check_file_name, check_writable, write_json
from emotion2vec.probe.audit import audit
from emotion2vec.probe.evaluation import evaluate
from emotion2vec.probe.features.combined import CombinedFeatures
from emotion2vec.probe.features.extractor import Extractor
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.probe.features.stored.matching import StoredFeatures
from emotion2vec.probe.features.table import FeatureTable, check_texts, extract_table
from emotion2vec.probe.heads import make_heads
from emotion2vec.probe.knowledge import Knowledge
from emotion2vec.probe.problem import HeadRecipe
from emotion2vec.probe.request import Request, check_request
from emotion2vec.tasks.targets import Goal, check_tests, make_goal
from emotion2vec.version import PROBED_WITH, versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Scores of every feature under every head on the same folds.

    Attributes:
        about: dataset, counts, classes, fold scheme, settings, versions, files left out and warnings.
        results: one mapping per feature and head: `feature`, and what `evaluate` returns.
    """

    about: dict[str, Any]
    results: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: a single result stands at the top level, several under `results`."""
        if len(self.results) == 1:
            return {**self.about, **self.results[0]}
        return {**self.about, "results": self.results}


def probe(
    *,
    dataset: str | None = None,
    table: str | Path | None = None,
    emobox: str | Path | None = None,
    root: str | Path | None = None,
    clips: Corpus | None = None,
    targets: Sequence[str] = (),
    context: int = 0,
    features: Sequence[Any] = (),
    model: Any = None,
    folds: str = "speaker",
    heads: Sequence[str | HeadRecipe] = (),
    seeds: Sequence[int] = (0,),
    layer: int | str = "last",
    pooling: str | None = None,
    standardize: bool = True,
    select: bool = False,
    cache: str | Path | None = None,
    device: str | None = None,
    output: str | Path | None = None,
    progress: bool = False,
) -> ProbeResult:
    """Train heads on frozen features, fold by fold, and score them.

    Args:
        dataset: name of a corpus (`dataset_names`), with its folder in `root`; or give `table` or `emobox`, or `root`
            alone for a folder that has one folder per class.
        table: CSV or TSV of labelled clips; `root` is then where its paths start.
        emobox: a corpus's folder of EmoBox's metadata, with its audio in `root`.
        root: folder of the audio.
        clips: clips that were read already, in place of all these, such as several corpora joined (`join_corpora`).
        targets: values to predict in place of classes, such as arousal: of IEMOCAP and MSP-Podcast, or columns of the
            table.
        context: predict the emotion of a turn of a conversation from that many turns before it, the turn itself
            unheard; 0 recognizes what is heard.
        features: names such as `logmel` (see `make_extractor`), paths of models, or loaded models.
        model: one more feature: the path of a model, or a loaded one; `untrained` takes its shape.
        folds: fold scheme (see `make_folds`).
        heads: names (`HEADS`) or heads with settings of their own; by default `mlp`, or `dialogue` with a context.
        seeds: each gives other validation speakers, weights and batches; scores are means over seeds.
        layer: of networks: `last`, `mean`, `mean:n`, `all` or an index; the head `weighted` reads all.
        pooling: `mean` or `mean+std` over time for clip vectors; by default per feature.
        standardize: give neural heads standardized channels (statistics of the training clips). The published
            protocols do not, and nor do the heads `mlp-paper` and `linear-superb` in any case; but features of small or
            untrained networks and spectra have scales on which their learning rates fail, which would be a comparison
            of scales.
        select: score validation speakers in place of the folds' tests, to choose a checkpoint or a setting by (see
            `selection_fold`).
        cache: folder that keeps features between runs.
        device: where networks run; by default the GPU if there is one, else the CPU.
        output: JSON file to write.
        progress: show progress bars on stderr.

    Raises:
        ConfigError: names or combinations that are wrong.
        ManifestError: the corpus or table cannot be read, or none of its audio can.
        CheckpointError: a model cannot be loaded.
    """
    wanted = [*features, *([model] if model is not None else [])]
    chosen_heads = make_heads(heads or ["dialogue" if context else "mlp"])
    corpus = CorpusOptions(dataset=dataset, table=table, emobox=emobox, root=root)
    request = Request(corpus=corpus, targets=tuple(targets), context=context)
    check_request(request, clips, wanted, chosen_heads, seeds, layer)
    if output is not None:
        check_file_name(output, "output", [".json"])
        check_writable(output)
    device = str(choose_device(device))
    make = partial(make_extractor, model=model, pooling=pooling, device=device)
    extractors = [make(feature, layer=layer) for feature in wanted]  # all at once: a wrong name must not wait its turn
    clipset = request.read() if clips is None else request.checked_clips(clips)
    for extractor in extractors:
        if "text" in extractor.reads:
            check_texts(clipset.utterances, extractor.name)
    goal = make_goal(clipset, targets)
    splits = make_folds(clipset, folds)
    if select:
        splits = [selection_fold(clipset.utterances, splits)]
    contexts = None
    if context:
        contexts = Contexts.of(clipset, context)
        splits = contexts.restrict(splits)
    check_tests(goal, [len(fold.test) for fold in splits])
    audited = audit(clipset, splits, goal, cache)
    warnings = [*clipset.warnings, *(contexts.warnings(clipset, splits) if contexts else []), *audited["warnings"]]
    left_out = dict(clipset.left_out)
    known = Knowledge.of(clipset, splits)

    results = []
    for feature, extractor in zip(wanted, extractors, strict=True):
        tables = {"vectors": extractor, "frames": extractor}
        if any(head.needs == "layers" for head in chosen_heads):
            tables["layers"] = make(feature, layer="all")
        for needs, heads_of_kind in _by_need(chosen_heads):
            found = extract_table(
                clipset.utterances, tables[needs], frames=needs == "frames", cache=cache, progress=progress
            )
            left_out.update({clipset.utterances[i].file: reason for i, reason in found.failures.items()})
            for head in heads_of_kind:
                _check_table(clipset, tables[needs], found, head)
                scored = evaluate(
                    clipset,
                    found,
                    splits,
                    head,
                    goal,
                    contexts=contexts,
                    seeds=seeds,
                    standardize=standardize,
                    device=device,
                    progress=progress,
                )
                results.append({"feature": extractor.name, **scored, "transductive": known.by(extractor)})
        warnings += known.warnings(extractor)
    if left_out:
        warnings.append(f"{len(left_out)} files cannot be used and are left out: {examples(left_out)}")
    for warning in warnings:
        logger.warning("%s", warning)
    about = {
        **_about(clipset, folds, goal),
        "context": context,
        **({"conversation": contexts.facts} if contexts else {}),
        **({"selection": known.selection} if select else {}),
        **({"mapping": clipset.mapping} if clipset.mapping else {}),
        "complete": not left_out,
        "summary": clip_summary(clipset, left_out).to_dict(),
        "audit": audited,
        "settings": {"layer": layer, "pooling": pooling, "standardize": standardize, "seeds": list(seeds)},
        "device": device,
        "left_out": [{"file": file, "reason": reason} for file, reason in left_out.items()],
        "changes": [vars(change) for change in clipset.changes],
        "warnings": warnings,
        "versions": versions(*PROBED_WITH),
    }
    result = ProbeResult(about=about, results=results)
    if output is not None:
        write_json(Path(output), result.to_dict())
    return result


def clip_summary(clipset: Corpus, left_out: Mapping[str, str]) -> Summary:
    """Counts of a corpus's clips, and of the files that were left out, those that it could not find among them."""
    found = len(clipset.utterances) + len(clipset.left_out)
    summary = Summary(found, found - len(left_out))
    summary.leave_out(left_out.values())
    summary.change(clipset.changes)
    return summary


def _by_need(heads: Sequence[HeadRecipe]) -> list[tuple[str, list[HeadRecipe]]]:
    """Heads by what they read, so that one table at a time is in memory, in the order of their first."""
    needs = list(dict.fromkeys(head.needs for head in heads))
    return [(need, [head for head in heads if head.needs == need]) for need in needs]


def _check_table(clipset: Corpus, extractor: Extractor, found: FeatureTable, head: HeadRecipe) -> None:
    """Raise when a table cannot be probed: nothing was read, stored features are incomplete, or there are no layers."""
    parts = extractor.parts if isinstance(extractor, CombinedFeatures) else (extractor,)
    if any(isinstance(part, StoredFeatures) for part in parts) and found.failures:
        missing = examples(found.failures.values())
        raise ManifestError(f"{extractor.name}: features of {len(found.failures)} clips are missing: {missing}")
    if not found.usable.any():
        raise ManifestError(f"{clipset.root}: no clip can be read: {examples(found.failures.values())}")
    if head.needs == "layers" and found.layers < 2:
        raise ConfigError(f"head {head.name} weighs the layers of a network, and {extractor.name} has none")
    if head.needs == "frames" and found.frames is None:
        raise ConfigError(f"head {head.name} reads frames, and {extractor.name} has none")


def _about(clipset: Corpus, folds: str, goal: Goal) -> dict[str, Any]:
    about = {
        "dataset": clipset.name,
        "clips": len(clipset.utterances),
        "speakers": len({clip.speaker for clip in clipset.utterances} - {None}),
        "scheme": folds,
    }
    if goal.task == "regression":
        return {**about, "targets": goal.describe(np.arange(len(clipset.utterances)))}
    return {**about, "classes": list(clipset.classes), "clips_per_class": clipset.label_counts}
