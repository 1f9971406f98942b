"""Dataclasses as strict configurations: declared with ranges, filled from YAML and overrides, all faults gathered.

A field that would clash with a Python keyword ends in an underscore in the dataclass and not in YAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from emotion2vec.documents import MOST_YAML, check_yaml, read_bytes
from emotion2vec.errors import ConfigError
from emotion2vec.expressions import as_text, as_written, resolved
from emotion2vec.guesses import unknown


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[str] = (),
    flags: Sequence[str] = (),
    argument: bool = False,
) -> Any:
    """Declare a field: its default, one line of meaning with the unit, and the range of valid values.

    Args:
        default: its value unless another is given; `dataclasses.MISSING` for none.
        help: what `--help` shows, and documentation.
        ge: smallest value.
        gt: what values must be above.
        le: largest value.
        lt: what values must be below.
        choices: all values that there are.
        flags: on the command line, where they are others than the field's name.
        argument: whether it has its place on the command line, without a flag.
    """
    metadata = {"help": help, "ge": ge, "gt": gt, "le": le, "lt": lt, "choices": tuple(choices)}
    metadata |= {"flags": tuple(flags), "argument": argument}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain nested dicts with YAML's names."""
    return {
        item.name.rstrip("_"): to_dict(value) if dataclasses.is_dataclass(value) else value
        for item in dataclasses.fields(config)
        for value in (getattr(config, item.name),)
    }


def dotted(config: Any) -> dict[str, Any]:
    """All values of a configuration by dotted key."""
    return dict(_flatten(to_dict(config)))


def to_yaml(config: Any) -> str:
    """Write a configuration as YAML that its reader turns back to the same values; expressions stay what they are."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(as_written(to_dict(config))))


def described(cls: type) -> Iterator[tuple[str, str, str]]:
    """Key, default and help text of every field that has one, under YAML's names, those of sections dotted."""
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        name = item.name.rstrip("_")
        if dataclasses.is_dataclass(hints[item.name]):
            yield from ((f"{name}.{key}", *rest) for key, *rest in described(hints[item.name]))  # type: ignore[misc, arg-type]
        elif text := item.metadata.get("help"):
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            shown = "required" if default is dataclasses.MISSING else str(default)
            choices = item.metadata.get("choices")
            yield name, shown, text + (f" ({', '.join(choices)})" if choices else "")


def check_ranges(config: Any, prefix: str = "") -> list[str]:
    """List the values of a configuration and of its sections that are out of range or no known choice."""
    faults = []
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name.rstrip("_")
        if dataclasses.is_dataclass(value):
            faults += check_ranges(value, name + ".")
            continue
        choices = item.metadata.get("choices")
        if value is None:
            continue
        if choices and value not in choices:
            faults.append(f"{name} is {value!r}, expected one of {', '.join(choices)}")
        limits = [
            (sign, item.metadata[key], test)
            for key, sign, test in (
                ("ge", ">=", lambda v, x: v >= x),
                ("gt", ">", lambda v, x: v > x),
                ("le", "<=", lambda v, x: v <= x),
                ("lt", "<", lambda v, x: v < x),
            )
            if item.metadata.get(key) is not None
        ]
        if any(
            not test(v, limit) for v in (value if isinstance(value, list) else [value]) for _, limit, test in limits
        ):
            expected = " and ".join(f"{sign} {limit:g}" for sign, limit, _ in limits)
            faults.append(f"{name} is {value}, expected {expected}")
    return faults


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file into dotted keys; errors as of `read_mapping`."""
    return dict(_flatten(read_mapping(path)))


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file of sections, with the expressions of OmegaConf.

    Raises:
        ConfigError: it is not there, or no such file.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        check_yaml(read_bytes(path, MOST_YAML))
        loaded = resolved(OmegaConf.load(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file, expected a YAML configuration") from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: holds a {type(loaded).__name__}, expected a mapping of sections")
    return loaded


def read_override(item: str, faults: list[str]) -> dict[str, Any]:
    """Read `section.key=value`, the value in YAML's notation, into dotted keys."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, equals, _ = item.partition("=")
    if not equals or not key.strip():
        faults.append(f"override {item!r} has no value, expected section.key=value")
        return {}
    try:
        return dict(_flatten(resolved(OmegaConf.from_dotlist([item]))))
    except (ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        faults.append(f"override {item!r} cannot be read: {error}")
        return {}


def _flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of YAML's dotted name and the dataclass's own, for every field that is not a section."""
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            for shown, own in _leaves(hints[item.name], ""):
                yield f"{prefix}{item.name}.{shown}", f"{prefix}{item.name}.{own}"
        else:
            yield prefix + item.name.rstrip("_"), prefix + item.name


def build(cls: type, values: Mapping[str, Any], faults: list[str]) -> Any:
    """Fill the dataclass from dotted values, collecting unknown keys and wrong types, which keep their defaults.

    Values that are what their fields are, as those of checkpoints, go without OmegaConf, whose import takes longer than
    a small model does to load. Expressions were resolved when a user's file was read; in values they are none.
    """
    if _fit(cls, values):
        return cls(**values)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = dict(_leaves(cls))
    lists = {key for key, own in known.items() if isinstance(_default(cls, own), list)}
    schema = OmegaConf.structured(cls)
    for key, value in values.items():
        if key not in known:
            faults.append(unknown("key", key, known))
            continue
        items = value if isinstance(value, list) else [value]
        nested = isinstance(value, list) and any(isinstance(item, list | dict) for item in value)
        try:
            if nested or any(isinstance(item, str) and "${" in item for item in items):
                raise OmegaConfBaseException  # it takes lists as numbers, and resolves what is no user's expression
            OmegaConf.update(schema, known[key], as_text([value] if key in lists and isinstance(value, str) else value))
        except OmegaConfBaseException:
            default = _default(cls, known[key])
            expected = "str" if default is None else type(default).__name__
            faults.append(f"{key} is {value!r} ({type(value).__name__}), expected {expected}")
    built = OmegaConf.to_object(schema)
    for key, value in values.items():
        items = [value] if key in lists and isinstance(value, str) else value
        if key in known and as_written(items) != items and as_text(items) == _inside(built, known[key]):
            section, _, name = known[key].rpartition(".")
            setattr(_inside(built, section) if section else built, name, items)
    return built


def _fit(cls: type, values: Mapping[str, Any]) -> bool:
    """Whether all values are plain ones of exactly the types of their fields, none of which is in a section."""
    hints = get_type_hints(cls)
    for key, value in values.items():
        hint, items = hints.get(key), [value]
        if get_origin(hint) is list and type(value) is list:
            (hint,), items = get_args(hint), value
        if hint not in (bool, int, float, str) or any(type(item) is not hint for item in items):
            return False
    return True


def _default(cls: type, dotted: str) -> Any:
    return _inside(cls(), dotted)


def _inside(value: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def fault_list(source: str, faults: Sequence[str]) -> str:
    """Format faults as one message."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{count} in {source}:\n" + "\n".join(f"  {fault}" for fault in faults)


def from_keywords(cls: type, values: Mapping[str, Any]) -> Any:
    """Fill a dataclass of options from keyword arguments, whichever of its nested dataclasses has them.

    Raises:
        ConfigError: a name is no option, with those that are near.
    """
    known = set(_keywords(cls))
    faults = [unknown("option", name, known) for name in values.keys() - known]
    if faults:
        raise ConfigError("; ".join(sorted(faults)))
    return _from_keywords(cls, values)


def _keywords(cls: type) -> Iterator[str]:
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from _keywords(hints[item.name])  # type: ignore[arg-type]
        else:
            yield item.name


def _from_keywords(cls: type, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(cls)
    own = {item.name: values[item.name] for item in dataclasses.fields(cls) if item.name in values}
    nested = {
        item.name: _from_keywords(hints[item.name], values)
        for item in dataclasses.fields(cls)
        if dataclasses.is_dataclass(hints[item.name])
    }
    return cls(**own, **nested)
