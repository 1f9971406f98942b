"""What a worker does with what it is asked: audio of several requests in common batches, and live streams.

S: samples. W: windows. K: labels. T: frames. D: model width. L: layers. t: frames of one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.windows import Chunking
from emotion2vec.checkpoint import load_model
from emotion2vec.devices import choose_device
from emotion2vec.errors import Emotion2vecError
from emotion2vec.extraction.encode.arrays import Arrays, EncodedAudio, FeatureArray
from emotion2vec.extraction.encode.batching import Batch, batches_for
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder, try_again
from emotion2vec.extraction.encode.lanes import in_lanes
from emotion2vec.extraction.encode.ready import Ready, ready_model
from emotion2vec.extraction.sources.decoding import AudioFault, Hearing, LongWaveform, Undecoded, decode_one
from emotion2vec.extraction.streaming import Stream, StreamedFeatures, StreamOptions
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.serve.errors import FAILED, UNPROCESSABLE
from emotion2vec.serve.scores import Heads, check_finite

LOG = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Samples that long audio is read in."""

Reply = Callable[[dict[str, Any], dict[str, np.ndarray]], None]
"""Sends an answer: an object and arrays."""


@dataclass(frozen=True)
class Asked:
    """What a request asks of one clip.

    Attributes:
        id: of the message.
        what: `model`, and the fields of a `FeatureChoice` as `choice`, or `window` in s, which is None for the whole
            clip; with `whole` where that is asked for beside windows.
        samples: (S,) float32 at 16 kHz.
    """

    id: int
    what: Mapping[str, Any]
    samples: np.ndarray

    @property
    def alike(self) -> str:
        """What has to be the same for clips that are computed together."""
        return repr(sorted(self.what.items()))


class Served:
    """A model that is loaded for good.

    Args:
        name: what `load_model` takes.
        device: see `choose_device`; None for the default.
        precision: see `ready_model`.
        stack: lets go of it.
    """

    def __init__(self, name: str, device: str | None, precision: str, stack: ExitStack):
        self.name = name
        model = load_model(name, device=str(choose_device(device)))
        self._weights = weights_hash(model)
        self.ready: Ready = stack.enter_context(ready_model(model, None, precision))

    def facts(self) -> dict[str, Any]:
        """What the server wants to know of it."""
        model = self.ready.model
        heads = {
            name: {"labels": head.used_labels, "values": head.config.task == "values"}
            for name, head in model.heads().items()
        }
        return {
            "name": self.name,
            "weights": self._weights,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "width": model.config.width,
            "blocks": model.config.prenet_depth + model.config.depth,
            "frames_per_second": SAMPLE_RATE / model.config.grid.stride,
            "normalizes": model.config.normalizes,
            "longest": model.config.max_seconds,
            "heads": heads,
            "device": str(model.device),
            "precision": self.ready.precision,
        }

    def answer(self, asked: Sequence[Asked], reply: Reply) -> None:
        """Compute what is asked of clips, all of it alike, and reply to each as soon as it is there."""
        what = asked[0].what
        heads = None if "choice" in what else Heads(self.ready.model, what["window"], what.get("whole", False))
        choice = FeatureChoice(**what["choice"]) if heads is None else heads.choice
        encoder = Encoder(self.ready.model, choice, precision=self.ready.precision, chunking=Chunking())
        for encoded in self._encoded(asked, encoder, heads or _held):
            number = asked[encoded.index].id
            if isinstance(encoded, AudioFault):
                reply({"id": number, "error": f"{encoded.where}: {encoded.reason}", "status": UNPROCESSABLE}, {})
                continue
            arrays = {name: array.whole() for name, array in encoded.features.items()}
            window = {} if heads is None else {"window": heads.seconds}
            reply({"id": number, "seconds": encoded.seconds} | window, arrays)

    def _encoded(
        self, asked: Sequence[Asked], encoder: Encoder, read: Callable[[Arrays], Arrays]
    ) -> Iterator[EncodedAudio | AudioFault]:
        """What is read of the features of each clip."""
        model = self.ready.model
        hearing = Hearing.of(model.config, encoder.chunking.samples)
        clips = (
            decode_one(Undecoded(index, "the audio", partial(_blocks, one.samples)), hearing)
            for index, one in enumerate(asked)
        )

        def encode(batch: Batch) -> Iterator[EncodedAudio | AudioFault]:
            for encoded in encoder.encode_batch(batch, keep=read):
                if isinstance(encoded, AudioFault) or isinstance(batch, LongWaveform):
                    yield encoded
                else:
                    yield replace(encoded, features=read(encoded.features))

        batches: Iterable[Batch] = batches_for(model, clips, None)
        with closing(in_lanes(batches, encode, encoder.lanes(len(asked)), try_again)) as results:
            yield from results


def _blocks(samples: np.ndarray, notes: list[Any] | None = None) -> Iterator[np.ndarray]:
    """Samples (S,) in blocks, as a decoder gives them."""
    return (samples[begin : begin + BLOCK] for begin in range(0, samples.size, BLOCK))


def _held(arrays: Arrays) -> Arrays:
    """The features of long audio, whole."""
    whole = {name: array.whole() for name, array in arrays.items()}
    for array in whole.values():
        check_finite(array)
    return {name: FeatureArray.of(array) for name, array in whole.items()}


class Streams:
    """Live streams of a worker, by the names that the server gives them."""

    def __init__(self) -> None:
        self._open: dict[int, Stream] = {}

    def handle(self, served: Served, facts: Mapping[str, Any], samples: np.ndarray | None, reply: Reply) -> None:
        """Do what a message says: `open`, `push` samples (S,) int16, `finish`, or `leave`."""
        name, number = facts["stream"], facts["id"]
        try:
            steps = self._done(name, facts, samples, served)
        except Exception as error:
            with suppress(KeyError):
                self._open.pop(name).__exit__()
            if isinstance(error, Emotion2vecError):
                reply({"id": number, "error": str(error), "status": UNPROCESSABLE}, {})
                return
            LOG.exception("a stream failed")
            reply({"id": number, "error": f"the stream failed: {type(error).__name__}", "status": FAILED}, {})
            return
        stride = served.ready.model.config.grid.stride / SAMPLE_RATE
        reply({"id": number, "steps": [_told(step, stride) for step in steps]}, {})

    def _done(
        self, name: int, facts: Mapping[str, Any], samples: np.ndarray | None, served: Served
    ) -> list[StreamedFeatures]:
        if facts["do"] == "open":
            options = StreamOptions(**facts["options"])
            self._open[name] = Stream(facts["sample_rate"], model=served.ready, options=options)
            return []
        if facts["do"] == "push":
            assert samples is not None
            return self._open[name].push(samples)
        with self._open.pop(name) as stream:
            return stream.finish() if facts["do"] == "finish" else []


def _told(step: StreamedFeatures, stride: float) -> dict[str, Any]:
    """What is sent of a step, whose frames are so many s apart: its times, and scores."""
    end = step.start + len(step.frames) * stride
    return {"start": round(step.start, 6), "end": round(end, 6), "scores": step.scores}
