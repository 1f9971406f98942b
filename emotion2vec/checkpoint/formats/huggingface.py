"""Hugging Face folders of our own model type, read and written without transformers.

`emotion2vec.integrations.huggingface` has the classes that transformers reads them with; a test keeps what those save
and what is written here the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.card import model_card
from emotion2vec.checkpoint.formats import foreign, whisper
from emotion2vec.checkpoint.formats.documents import json_text, read_json, read_labels, written_labels
from emotion2vec.checkpoint.mapped import MappedFile, map_safetensors
from emotion2vec.checkpoint.pickle.torchfile import read_torch_file
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import plain_tensors
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.files import complete_folder
from emotion2vec.model.config import Emotion2vecConfig, HeadConfig, head_config, model_config
from emotion2vec.model.foreign_config import TYPES, ForeignConfig
from emotion2vec.settings import to_dict

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PICKLE_FILE = "pytorch_model.bin"
MODEL_TYPE = "emotion2vec"
PREFIX = "network."
"""In front of every weight: the attribute that holds our network in the Hugging Face classes."""
LAST_LAYER = ("head.output.weight", "head.directions", "head.weight")
"""Whose rows are the scores of a head; it has one of them."""
HEAD = "head"
"""Which head it is, in `config.json`, where it is not the usual one."""
READS = "standardized"
"""There, the shape of what the head standardizes by, where it does."""
CODE_FILE = "emotion2vec_transformers.py"
"""What `trust_remote_code=True` imports; it holds no code of its own."""
CODE = '''"""Makes the classes of the installed package `emotion2vec` known to transformers; no other code is here.

Read only with `trust_remote_code=True`. To do without it, call `emotion2vec.integrations.huggingface.register()` first.
"""

from emotion2vec.integrations.huggingface import (
    Emotion2vecFeatureExtractor,
    Emotion2vecForAudioClassification,
    Emotion2vecHFConfig,
    Emotion2vecModel,
)

__all__ = [
    "Emotion2vecFeatureExtractor",
    "Emotion2vecForAudioClassification",
    "Emotion2vecHFConfig",
    "Emotion2vecModel",
]
'''


def read_huggingface(folder: Path) -> Source:
    """Read a folder with `config.json` and `model.safetensors` (or its shards, or `pytorch_model.bin`).

    Raises:
        CheckpointError: it is another kind of model, or incomplete, or does not fit itself.
    """
    document = read_json(folder / CONFIG_FILE)
    kind = document.get("model_type")
    if kind == whisper.MODEL_TYPE:
        return _with_weights(folder, lambda weights: whisper.read_whisper_folder(folder, document, weights))
    if isinstance(kind, str) and kind in TYPES:
        return _with_weights(folder, lambda weights: foreign.read_foreign(folder, document, weights))
    if kind != MODEL_TYPE:
        known = ", ".join([MODEL_TYPE, whisper.MODEL_TYPE, *TYPES])
        raise CheckpointError(f"{folder / CONFIG_FILE}: model_type is {kind!r}, expected a speech encoder: {known}")
    # transformers writes settings of its own beside the dimensions; these are named, and must all be there.
    names = to_dict(Emotion2vecConfig())
    missing = [name for name in names if name not in document]
    if missing:
        raise CheckpointError(f"{folder / CONFIG_FILE}: lacks {', '.join(missing)}")
    try:
        config = model_config({name: document[name] for name in names}, str(folder / CONFIG_FILE))
        head = _head_of(document, folder / CONFIG_FILE)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error

    def assemble(weights: Mapping[str, Tensor]) -> Source:
        student = {name.removeprefix(PREFIX): value for name, value in weights.items()}
        last = next((student[name] for name in LAST_LAYER if name in student), None)
        labels = () if last is None else read_labels(document, folder / CONFIG_FILE, len(last))
        return Source("huggingface", folder, [], config, student, labels=labels, head=head)

    return _with_weights(folder, assemble)


def _head_of(document: Mapping[str, Any], path: Path) -> HeadConfig:
    """Which head a folder of ours has.

    Raises:
        CheckpointError: it is no mapping.
        ConfigError: its entries make no head.
    """
    head = document.get(HEAD) or {}
    if not isinstance(head, dict):
        raise CheckpointError(f"{path}: {HEAD} is {head!r}, expected a mapping")
    return head_config({name: value for name, value in head.items() if name != READS}, f"{path}, {HEAD}")


def _with_weights(folder: Path, assemble: Callable[[Mapping[str, Tensor]], Source]) -> Source:
    """Map all weights of a folder, and let a source be made of them."""
    weights: dict[str, Tensor] = {}
    opened: list[MappedFile] = []
    files = _files(folder)
    for path in files:
        tensors, file = map_safetensors(path) if path.suffix == ".safetensors" else _unpickled(path)
        weights |= tensors
        opened.append(file)

    def release() -> None:
        for file in opened:
            file.release()

    source = assemble(weights)
    source.files, source.release = files, release
    source.pickle = any(path.suffix != ".safetensors" for path in files)
    return source


def _files(folder: Path) -> list[Path]:
    """The files that hold the weights: safetensors before pickles, and one before its shards."""
    for whole, suffix in ((WEIGHTS_FILE, ".safetensors"), (PICKLE_FILE, ".bin")):
        if (folder / whole).is_file():
            return [folder / whole]
        index = folder / f"{whole}.index.json"
        if index.is_file():
            return _shards(index, suffix)
    raise CheckpointError(f"{folder}: holds no weights, expected {WEIGHTS_FILE}")


def _shards(index: Path, suffix: str) -> list[Path]:
    """The files beside an index that it names."""
    shards = read_json(index).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    if not names or any(Path(name).name != name or not name.endswith(suffix) for name in names):
        raise CheckpointError(f"{index}: weight_map names no {suffix.lstrip('.')} files beside it")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise CheckpointError(
            f"{index}: names {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not there"
        )
    return [index.parent / name for name in names]


def _unpickled(path: Path) -> tuple[dict[str, Tensor], MappedFile]:
    content, file = (found := read_torch_file(path)).content, found.file
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no state of a model, expected names and tensors")
    return {str(name): value for name, value in content.items()}, file


def auto_map(*, head: bool) -> dict[str, str]:
    """Which class of the code file each of transformers' Auto classes takes."""
    module = CODE_FILE.removesuffix(".py")
    classes = {"AutoConfig": "Emotion2vecHFConfig", "AutoModel": "Emotion2vecModel"}
    if head:
        classes["AutoModelForAudioClassification"] = "Emotion2vecForAudioClassification"
    return {auto: f"{module}.{name}" for auto, name in classes.items()}


def config_document(source: Source) -> dict[str, Any]:
    """What `config.json` holds: the network's dimensions under their own names, the labels, and which head it is."""
    labels = source.labels
    shift = source.student.get("head.shift")
    head = {} if not labels or source.head == HeadConfig() else to_dict(source.head)
    if shift is not None:
        head = {**to_dict(source.head), READS: list(shift.shape)}
    more: dict[str, Any] = {HEAD: head} if head else {}
    if labels and source.head.task == "values":
        more["problem_type"] = "regression"
    document: dict[str, Any] = {
        "architectures": ["Emotion2vecForAudioClassification" if labels else "Emotion2vecModel"],
        "auto_map": auto_map(head=bool(labels)),
        "model_type": MODEL_TYPE,
        **to_dict(source.own),
        **more,
    }
    return document | (written_labels(labels) if labels else {})


def preprocessor_document(config: Emotion2vecConfig) -> dict[str, Any]:
    """What `preprocessor_config.json` holds: 16 kHz, padded at the end, each utterance normalized or not."""
    module = CODE_FILE.removesuffix(".py")
    return {
        "auto_map": {"AutoFeatureExtractor": f"{module}.Emotion2vecFeatureExtractor"},
        "do_normalize": config.normalizes,
        "feature_extractor_type": "Emotion2vecFeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": SAMPLE_RATE,
    }


def write_huggingface(source: Source, folder: Path) -> list[str]:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json`, a model card and, of ours, the code file.

    Returns:
        What a user should know about what was left out.
    """
    if isinstance(source.config, ForeignConfig):
        return foreign.write_foreign(source, folder)
    weights = plain_tensors({PREFIX + name: value for name, value in source.student.items()})
    documents = {CONFIG_FILE: config_document(source), "preprocessor_config.json": preprocessor_document(source.own)}
    with complete_folder(folder) as partial:
        save_file(weights, partial / WEIGHTS_FILE, metadata={"format": "pt"})
        for name, document in documents.items():
            (partial / name).write_text(json_text(document), encoding="utf-8")
        (partial / CODE_FILE).write_text(CODE, encoding="utf-8")
        (partial / "README.md").write_text(model_card(source, "huggingface"), encoding="utf-8")
    left = [part for part, there in (("teacher", source.teacher), ("decoder", source.decoder)) if there]
    return [f"left out, as only pretraining needs it: {' and '.join(left)}"] if left else []
