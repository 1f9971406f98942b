"""What is tried: a range or some choices for each key of a configuration, read from YAML with all faults at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import FinetuneConfig, check_config
from emotion2vec.guesses import unknown
from emotion2vec.settings import build, dotted, fault_list, read_mapping

RANGE = ("low", "high", "log", "step")
JUDGING = ("run", "evaluate", "validation", "checkpoint", "log", "probe")
"""Sections that say how trials are judged and kept, and must be the same for all."""
OF_DATA = ("data.balance", "data.clips", "data.max_seconds")
"""Settings of `data` that leave the held-out clips as they are."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, whole ones where `low` is; drawn by their logarithm, or in steps, or neither."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether these are whole numbers."""
        return isinstance(self.low, int)

    def grid(self) -> tuple[Any, ...] | None:
        """All values, None where there is no end of them."""
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            return None
        values = [self.low + number * step for number in range(math.floor((self.high - self.low) / step + 1e-9) + 1)]
        return tuple(values)


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: tuple[Any, ...]

    def grid(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values


Space = Mapping[str, Range | Choices]
"""What is tried, by dotted key of a configuration."""


def read_space(path: Path, base: FinetuneConfig, *, finite: bool = False) -> dict[str, Range | Choices]:
    """Read what is tried.

    Args:
        path: YAML: `key: {low, high}` with `log: true` or `step`, or `key: {choices: [...]}`; keys may be in sections.
        base: what all trials share.
        finite: whether every key must have an end of values, as a grid needs.

    Raises:
        ConfigError: all faults at once: unknown keys with near matches, what is no range, and values that the
            configuration does not take.
    """
    faults: list[str] = []
    known = dotted(base)
    space: dict[str, Range | Choices] = {}
    for key, node in _entries(read_mapping(path), known, faults):
        if _judges(key):
            faults.append(f"{key} decides by what trials are judged or how they are kept, expected the same for all")
        elif found := _dimension(key, node, known[key], faults):
            space[key] = found
            if finite and found.grid() is None:
                faults.append(f"{key} has no step, expected one, or choices, for a grid")
            faults += [fault for value in _ends(found) for fault in _refused(base, key, value)]
    if not space and not faults:
        faults.append("it is empty, expected KEY: {low: ..., high: ...} or KEY: {choices: [...]}")
    if faults:
        raise ConfigError(fault_list(f"the space {path}", list(dict.fromkeys(faults))))
    return space


def with_values(base: FinetuneConfig, values: Mapping[str, Any], faults: list[str]) -> FinetuneConfig:
    """A configuration with some values in place of others; what is wrong with it is added to `faults`."""
    config: FinetuneConfig = build(FinetuneConfig, dotted(base) | dict(values), faults)
    faults += [] if faults else check_config(config)
    return config


def _entries(
    node: Mapping[Any, Any], known: Mapping[str, Any], faults: list[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Keys of a configuration with what stands there, out of sections."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key in known:
            yield key, value
        elif not any(other.startswith(f"{key}.") for other in known):
            faults.append(unknown("key", key, known))
        elif not isinstance(value, dict) or not value:
            faults.append(f"{key} is {value!r}, expected keys of this section")
        else:
            yield from _entries(value, known, faults, f"{key}.")


def _judges(key: str) -> bool:
    section = key.partition(".")[0]
    return section in JUDGING or (section == "data" and key not in OF_DATA)


def _dimension(key: str, node: Any, usual: Any, faults: list[str]) -> Range | Choices | None:
    """What a key's entry says, or None with its faults added."""
    if not isinstance(node, dict) or not node:
        faults.append(f"{key} is {node!r}, expected {{low: ..., high: ...}} or {{choices: [...]}}")
        return None
    strange = [unknown(f"field of {key}", str(name), (*RANGE, "choices")) for name in node.keys() - {*RANGE, "choices"}]
    if strange or ("choices" in node and len(node) > 1):
        faults += sorted(strange) or [f"{key} has choices and {', '.join(node.keys() - {'choices'})}, expected one"]
        return None
    return _choices(key, node["choices"], faults) if "choices" in node else _range(key, node, usual, faults)


def _choices(key: str, values: Any, faults: list[str]) -> Choices | None:
    """The choices of a key."""
    if not isinstance(values, list) or not values:
        faults.append(f"{key}.choices is {values!r}, expected a list of values")
    elif odd := [value for value in values if not isinstance(value, bool | int | float | str)]:
        faults.append(f"{key}.choices has {odd[0]!r}, expected numbers, text, true or false")
    elif len({repr(value) for value in values}) < len(values):
        faults.append(f"{key}.choices is {values!r}, expected each value once")
    else:
        return Choices(tuple(values))
    return None


def _range(key: str, node: Mapping[str, Any], usual: Any, faults: list[str]) -> Range | None:
    """The range of a key."""
    before, whole = len(faults), isinstance(usual, int)
    if isinstance(usual, bool) or not isinstance(usual, int | float):
        faults.append(f"{key} is no number, expected {{choices: [...]}}")
        return None
    faults += [f"{key} has no {name}, expected low and high" for name in ("low", "high") if name not in node]
    for name in ("low", "high", "step"):
        if name in node and not _is_number(node[name], whole):
            faults.append(f"{key}.{name} is {node[name]!r}, expected a {'whole ' * whole}number")
    if not isinstance(node.get("log", False), bool):
        faults.append(f"{key}.log is {node['log']!r}, expected true or false")
    if len(faults) > before:
        return None
    kind = int if whole else float
    step = kind(node["step"]) if "step" in node else None
    found = Range(kind(node["low"]), kind(node["high"]), node.get("log", False), step)
    if found.low >= found.high:
        faults.append(f"{key}.low is {found.low:g} and high {found.high:g}, expected low below high")
    elif step is not None and not 0 < step <= found.high - found.low:
        faults.append(f"{key}.step is {step:g}, expected more than 0 and at most {found.high - found.low:g}")
    if found.log and found.low <= 0:
        faults.append(f"{key}.low is {found.low:g}, expected more than 0 where log is on")
    if found.log and step is not None:
        faults.append(f"{key} has log and a step, expected one of them")
    return found if len(faults) == before else None


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return not whole or isinstance(value, int)


def _ends(found: Range | Choices) -> tuple[Any, ...]:
    return found.values if isinstance(found, Choices) else (found.low, found.high)


def _refused(base: FinetuneConfig, key: str, value: Any) -> list[str]:
    """What the configuration has against a value, alone beside the base."""
    faults: list[str] = []
    with_values(base, {key: value}, faults)
    return [fault if key in fault else f"{key}={value}: {fault}" for fault in faults]
