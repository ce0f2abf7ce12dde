"""Settings: YAML or `key=value` onto a frozen dataclass, strictly.

A setting is a field of a frozen dataclass, described in its docstring. A file or the command
line lists only what differs from the defaults; an unknown key fails and names its nearest
neighbour, a wrong type fails and says what is allowed. Nothing is filled in later: what
`resolve` returns is what runs, and `as_dict` is what is saved beside every output.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from evalsuite.errors import ConfigError
from evalsuite.records import shown

T = TypeVar("T")


def resolve(
    cls: type[T],
    *,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    where: str = "--set",
) -> T:
    """An instance of the dataclass `cls` from its defaults, then `file`, then `overrides`.

    overrides: "key=value" or "outer.inner=value", the value read as YAML (`[a, b]`, `null`, ...);
    one value for a field that takes several is a list of one.
    Raises ConfigError naming the place, the key or value, and what is allowed.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values = _read_yaml(file)
        _refuse_unknown(cls, values, str(file))
        values = _validated(cls, values, str(file))
    for text in overrides:
        key, sign, raw = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"{where} {shown(text)}; allowed key=value")
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where} {shown(text)}: value is not YAML") from error
        *outer, last = key.strip().split(".")
        nested: dict[str, Any] = {last: value}
        for name in reversed(outer):
            nested = {name: nested}
        _refuse_unknown(cls, nested, where)
        values = _merge(values, _listed(cls, nested))
    _validated(cls, values, where)
    instance: T = TypeAdapter(cls).validate_python(_with_own_defaults(cls, values))
    return instance


def from_values(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of `cls` from plain data, as strict as a file; `where` names it in errors."""
    _refuse_unknown(cls, values, where)
    checked = _validated(cls, dict(values), where)
    instance: T = TypeAdapter(cls).validate_python(_with_own_defaults(cls, checked))
    return instance


def as_dict(config: Any) -> dict[str, Any]:
    """The resolved settings as plain data, for JSON beside an output."""
    plain: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return plain


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f"{file}:{line + 1}" if line is not None else str(file)
        raise ConfigError(f"{place}: is not YAML") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{file}: is {shown(loaded)}; allowed a mapping of settings")
    return loaded


def _refuse_unknown(cls: type[Any], values: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            help_ = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}; {help_}")
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hints[key]):
            _refuse_unknown(hints[key], value, where)


def _listed(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """`splits=valid2` means `splits=[valid2]`."""
    hints = get_type_hints(cls)
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and dataclasses.is_dataclass(hints[key]):
            out[key] = _listed(hints[key], value)
        else:
            several = get_origin(hints[key]) is tuple and isinstance(value, str)
            out[key] = [value] if several else value
    return out


def _with_own_defaults(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A nested group that is named in part keeps the rest of the defaults that `cls` gives it."""
    out = dict(values)
    for field in dataclasses.fields(cls):
        given = values.get(field.name)
        if not isinstance(given, Mapping) or not dataclasses.is_dataclass(
            get_type_hints(cls)[field.name]
        ):
            continue
        default: Any = None
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            default = field.default
        if default is not None:
            own = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}
            out[field.name] = {**own, **_with_own_defaults(type(default), given)}
    return out


def _validated(cls: type[Any], values: dict[str, Any], where: str) -> dict[str, Any]:
    if not hasattr(cls, "__pydantic_config__"):
        cls.__pydantic_config__ = ConfigDict(extra="forbid")
    try:
        TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigError(
            f"{where}: {key} is {shown(first['input'])}; {first['msg'].lower()}"
        ) from error
    return values


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out
