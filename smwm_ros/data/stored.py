# SPDX-License-Identifier: Apache-2.0
"""
What we wrote to disk comes back as what it was, or one line says which file is damaged, and how.

A shape is a small picture of what a JSON file holds: `int`; `float`, any number; `str`; `[int]`, a
list of such; `(int, float)`, a list of just these; `{str: int}`, names of such; {'rows': int,
'notes?': [str]}, an object, in which a question mark stands behind what may be missing; `Any`.
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
# What knobs have no default for, when they are read back: no guess of these would be right.
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
    """What a family of files has in common: its error, and what helps where one is damaged."""

    error: type[SmwmError]
    remedy: str

    def damaged(self, path: Path, reason: str) -> SmwmError:
        """Return the error of a damaged file."""
        return self.error(f'{path}: damaged: {reason}; {self.remedy}')


def read_json(path: Path, kind: Kind, newest: int | None = None) -> dict[str, Any]:
    """Read a JSON object; one that has a format has one that this version knows."""
    try:
        if not path.is_file():
            raise kind.error(f'{path}: missing, or no file; {kind.remedy}')
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
    """Refuse what a file holds where it is of another shape."""
    if reason := mismatch(data, shape):
        raise kind.damaged(path, reason)


def mismatch(data: Any, shape: Any, where: str = '') -> str:
    """Say where data is not of a shape, and what was found there; '' where it fits."""
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
    Make a config section of the plain data it was stored as; ValueError where it is none.

    A knob that is younger than the data is as by default, and one with a former name is found by
    it, too. A removed knob is ignored; any other that this version does not have is refused where
    all have to be known.
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


def _members(
    data: dict[str, Any], shape: dict[Any, Any], where: str
) -> Iterable[tuple[Any, Any, str]]:
    """Pair what an object holds with its shapes; what is missing is paired with None."""
    dot = f'{where}.' if where else ''
    for key, part in shape.items():
        if key in (str, int):
            yield from ((value, part, f'{dot}{name}') for name, value in data.items())
            continue
        name = key.removesuffix('?')
        if name in data or name == key:
            yield data.get(name), part, f'{dot}{name}'


def _first(parts: Iterable[tuple[Any, Any, str]]) -> str:
    """Return the first thing that is wrong with parts of data."""
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
    """Tell whether lists and objects lie deeper within each other than in any file of ours."""
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(DEEPEST):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [item for part in parts for item in part if isinstance(item, (dict, list))]
        if not level:
            return False
    return True


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return a stored value as what a knob is declared to be."""
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(get_args(kind)[0], item, where) for item in value)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1e300 else value
    if type(value) is not kind or (kind is float and not isfinite(value)):
        name = _NAMES[get_origin(kind) or kind]
        raise ValueError(f'{where}: expected {name}, found {brief(value)}')
    return value


def _check_limits(value: Any, limits: Mapping[str, Any], where: str) -> None:
    """Refuse what no user could have set."""
    low, high, choices = limits['low'], limits['high'], limits['choices']
    for number in value if isinstance(value, tuple) else (value,):
        if low is not None and not low <= number <= high:
            raise ValueError(f'{where}: {number} is out of range; valid: {low} to {high}')
    if choices and value not in choices:
        raise ValueError(
            f'{where}: {brief(value)} is not a choice; {did_you_mean(value, choices)}'
        )
