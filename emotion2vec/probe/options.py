"""What is to be probed and how: the options of `probe`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.progress import ProgressCallback
from emotion2vec.settings import option


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What `probe` is to do.

    Attributes:
        corpus: which labelled corpus.
        clips: clips that were read already, in place of `corpus`, such as several corpora joined (`join_corpora`).
        targets: values to predict in place of classes, such as arousal: of IEMOCAP and MSP-Podcast, or columns of the
            table.
        context: predict the emotion of a turn of a conversation from that many turns before it, the turn itself
            unheard; 0 recognizes what is heard.
        features: names such as `logmel` (see `open_feature`), paths of models, or loaded models.
        model: one more feature: the path of a model, or a loaded one; `untrained` takes its shape. Without features
            and model, the model that ships with the package is probed.
        folds: fold scheme (see `make_folds`).
        heads: names (`HEADS`) or heads with settings of their own; by default `mlp`, or `dialogue` with a context.
        seeds: each gives other validation speakers, weights and batches; scores are means over seeds.
        shots: also train with so many labelled clips of each class in all (`few_shot`), drawn anew with each seed.
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
        save_model: folder for the model of the one feature with the one head, trained once more on the clips of all
            folds, which `predict` takes (see `save_probed`).
        progress: show progress bars on stderr.
        on_progress: called with a `Progress` while features are made and heads trained, of each of these in turn.
    """

    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    features: tuple[str | Any, ...] = option(
        (),
        "logmel, mfcc, egemaps, untrained, hf:NAME, torchaudio:NAME, text:NAME, a model; joined by +; may be repeated.",
    )
    model: str | Any | None = option(
        None, "One more model to probe; untrained takes its shape. [default: compact, without features]"
    )
    targets: tuple[str, ...] = option(
        (), "Predict a value such as arousal, in place of classes; may be repeated.", flags=("--target",)
    )
    context: int = option(0, "Predict a turn of a conversation from that many turns before it; 6 in the paper.")
    folds: str = option(
        "speaker", "speaker, speaker:K, 8-1-1, session, session-80-20, official, emobox, random, corpus or language."
    )
    heads: tuple[str | Any, ...] = option(
        (),
        "mlp, linear, logreg, weighted, attention, statistics, convolutions, transformer, gru, cosine; mlp-paper or "
        "linear-superb for published protocols; ridge for targets; dialogue or dialogue-frames for a context; may be "
        "repeated. [default: mlp, or dialogue]",
        flags=("--head",),
    )
    seeds: tuple[int, ...] = option((0,), "Seed; may be repeated for means.", flags=("--seed",))
    shots: tuple[int, ...] = option(
        (), "Score with so few labelled clips of each class too, such as 1, 5 and 20; may be repeated."
    )
    layer: str | int = option("last", "last, mean, mean:N, all, or a block number from 0.")
    pooling: str | None = option(None, "mean or mean+std over time, for logreg.")
    standardize: bool = option(True, "Standardize channels for neural heads; mlp-paper and linear-superb never do.")
    select: bool = option(False, "Score validation speakers in place of tests, to choose by.")
    cache: str | Path | None = option(None, "Folder that keeps features between runs.")
    device: str | None = option(None, "cpu, cuda, cuda:1, mps, xpu, npu, ...; by default a CUDA GPU if there is one.")
    output: str | Path | None = option(None, "JSON file for the scores.")
    save_model: str | Path | None = option(
        None, "Folder for the feature's model with the head, trained on the clips of all folds, for predict."
    )
    clips: Corpus | None = None
    progress: bool = False
    on_progress: ProgressCallback | None = None
