"""Model cards: what those beside weights say of their licence, and ours for folders that go to other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.documents import MOST_YAML, parse_yaml
from emotion2vec.files import sha256
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.foreign_config import ForeignConfig

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.checkpoint.source import Source

_CARD_FILE = "README.md"
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_LICENCE_FIELDS = ("license", "license_name", "license_link")

_HEADER = """---
library_name: {library}
{licence}
pipeline_tag: {task}
tags:
- emotion2vec
- speech-emotion-recognition
- audio-classification
---
"""

_KIND = {
    False: "A speech representation model of the [emotion2vec](https://arxiv.org/abs/2312.15185) kind.\n",
    True: "A speech encoder of transformers, as emotion2vec trained it or took it over.\n",
}
_NO_LICENCE = "The licence of the weights is that of their origin, which the files do not name."
_USE = {
    "huggingface": """```python
from emotion2vec.integrations.huggingface import register
from transformers import AutoFeatureExtractor, {auto}

register()  # makes the model known to transformers; no trust_remote_code needed
extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
model = {auto}.from_pretrained(FOLDER)
inputs = extractor(samples, sampling_rate={rate}, return_tensors="pt")  # samples: (S,) float
outputs = model(**inputs, output_hidden_states=True)
```""",
    "transformers": """```python
from transformers import AutoFeatureExtractor, {auto}

extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
model = {auto}.from_pretrained(FOLDER)
inputs = extractor(samples, sampling_rate={rate}, return_tensors="pt")  # samples: (S,) float
outputs = model(**inputs, output_hidden_states=True)
```""",
    "funasr": """```python
from funasr import AutoModel

model = AutoModel(model=FOLDER, disable_update=True)
model.generate("clip.wav", granularity="utterance", extract_embedding=True)
```""",
}


def model_card(source: Source, format: str) -> str:
    """Write the card of a converted checkpoint for the format that it was converted to."""
    files = ", ".join(f"`{path.name}` (SHA-256 {sha256(path)})" for path in source.files)
    origin = f"Converted from a checkpoint of the format {source.format}: {files}."
    stated = licence(source.path)
    return card_text(source.config, source.labels, source.student, format, origin, stated)


def card_text(
    config: Emotion2vecConfig | ForeignConfig,
    labels: Sequence[str],
    weights: Mapping[str, Tensor],
    format: str,
    origin: str,
    stated: Mapping[str, str] | None = None,
) -> str:
    """Write a card in the Hugging Face Hub's form.

    Args:
        config: the network's dimensions.
        labels: the head's labels; empty without a head.
        weights: all weights of the model.
        format: whose usage is shown: `huggingface`, `transformers` (an encoder of its own) or `funasr`.
        origin: a sentence that says where the weights come from.
        stated: the licence as `licence` gives it, where one is stated.
    """
    parameters = sum(value.numel() for value in weights.values())
    auto = "AutoModelForAudioClassification" if labels else "AutoModel"
    facts = [
        f"input: {SAMPLE_RATE:,} Hz mono, "
        + ("each utterance normalized to zero mean and unit variance" if config.normalizes else "as recorded"),
        f"output: {config.width} numbers per frame, {SAMPLE_RATE / config.grid.stride:g} frames per second",
        _network(config),
        f"parameters: {parameters:,}",
    ]
    if labels:
        facts.append(f"labels: {', '.join(labels)}")
    header = _HEADER.format(
        library="funasr" if format == "funasr" else "transformers",
        task="audio-classification" if labels else "feature-extraction",
        licence=yaml.safe_dump(dict(stated or {"license": "unknown"}), allow_unicode=True, sort_keys=False).rstrip(),
    )
    terms = f"Their licence, as the files beside them state it: {licence_text(stated)}." if stated else _NO_LICENCE
    sections = [
        header + (f"# {config.type}\n" if isinstance(config, ForeignConfig) else "# emotion2vec\n"),
        _KIND[isinstance(config, ForeignConfig)],
        "\n".join(f"- {fact}" for fact in facts) + "\n",
        f"## Use\n\n{_USE[format].format(auto=auto, rate=SAMPLE_RATE)}\n",
        f"## Origin\n\n{origin} {terms}\n",
        "## Limits\n\nWhat the model was trained on, and on whom it works how well, these files do not say. Emotion "
        "recognized from a voice is a guess about how it sounds, not about what a person feels.\n",
    ]
    return "\n".join(sections)


def _network(config: Emotion2vecConfig | ForeignConfig) -> str:
    """What the network consists of."""
    cnn = f"network: {len(config.kernels)}-layer CNN"
    if isinstance(config, ForeignConfig):
        return f"{cnn}, {config.depth} Transformer blocks"
    blocks = f"{config.prenet_depth} + {config.depth} Transformer blocks"
    return f"{cnn}, {blocks}, {config.heads} heads, {config.tokens} utterance tokens"


def licence(path: Path) -> dict[str, str]:
    """What the files beside the weights say about the licence, as the fields of a model card on the Hugging Face Hub.

    Args:
        path: the checkpoint's folder or file.

    Returns:
        `license`, and `license_name` and `license_link` where they are given: of the card's header, or else `other`
        and the first line of a licence file; empty when nothing is said.
    """
    folder = path if path.is_dir() else path.parent
    header = _card_header(folder / _CARD_FILE)
    if header.get("license"):
        return {key: _text(header[key]) for key in _LICENCE_FIELDS if header.get(key)}
    for name in _LICENCE_FILES:
        if (folder / name).is_file():
            lines = _start_of(folder / name).splitlines()
            first = next((line.strip() for line in lines if line.strip()), None)
            return {"license": "other", "license_name": first} if first else {}
    return {}


def licence_text(fields: Mapping[str, str]) -> str:
    """The fields of `licence` in one line; `unknown` without any."""
    said = [value for key, value in fields.items() if (key, value) != ("license", "other")]
    return ", ".join(said) or fields.get("license", "unknown")


def _card_header(card: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes of a model card; empty when it has none, or none that is YAML."""
    lines = _start_of(card).splitlines() if card.is_file() else []
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return {}
    try:
        header = parse_yaml("\n".join(lines[1 : lines.index("---", 1)]).encode())
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def _start_of(path: Path) -> str:
    """The start of a text, in which a header and a first line are."""
    with path.open("rb") as stream:
        return stream.read(MOST_YAML).decode("utf-8", "replace")


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
