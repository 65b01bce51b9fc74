# SPDX-License-Identifier: Apache-2.0
"""
Read our own JSON files, and raise one line that names the file and the damage.

A shape describes the content of a JSON file: `int`; `float`, any number; `str`; `[int]`, a list of
integers; `(int, float)`, a list of exactly these; `{str: int}`, an object with any names; {'rows':
int, 'notes?': [str]}, an object with these names, optional with a question mark; `Any`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
import json
from math import isfinite
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, NamedTuple, TypeVar

from smwm_ros import __version__, config
from smwm_ros.errors import did_you_mean, one_line, SmwmError
from smwm_ros.text import brief

DEEPEST = 20  # levels of a JSON file
# Knobs that must be stored: a default would be wrong.
NEEDED = {
    config.Robot: ('camera', 'command', 'state', 'dt'),
    config.Camera: ('topic',),
    config.Command: ('topic', 'fields', 'low', 'high'),
    config.State: ('topic', 'fields'),
    config.Dataset: ('image_size', 'action_block'),
    config.Model: ('latent', 'hidden'),
}
_NAMES: dict[Any, str] = {
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    dict: 'an object',
}
_NAMES |= {list: 'a list', tuple: 'a list', bool: 'true or false'}
T = TypeVar('T')


class Kind(NamedTuple):
    """A kind of files: its error class, and what to do if a file is damaged."""

    error: type[SmwmError]
    remedy: str

    def damaged(self, path: Path, reason: str) -> SmwmError:
        """Return the error of a damaged file."""
        return self.error(f'{path}: damaged: {reason}; {self.remedy}')


def read_json(path: Path, kind: Kind, newest: int | None = None) -> dict[str, Any]:
    """Read a JSON object; with `newest`, check its format number."""
    try:
        if not path.is_file():
            raise kind.error(f'{path}: missing, or not a file; {kind.remedy}')
        data = json.loads(path.read_text(encoding='utf-8'))
        deep = _is_deep(data)
    except OSError as error:
        raise kind.error(f'{path}: cannot be read: {error.strerror}') from None
    except ValueError as error:
        raise kind.damaged(path, f'not valid JSON: {one_line(error)}') from None
    except RecursionError:
        deep = True
    if deep:
        raise kind.damaged(path, f'nested in more than {DEEPEST} levels')
    if not isinstance(data, dict):
        raise kind.damaged(path, f'expected an object, found {brief(data)}')
    if newest is not None:
        _check_format(path, data.get('format'), newest, kind)
    return data


def require(data: Any, shape: Any, path: Path, kind: Kind) -> None:
    """Raise if the content of a file does not have a shape."""
    if reason := mismatch(data, shape):
        raise kind.damaged(path, reason)


def mismatch(data: Any, shape: Any, where: str = '') -> str:
    """Return where data does not have a shape, and what was found there, or ''."""
    if isinstance(shape, dict) and isinstance(data, dict):
        return _first(_members(data, shape, where))
    if isinstance(shape, list) and isinstance(data, list):
        return _first((item, shape[0], f'{where}[{n}]') for n, item in enumerate(data))
    if isinstance(shape, tuple) and isinstance(data, list) and len(data) == len(shape):
        pairs = enumerate(zip(data, shape, strict=True))
        return _first((item, part, f'{where}[{n}]') for n, (item, part) in pairs)
    if shape is Any or type(data) is shape or (shape is float and type(data) is int):
        return ''
    if shape in (dict, list) and isinstance(data, shape):
        return ''
    name = _NAMES[shape if isinstance(shape, type) else type(shape)]
    many = f' of {len(shape)}' if isinstance(shape, tuple) else ''
    return f'{where or "the file"}: expected {name}{many}, found {brief(data)}'


def section(schema: type[T], data: Any, where: str, known: bool = True) -> T:
    """
    Make a config section from stored plain data; raise ValueError if it is invalid.

    A missing knob has its default, and a renamed knob is also read by its former name. A
    removed knob is ignored. With `known`, other unknown knobs are an error.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f'{where}: expected an object, found {brief(data)}')
    declared = {item.name: item.metadata for item in fields(schema)}  # type: ignore[arg-type]
    names = {meta['was']: name for name, meta in declared.items() if meta.get('was')}
    data = {names.get(key, key): value for key, value in data.items()}
    gone = config.REMOVED.get(schema, {})
    if known and (unknown := sorted(set(data) - set(declared) - set(gone))):
        raise ValueError(f'{where}: unknown {schema.__name__} knobs: {", ".join(unknown)}')
    hints = get_type_hints(schema)
    values = {}
    for name, limits in declared.items():
        if name not in data:
            continue
        if is_dataclass(hints[name]):
            values[name] = section(hints[name], data[name], f'{where}.{name}', known)
        else:
            values[name] = _typed(hints[name], data[name], f'{where}.{name}')
            _check_limits(values[name], limits, f'{where}.{name}')
    for name in NEEDED.get(schema, ()):
        if name not in data:
            raise ValueError(f'{where}.{name}: missing')
    try:
        return schema(**values)
    except ValueError as error:  # raised by a section's own __post_init__
        raise ValueError(f'{where}.{error}') from None


def flatten(data: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Name every value of nested plain data by its key path."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f'{prefix}{key}.')
        else:  # JSON has no tuples
            flat[f'{prefix}{key}'] = list(value) if isinstance(value, tuple) else value
    return flat


def differences(
    stored: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """
    Compare two configurations; return the stored and the present value of each that differs.

    A knob that is missing in the stored one is younger, and had the effect of its default.
    """
    before, after = {**flatten(defaults), **flatten(stored)}, flatten(now)
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _members(
    data: dict[str, Any], shape: dict[Any, Any], where: str
) -> Iterable[tuple[Any, Any, str]]:
    """Yield (value, shape, path) for the members of an object; a missing value is None."""
    dot = f'{where}.' if where else ''
    for key, part in shape.items():
        if key in (str, int):
            yield from ((value, part, f'{dot}{name}') for name, value in data.items())
            continue
        name = key.removesuffix('?')
        if name in data or name == key:
            yield data.get(name), part, f'{dot}{name}'


def _first(parts: Iterable[tuple[Any, Any, str]]) -> str:
    """Return the first mismatch of some parts of data, or ''."""
    return next((why for part in parts if (why := mismatch(*part))), '')


def _check_format(path: Path, version: Any, newest: int, kind: Kind) -> None:
    if type(version) is not int or version < 1:
        raise kind.damaged(path, f'expected a format, found {brief(version)}')
    if version > newest:
        raise kind.error(
            f'{path}: format {version} is newer than format {newest}, the newest that '
            f'smwm_ros {__version__} reads; update smwm_ros'
        )


def _is_deep(data: Any) -> bool:
    """Return whether lists and objects are nested deeper than in any of our files."""
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(DEEPEST):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [item for part in parts for item in part if isinstance(item, (dict, list))]
        if not level:
            return False
    return True


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return a stored value with the declared type of its knob."""
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(get_args(kind)[0], item, where) for item in value)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1e300 else value
    if type(value) is not kind or (kind is float and not isfinite(value)):
        name = _NAMES[get_origin(kind) or kind]
        raise ValueError(f'{where}: expected {name}, found {brief(value)}')
    return value


def _check_limits(value: Any, limits: Mapping[str, Any], where: str) -> None:
    """Raise if a value is outside of its knob's limits or choices."""
    low, high, choices = limits['low'], limits['high'], limits['choices']
    for number in value if isinstance(value, tuple) else (value,):
        if low is not None and not low <= number <= high:
            raise ValueError(f'{where}: {number} is out of range; valid: {low} to {high}')
    if choices and value not in choices:
        raise ValueError(
            f'{where}: {brief(value)} is not a choice; {did_you_mean(value, choices)}'
        )
