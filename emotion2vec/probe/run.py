"""The probe: corpus and folds in, frozen features and heads through them, scores out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.corpora.faults import examples, files_left_out
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.devices import choose_device
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.files import check_file_name, check_folder_name, check_writable, write_json
from emotion2vec.probe.about import about
from emotion2vec.probe.checks import check_options
from emotion2vec.probe.corpus import ProbedCorpus, prepare_corpus, read_wanted, wanted_clips
from emotion2vec.probe.evaluation import evaluate
from emotion2vec.probe.features.combined import CombinedFeatures
from emotion2vec.probe.features.extractor import Extractor
from emotion2vec.probe.features.layers import check_layer, check_pooling
from emotion2vec.probe.features.names import OpenedFeature, open_feature
from emotion2vec.probe.features.stored.matching import StoredFeatures
from emotion2vec.probe.features.table import FeatureTable, check_texts, extract_table
from emotion2vec.probe.heads import make_heads
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.probe.problem import HeadRecipe
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.saving import check_held_out, check_saving, model_of, save_probed
from emotion2vec.settings import from_keywords
from emotion2vec.units import counted

logger = logging.getLogger(__name__)


def probe(**options: Any) -> ProbeResult:
    """Train heads on frozen features, fold by fold, and score them.

    Args:
        **options: by the names that they have in `ProbeOptions` and `CorpusOptions`.

    Raises:
        ConfigError: names or combinations that are wrong.
        ManifestError: the corpus or table cannot be read, or none of its audio can.
        CheckpointError: a model cannot be loaded.
    """
    return run_probe(from_keywords(ProbeOptions, options))


def run_probe(options: ProbeOptions) -> ProbeResult:
    """Do what `probe` is asked for."""
    wanted = [*options.features, *([options.model] if options.model is not None else [])] or [DEFAULT_MODEL]
    heads = make_heads(options.heads or ["dialogue" if options.context else "mlp"])
    check_options(options, heads)
    if options.save_model is not None:
        check_folder_name(options.save_model, "save_model", "a model")
        check_saving(options, wanted, heads)
    if options.output is not None:
        check_file_name(options.output, "output", [".json"])
        check_writable(options.output)
    options = replace(options, device=str(choose_device(options.device)))
    check_layer(options.layer)
    check_pooling(options.pooling)
    known: dict[str, OpenedFeature] = {}
    opened = [open_feature(item, model=options.model, device=str(options.device), opened=known) for item in wanted]
    targets, context = options.targets, options.context
    if options.clips is None:
        clipset = read_wanted(options.corpus, targets, context)
    else:
        clipset = wanted_clips(options.clips, targets, context)
    features = [FeatureTables(clipset, feature, options) for feature in opened]
    for feature in features:
        if "text" in feature.extractor.reads:
            check_texts(clipset.utterances, feature.extractor.name)
    corpus = prepare_corpus(
        clipset, options.folds, targets=targets, context=context, select=options.select, cache=options.cache
    )
    if options.save_model is not None:
        check_held_out(corpus)
        model = model_of(features[0].extractor, str(wanted[0]))
    result = judge(corpus, features, heads, options)
    for warning in result.about.warnings:
        logger.warning("%s", warning)
    if options.output is not None:
        write_json(Path(options.output), result.to_dict())
    if options.save_model is not None:
        save_probed(model, corpus, features[0].of(heads[0]), heads[0], options, result)
    return result


class FeatureTables:
    """The tables of one feature of a corpus, each extracted once, when a head first needs it.

    Attributes:
        extractor: at the layer that is asked for.
    """

    def __init__(self, clipset: Corpus, feature: OpenedFeature, options: ProbeOptions):
        """Take the clips, a feature, and `layer`, `pooling`, `cache` and `progress` of the options."""
        self.extractor = feature(check_layer(options.layer), options.pooling)
        self._clipset, self._feature, self._options = clipset, feature, options
        self._tables: dict[str, FeatureTable] = {}

    def of(self, head: HeadRecipe) -> FeatureTable:
        """The table that a head reads.

        Raises:
            ManifestError: nothing can be read, or features on disk are incomplete.
            ConfigError: the feature has no frames, or no layers, and the head reads them.
        """
        extractor = self._feature("all", self._options.pooling) if head.needs == "layers" else self.extractor
        if head.needs not in self._tables:
            self._tables[head.needs] = extract_table(
                self._clipset.utterances,
                extractor,
                frames=head.needs == "frames",
                cache=self._options.cache,
                progress=self._options.progress,
                on_progress=self._options.on_progress,
            )
        table = self._tables[head.needs]
        _check_table(self._clipset, extractor, table, head)
        return table


def judge(
    corpus: ProbedCorpus, features: Sequence[FeatureTables], heads: Sequence[HeadRecipe], options: ProbeOptions
) -> ProbeResult:
    """Score every feature under every head on a corpus.

    Heads that read the same follow each other, in the order of their first.

    Args:
        corpus: what is predicted, and the folds.
        features: of its clips.
        heads: what is trained.
        options: how, and what the result says of it.

    Raises:
        ConfigError: a head cannot read a feature, or folds without readable clips; see `evaluate`.
        ManifestError: no clip can be read, or features on disk are incomplete.
    """
    left_out, warnings, results = dict(corpus.clipset.left_out), corpus.warnings, []
    for feature in features:
        for need in dict.fromkeys(head.needs for head in heads):
            for head in (head for head in heads if head.needs == need):
                table = feature.of(head)
                left_out.update({corpus.clipset.utterances[i].stretch: reason for i, reason in table.failures.items()})
                results.append(evaluate(corpus, feature.extractor, table, head, options))
        warnings += corpus.known.warnings(feature.extractor)
    if left_out:
        warnings.append(files_left_out(left_out))
    settings = {name: getattr(options, name) for name in ("layer", "pooling", "standardize")}
    described = about(
        corpus,
        left_out,
        warnings,
        settings={**settings, "seeds": list(options.seeds)},
        device=str(options.device),
        context=options.context,
        selection=corpus.known.selection if options.select else None,
    )
    return ProbeResult(about=described, results=tuple(results))


def _check_table(clipset: Corpus, extractor: Extractor, found: FeatureTable, head: HeadRecipe) -> None:
    """Raise when a table cannot be probed: nothing was read, stored features are incomplete, or there are no layers."""
    parts = extractor.parts if isinstance(extractor, CombinedFeatures) else (extractor,)
    if any(isinstance(part, StoredFeatures) for part in parts) and found.failures:
        count = counted(len(found.failures), "clip is", "clips are")
        raise ManifestError(f"{extractor.name}: {count} without features: {examples(found.failures.values())}")
    if not found.usable.any():
        failed = examples(f"{clipset.utterances[i].stretch}: {why}" for i, why in found.failures.items())
        raise ManifestError(f"{clipset.root}: no clip can be read: {failed}")
    if head.needs == "layers" and found.layers < 2:
        raise ConfigError(f"head {head.name} weighs the layers of a network, and {extractor.name} has none")
    if head.needs == "frames" and found.frames is None:
        raise ConfigError(f"head {head.name} reads frames, and {extractor.name} has none")
