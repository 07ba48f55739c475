"""Strict configuration: TOML in, frozen dataclasses out; unknown names, wrong types, bad choices are all said."""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from synthcohort.core.errors import ConfigError, Problem

T = TypeVar("T")


def load_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(Problem(f"configuration {path}", "no such file")) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(f"configuration {path}", f"cannot be read ({error})")) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(Problem(f"configuration {path}", f"is not valid TOML: {error}")) from error


def apply_overrides(mapping: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Applies `section.key=value`; the value is read as TOML and, failing that, as plain text."""
    result = _copy(mapping)
    for override in overrides:
        name, equals, text = override.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(
                Problem("--set", f"{override!r}", "section.key=value", "for example --set train.images=20000")
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        place = result
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(Problem("--set", f"{override!r}: {key} is a value, not a section"))
        place[keys[-1]] = value
    return result


def _copy(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in mapping.items()}


def build(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Builds a frozen dataclass from a mapping; raises ConfigError once, with every problem found."""
    problems: list[Problem] = []
    value = _build(cls, mapping, where, problems)
    if problems:
        raise ConfigError(*problems)
    return value


def _build(cls: Any, mapping: Any, where: str, problems: list[Problem]) -> Any:
    if not isinstance(mapping, Mapping):
        problems.append(Problem(where or cls.__name__, f"{mapping!r}", "a table of settings"))
        return None
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    failed = False
    for key, value in mapping.items():
        name = f"{where}.{key}" if where else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            problems.append(
                Problem(
                    f"setting {name}",
                    "is unknown",
                    ", ".join(sorted(fields)),
                    f"did you mean {near[0]}?" if near else "",
                )
            )
            continue
        before = len(problems)
        values[key] = _convert(hints[key], value, name, problems)
        failed = failed or len(problems) > before
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    for name in missing:
        problems.append(Problem(f"setting {where}.{name}" if where else f"setting {name}", "is missing"))
    if failed or missing:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        problems.extend(problem for problem in error.problems if isinstance(problem, Problem))
        return None


def _convert(hint: Any, value: Any, name: str, problems: list[Problem]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name, problems)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        attempts: list[Problem] = []
        for argument in arguments:
            if argument is not type(None):
                errors: list[Problem] = []
                converted = _convert(argument, value, name, errors)
                if not errors:
                    return converted
                attempts.extend(errors)
        if len(attempts) == 1:
            problems.extend(attempts)
        else:
            problems.append(Problem(f"setting {name}", repr(value), _type_words(hint)))
        return None
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[0], bool):
            problems.append(Problem(f"setting {name}", repr(value), ", ".join(map(str, arguments))))
        return value
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            problems.append(Problem(f"setting {name}", repr(value), _type_words(hint)))
            return None
        inner = arguments[:1] * len(value) if origin is list or arguments[-1] is Ellipsis else arguments
        if len(inner) != len(value):
            problems.append(Problem(f"setting {name}", f"{len(value)} values", f"{len(inner)} values"))
            return None
        converted = [
            _convert(kind, item, f"{name}[{i}]", problems)
            for i, (kind, item) in enumerate(zip(inner, value, strict=True))
        ]
        return tuple(converted) if origin is tuple else converted
    if origin is dict:
        if not isinstance(value, Mapping):
            problems.append(Problem(f"setting {name}", repr(value), "a table"))
            return None
        return {key: _convert(arguments[1], item, f"{name}.{key}", problems) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        problems.append(Problem(f"setting {name}", repr(value), _type_words(hint)))
        return None
    return value


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    type(None): "nothing",
}


def _type_words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_words(argument) for argument in arguments if argument is not type(None))
    if origin in (tuple, list):
        return f"a list of {_type_words(arguments[0])}"
    if origin is typing.Literal:
        return ", ".join(map(str, arguments))
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def at_least(section: str, config: object, limits: Mapping[str, int]) -> None:
    """Raises ConfigError with every setting of a section that is below its limit."""
    problems = [
        Problem(f"setting {section}.{name}", str(getattr(config, name)), f"{least} or more")
        for name, least in limits.items()
        if getattr(config, name) < least
    ]
    if problems:
        raise ConfigError(*problems)


def require(place: str, config: object, checks: Iterable[tuple[str, bool, str]]) -> None:
    """Raises ConfigError with every setting that is not good; `checks`: name, whether it is good, what is allowed."""
    problems = [
        Problem(f"{place}{name}", repr(getattr(config, name)), allowed) for name, good, allowed in checks if not good
    ]
    if problems:
        raise ConfigError(*problems)


def to_mapping(instance: Any) -> dict[str, Any]:
    """The JSON-able mapping of a config dataclass; `build` gives the same instance back."""
    return {field.name: _plain(getattr(instance, field.name)) for field in dataclasses.fields(instance)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_mapping(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.as_posix() if isinstance(value, Path) else value
