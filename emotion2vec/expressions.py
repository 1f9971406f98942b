"""Expressions in a user's own YAML, such as `${oc.env:TOKEN}`: used as what they stand for, written as they are.

Nothing but what a user names as a configuration, or gives as an override, is read with them.
"""

from __future__ import annotations

from typing import Any


class Expression(str):
    """Text that an expression of the environment stands for.

    Attributes:
        written: the expression.
    """

    written: str

    def __new__(cls, text: str, written: str) -> Expression:
        """See the class."""
        made = super().__new__(cls, text)
        made.written = written
        return made

    def __reduce__(self) -> tuple[type[Expression], tuple[str, str]]:
        """It stays one on its way to another process."""
        return Expression, (str(self), self.written)


def resolved(loaded: Any) -> Any:
    """What a configuration of OmegaConf holds, its expressions resolved; texts of the environment are `Expression`.

    Raises:
        omegaconf.errors.OmegaConfBaseException: an expression cannot be resolved.
    """
    from omegaconf import OmegaConf

    raw = OmegaConf.to_container(loaded, resolve=False)
    secret = ["oc.env", *_secret_keys(raw)]
    return _marked(OmegaConf.to_container(loaded, resolve=True), raw, secret)


def as_written(value: Any) -> Any:
    """Plain containers with expressions in place of what they stand for."""
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    return value.written if isinstance(value, Expression) else value


def as_text(value: Any) -> Any:
    """A text, or a list of them, with plain texts in place of expressions."""
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return str(value) if isinstance(value, Expression) else value


def _secret_keys(raw: Any) -> list[str]:
    """Last names of keys whose values come from the environment, be it through other keys."""
    found: list[str] = []
    while True:
        more = [key for key, text in _texts(raw) if key not in found and _is_secret(text, ["oc.env", *found])]
        if not more:
            return found
        found += more


def _texts(raw: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(raw, dict):
        return [found for name, item in raw.items() for found in _texts(item, str(name))]
    if isinstance(raw, list):
        return [found for item in raw for found in _texts(item, key)]
    return [(key, raw)] if isinstance(raw, str) and key else []


def _is_secret(text: str, names: list[str]) -> bool:
    return "${" in text and any(name in text for name in names)


def _marked(value: Any, raw: Any, secret: list[str]) -> Any:
    if isinstance(value, dict) and isinstance(raw, dict):
        return {key: _marked(item, raw[key], secret) for key, item in value.items()}
    if isinstance(value, list) and isinstance(raw, list):
        return [_marked(item, before, secret) for item, before in zip(value, raw, strict=True)]
    if isinstance(value, str) and isinstance(raw, str) and _is_secret(raw, secret):
        return Expression(value, raw)
    return value
