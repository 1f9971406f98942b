"""JSON, YAML and packed bytes that anybody may have written: read only where they are small, shallow and finite.

All raise ValueError alone, with the reason; what calls them names the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MOST_JSON, MOST_YAML = 1 << 23, 1 << 17
"""Bytes of a document; YAML takes 50 times as long to read as JSON."""

MOST_ANNOTATIONS = 1 << 26
"""Bytes of what is said of all clips of a corpus, or of all that were judged."""

MOST_VALUES = 4_000_000
"""Values of a JSON document: the shortest take 30 times their bytes in memory."""

MOST_DEPTH = 60
"""How deep values may lie in others."""

MOST_NODES = 20_000
"""Values of a YAML document, those that it names again (`*name`, `<<`) counted again."""


LEAST_UNPACKED, MOST_UNPACKED = 1 << 26, 200
"""Bytes that what is packed may have, or times those that it is packed in: a few could unpack without end."""


def most_unpacked(packed: int) -> int:
    """Bytes that so many packed ones may hold."""
    return max(LEAST_UNPACKED, MOST_UNPACKED * packed)


def check_unpacked(size: int, packed: int) -> None:
    """See to it that what is packed does not unpack to far more than honest data does.

    Args:
        size: bytes that it unpacks to.
        packed: bytes that it is packed in.

    Raises:
        ValueError: it does.
    """
    if size > most_unpacked(packed):
        raise ValueError(f"{packed:,} bytes that unpack to {size:,}, expected at most {most_unpacked(packed):,}")


def read_bytes(path: Path, most: int = MOST_JSON) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger.
    """
    with path.open("rb") as stream:
        raw = stream.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"more than {most:,} bytes, expected a short document")
    return raw


def read_json(path: Path, most: int = MOST_JSON) -> Any:
    """Read a JSON file of at most so many bytes; raises as `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, most), most)


def parse_json(raw: bytes, most: int = MOST_JSON) -> Any:
    """Read a JSON document of at most so many bytes, UTF-8.

    Raises:
        ValueError: it is none, is too large, has more than `MOST_VALUES`, or is nested deeper than `MOST_DEPTH`.
    """
    if len(raw) > most:
        raise ValueError(f"{len(raw):,} bytes, expected at most {most:,}")
    if sum(map(raw.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [document]
    for _ in range(MOST_DEPTH):
        level = [item for value in level if isinstance(value, dict | list) for item in _items(value)]
        if not level:
            return document
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"nested more than {MOST_DEPTH} deep"


def _items(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def parse_yaml(raw: bytes) -> Any:
    """Read a YAML document of plain values, UTF-8.

    Raises:
        ValueError: it is none, is too large or too deep, has more than `MOST_NODES` values, or asks for objects.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(check_yaml(raw))
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(node)
    except ValueError:
        raise
    except Exception as error:  # dates that are none, keys that are lists, and the like
        raise ValueError(str(error) or type(error).__name__) from error


def check_yaml(raw: bytes) -> str:
    """See to it that a YAML document may be read, and give its text.

    Raises:
        ValueError: as `parse_yaml`, but for values that are none of their type.
    """
    import yaml

    if len(raw) > MOST_YAML:
        raise ValueError(f"{len(raw):,} bytes, expected at most {MOST_YAML:,}")
    text = raw.decode("utf-8-sig")
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _check_size(depth, count // 2)
        _count_again(yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    return text


def _count_again(root: yaml.Node | None) -> None:
    """Count the nodes of a document as often as they are named."""
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        _check_size(depth, count)
        inner = node.value if node is not None and isinstance(node.value, list) else []
        waiting += [(item, depth + 1) for pair in inner for item in (pair if isinstance(pair, tuple) else (pair,))]


def _check_size(depth: int, count: int) -> None:
    if depth > MOST_DEPTH:
        raise ValueError(_TOO_DEEP)
    if count > MOST_NODES:
        raise ValueError(f"more than {MOST_NODES:,} values, those that are named again counted again")
