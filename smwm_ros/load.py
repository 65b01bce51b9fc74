# SPDX-License-Identifier: Apache-2.0
"""
Three doors into one schema: YAML files, `key=value` words and ROS parameters.

All mistakes are gathered and reported at once, each with its key path, the value that was found,
and what would have been valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass, MISSING
from math import isfinite
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, NamedTuple, TypeVar

from smwm_ros.config import Config
from smwm_ros.errors import ConfigError, did_you_mean, video_hint
from smwm_ros.share import share_folders, shipped
import yaml

T = TypeVar('T')


class Knob(NamedTuple):
    """One knob as the doors see it."""

    path: str  # 'planner.samples'
    kind: Any  # bool, int, float, str, tuple[float, ...] or tuple[str, ...]
    default: Any
    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool  # may change while a node runs


def knobs(schema: type, prefix: str = '') -> Iterator[Knob]:
    """Yield every knob of a config class and of the classes nested in it, in reading order."""
    hints = get_type_hints(schema)
    for item in fields(schema):
        path = f'{prefix}{item.name}'
        if is_dataclass(hints[item.name]):
            yield from knobs(hints[item.name], f'{path}.')
        else:
            yield Knob(path, hints[item.name], item.default, **item.metadata)


def build(schema: type[T], data: Mapping[str, Any], where: str) -> T:
    """Make a config section of nested plain data, or raise one error with every mistake."""
    mistakes: list[str] = []
    value = _section(schema, data, '', mistakes)
    if mistakes:
        raise ConfigError('; '.join(f'{where}: {mistake}' for mistake in mistakes))
    assert isinstance(value, schema)
    return value


def load_config(
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> Config:
    """Read a YAML file (a path, or the name of a shipped config), then `key=value` words."""
    data: dict[str, Any] = merge({}, base or {})
    where = 'configuration'
    if source is not None:
        path = config_path(source)
        where = str(path)
        data = merge(data, read_yaml(path))
    for word in overrides:
        data = merge(data, parse_override(word))
        where = f'{where.removesuffix(" and command line")} and command line'
    return build(Config, data, where)


class _UniqueKeys(yaml.SafeLoader):
    """YAML as it should be: a key that is written twice is a mistake, not the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                reason = f"the key '{key.value}' is written twice"
                raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping."""
    try:
        data = yaml.load(path.read_text(encoding='utf-8'), _UniqueKeys)
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read: {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split()).replace('in "<unicode string>",', 'at')
        raise ConfigError(f'{path}: not valid YAML: {reason}') from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f'{path}: expected sections of knobs, found a {type(data).__name__}')
    return data


def parse_override(word: str) -> dict[str, Any]:
    """Turn 'planner.samples=64' into nested plain data; the value is read as YAML."""
    key, equals, text = word.partition('=')
    if not equals or not key.strip():
        raise ConfigError(f"'{word}': expected key=value, such as planner.samples=64")
    try:
        value: Any = yaml.safe_load(text) if text else ''
    except yaml.YAMLError:
        raise ConfigError(f"'{word}': the value is not valid YAML") from None
    for name in reversed(key.strip().split('.')):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of plain data over another."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def to_dict(section: Any) -> Any:
    """Turn a config section into plain data that YAML and JSON can hold."""
    if is_dataclass(section):
        return {item.name: to_dict(getattr(section, item.name)) for item in fields(section)}
    return list(section) if isinstance(section, tuple) else section


def config_path(source: str | Path) -> Path:
    """Find a config by path, or by the name of one that comes with the package."""
    path = Path(source)
    if path.is_file():
        return path
    if path.suffix == '' and path.name == str(source):
        found = shipped('config', f'{path.name}.yaml')
        if found:
            return found
    names = {item.stem for folder in share_folders() for item in folder.glob('config/*.yaml')}
    raise ConfigError(f'{source}: no such config file; {did_you_mean(str(source), names)}')


def _section(schema: Any, data: Any, prefix: str, mistakes: list[str]) -> Any:
    """Build one dataclass; mistakes go to the list, and None is returned then."""
    if data is None:  # a section in YAML with every knob commented out
        data = {}
    if not isinstance(data, Mapping):
        name = prefix.rstrip('.') or 'top level'
        mistakes.append(f'{name}: expected a section of knobs, found {data!r}')
        return None
    hints = get_type_hints(schema)
    declared: dict[str, Field[Any]] = {item.name: item for item in fields(schema)}
    for key in data:
        if key not in declared:
            hint = did_you_mean(str(key), declared)
            mistakes.append(f'{prefix}{key}: unknown key; {hint}')
    values: dict[str, Any] = {}
    before = len(mistakes)
    for name, item in declared.items():
        if name not in data:
            continue
        if is_dataclass(hints[name]):
            values[name] = _section(hints[name], data[name], f'{prefix}{name}.', mistakes)
        else:
            values[name] = _value(item, hints[name], data[name], f'{prefix}{name}', mistakes)
    if len(mistakes) > before:
        return None
    try:
        return schema(**values)
    except ValueError as error:  # raised by a section's own __post_init__
        mistakes.append(f'{prefix}{error}')
        return None


def _value(item: Field[Any], kind: Any, value: Any, path: str, mistakes: list[str]) -> Any:
    """Check one value against its declared type, bounds and choices."""
    assert item.default is not MISSING
    meta = item.metadata
    converted = _convert(kind, value)
    if converted is None:
        mistakes.append(f'{path}: expected {describe(kind)}, found {value!r}')
        return None
    if meta['choices'] and converted not in meta['choices']:
        hint = video_hint(str(converted)) or did_you_mean(str(converted), meta['choices'])
        mistakes.append(f'{path}: {converted!r} is not a choice; {hint}')
    low, high = meta['low'], meta['high']
    for number in converted if isinstance(converted, tuple) else (converted,):
        if low is not None and not low <= number <= high:
            mistakes.append(f'{path}: {number} is out of range; valid: {low} to {high}')
    return converted


def _convert(kind: Any, value: Any) -> Any:
    """Return the value as the declared type, or None where it is of another."""
    if get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return None
        items = [_convert(get_args(kind)[0], item) for item in value]
        return None if any(item is None for item in items) else tuple(items)
    if kind is float and type(value) in (int, float, str):
        return _number(value)
    return value if type(value) is kind else None  # so that True is no int


def _number(value: float | str) -> float | None:
    """Read a finite number, also what YAML takes for text and people mean as a number: 1e-3."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def describe(kind: Any) -> str:
    """Say a type in plain words."""
    if get_origin(kind) is tuple:
        return f'a list of {describe(get_args(kind)[0]).removeprefix("a ")}s'
    names = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}
    return names[kind]
