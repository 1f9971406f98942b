"""Write the folder that Hugging Face's `from_pretrained` reads, without needing transformers for it.

`emotion2vec.integrations.huggingface` has the classes that read it; a test keeps the two the same, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.card import model_card
from emotion2vec.checkpoint.formats.huggingface import CONFIG_FILE, MODEL_TYPE, PREFIX, WEIGHTS_FILE
from emotion2vec.checkpoint.formats.write_fairseq import plain_tensors
from emotion2vec.checkpoint.source import Source
from emotion2vec.files import complete_folder
from emotion2vec.settings import to_dict

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


def auto_map(*, head: bool) -> dict[str, str]:
    """Which class of the code file each of transformers' Auto classes takes."""
    module = CODE_FILE.removesuffix(".py")
    classes = {"AutoConfig": "Emotion2vecHFConfig", "AutoModel": "Emotion2vecModel"}
    if head:
        classes["AutoModelForAudioClassification"] = "Emotion2vecForAudioClassification"
    return {auto: f"{module}.{name}" for auto, name in classes.items()}


def config_document(source: Source) -> dict[str, Any]:
    """What `config.json` holds: the network's dimensions under their own names, and the labels."""
    labels = source.labels
    document: dict[str, Any] = {
        "architectures": ["Emotion2vecForAudioClassification" if labels else "Emotion2vecModel"],
        "auto_map": auto_map(head=bool(labels)),
        "model_type": MODEL_TYPE,
        **to_dict(source.config),
    }
    if labels:
        document["id2label"] = {str(number): label for number, label in enumerate(labels)}
        document["label2id"] = {label: number for number, label in enumerate(labels)}
    return document


def preprocessor_document() -> dict[str, Any]:
    """What `preprocessor_config.json` holds: 16 kHz, padded at the end, each utterance normalized over itself."""
    module = CODE_FILE.removesuffix(".py")
    return {
        "auto_map": {"AutoFeatureExtractor": f"{module}.Emotion2vecFeatureExtractor"},
        "feature_extractor_type": "Emotion2vecFeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": SAMPLE_RATE,
    }


def write_huggingface(source: Source, folder: Path) -> list[str]:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json`, a model card and the code file.

    Returns:
        What a user should know about what was left out.
    """
    from safetensors.torch import save_file

    weights = plain_tensors({PREFIX + name: value for name, value in source.student.items()})
    documents = {CONFIG_FILE: config_document(source), "preprocessor_config.json": preprocessor_document()}
    with complete_folder(folder) as partial:
        save_file(weights, partial / WEIGHTS_FILE, metadata={"format": "pt"})
        for name, document in documents.items():
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            (partial / name).write_text(text, encoding="utf-8")
        (partial / CODE_FILE).write_text(CODE, encoding="utf-8")
        (partial / "README.md").write_text(model_card(source, "huggingface"), encoding="utf-8")
    left = [part for part, there in (("teacher", source.teacher), ("decoder", source.decoder)) if there]
    return [f"left out, as only pretraining needs it: {' and '.join(left)}"] if left else []
