# SPDX-License-Identifier: Apache-2.0
"""
Build the configuration from YAML files, `key=value` words and ROS parameters.

One error reports all mistakes, each with its key path, the value found and the values expected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass, MISSING, replace
from math import isfinite
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, NamedTuple, TypeVar

from smwm_ros.config import Config, Planner, REMOVED
from smwm_ros.errors import ConfigError, did_you_mean, one_line
from smwm_ros.share import share_folders, shipped
from smwm_ros.text import brief, cut, VALUE
import yaml

LARGEST = 1 << 18  # bytes of a file; reading more takes seconds
MOST = 20_000  # values in a file
DEEPEST = 20  # levels of nesting in a file
NAMED = 10  # mistakes reported one by one
T = TypeVar('T')


class Knob(NamedTuple):
    """One knob as it is declared."""

    path: str  # 'planner.samples'
    kind: Any  # bool, int, float, str, tuple[float, ...] or tuple[str, ...]
    default: Any
    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool  # may change while a node runs
    was: str  # former name, '' for none
    basic: bool  # to be read first
    tune: str  # when to change it, '' for no advice


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
        if len(mistakes) > NAMED:
            mistakes[NAMED:] = [f'and {len(mistakes) - NAMED} more mistakes']
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


class _Careful(yaml.SafeLoader):
    """
    YAML of a bounded size, in which no key occurs twice.

    An alias stands for the values it names. A few lines of aliases of aliases can stand for more
    values than fit into memory, so values of aliases are counted in full.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of each node, by its id: values in it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read one value."""
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        self._require(self._depth <= DEEPEST, f'nested in more than {DEEPEST} levels')
        node = super().compose_node(parent, index)
        assert node is not None
        self._depth -= 1
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in self._parts(node))
        size = self._sizes.get(id(node), MOST + 1)  # one that is within itself has no size yet
        self._require(size <= MOST, f'more than {MOST} values, aliases counted in full')
        return node

    def _parts(self, node: yaml.Node) -> list[yaml.Node]:
        """Return the nodes within a node."""
        if not isinstance(node, yaml.MappingNode):
            return node.value if isinstance(node, yaml.SequenceNode) else []
        seen: set[str] = set()
        for key, _ in node.value:
            self._require(isinstance(key, yaml.ScalarNode), 'expected a text as key', key)
            twice = f"the key '{cut(key.value, VALUE)}' is written twice"
            self._require(key.value not in seen, twice, key)
            seen.add(key.value)
        return [part for pair in node.value for part in pair]

    def _require(self, fine: bool, reason: str, node: yaml.Node | None = None) -> None:
        if not fine:
            mark = node.start_mark if node else self.get_mark()
            raise yaml.constructor.ConstructorError(None, None, reason, mark)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ConfigError(f'{path}: {size} bytes; expected a configuration, {LARGEST} at most')
        data = _parse(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read: {error.strerror}') from None
    except ValueError as error:
        raise ConfigError(f'{path}: not valid YAML: {error}') from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f'{path}: expected sections of knobs, found a {type(data).__name__}')
    return data


def _parse(text: str) -> Any:
    """Read YAML; raise a ValueError where the text is not valid."""
    try:
        return yaml.load(text, _Careful)
    except Exception as error:  # of any kind: Python converts the values behind tags
        reason = one_line(error).replace('in "<unicode string>",', 'at')
        raise ValueError(reason) from None


def parse_override(word: str) -> dict[str, Any]:
    """Turn 'planner.samples=64' into nested plain data; the value is read as YAML."""
    key, equals, text = word.partition('=')
    if not equals or not key.strip():
        raise ConfigError(f"'{word}': expected key=value, such as planner.samples=64")
    try:
        value: Any = _parse(text) if text else ''
    except ValueError as error:
        raise ConfigError(f"'{word}': the value is not valid YAML: {error}") from None
    names = key.strip().split('.')
    if len(names) > DEEPEST:
        raise ConfigError(f"'{word}': expected key=value, such as planner.samples=64")
    for name in reversed(names):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one tree of plain data overridden by another."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def config_for_run(source: str | Path, words: Sequence[str], planner: Planner) -> Config:
    """Read a config whose planner is that of a run, changed by `key=value` words alone."""
    config = load_config(source, words)
    chosen = [word for word in words if word.startswith('planner.')]
    own = load_config(None, chosen, {'planner': to_dict(planner)})
    return replace(config, planner=own.planner)


def to_dict(section: Any) -> Any:
    """Turn a config section into plain data for YAML and JSON."""
    if is_dataclass(section):
        return {item.name: to_dict(getattr(section, item.name)) for item in fields(section)}
    return list(section) if isinstance(section, tuple) else section


def config_path(source: str | Path) -> Path:
    """Find a config by its path, or by the name of one that comes with the package."""
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
    """Build one dataclass; add mistakes to the list and return None if there are any."""
    if data is None:  # a section in YAML with every knob commented out
        data = {}
    if not isinstance(data, Mapping):
        name = prefix.rstrip('.') or 'top level'
        mistakes.append(f'{name}: expected a section of knobs, found {brief(data)}')
        return None
    hints = get_type_hints(schema)
    declared: dict[str, Field[Any]] = {item.name: item for item in fields(schema)}
    renamed = {item.metadata.get('was', ''): name for name, item in declared.items()}
    removed = REMOVED.get(schema, {})
    for key in [key for key in data if key not in declared]:
        if key in renamed:
            mistakes.append(f'{prefix}{key}: this knob is now called {prefix}{renamed[key]}')
            continue
        if instead := removed.get(key):
            mistakes.append(f'{prefix}{key}: this knob was removed; {instead}')
            continue
        # Finding a similar name takes time, and only the first mistakes are shown.
        hint = did_you_mean(str(key), declared) if len(mistakes) < NAMED else ''
        mistakes.append(f'{prefix}{cut(str(key), VALUE)}: unknown key; {hint}')
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
        mistakes.append(f'{path}: expected {describe(kind)}, found {brief(value)}')
        return None
    if meta['choices'] and converted not in meta['choices']:
        hint = did_you_mean(str(converted), meta['choices'])
        mistakes.append(f'{path}: {brief(converted)} is not a choice; {hint}')
    low, high = meta['low'], meta['high']
    for number in converted if isinstance(converted, tuple) else (converted,):
        if low is not None and not low <= number <= high:
            mistakes.append(f'{path}: {number} is out of range; valid: {low} to {high}')
    return converted


def _convert(kind: Any, value: Any) -> Any:
    """Return the value as the declared type, or None where it has another type."""
    if get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return None
        items = [_convert(get_args(kind)[0], item) for item in value]
        return None if any(item is None for item in items) else tuple(items)
    if kind is float and type(value) in (int, float, str):
        return _number(value)
    return value if type(value) is kind else None  # for bool is a subclass of int


def _number(value: float | str) -> float | None:
    """Read a finite number, also one that YAML reads as a text, such as 1e-3."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def describe(kind: Any) -> str:
    """Describe a type in plain words."""
    if get_origin(kind) is tuple:
        return f'a list of {describe(get_args(kind)[0]).removeprefix("a ")}s'
    names = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}
    return names[kind]
