# SPDX-License-Identifier: Apache-2.0
"""
Convert between messages of any type and vectors of named message fields.

Messages of rosbags and rclpy have the same field names, so one codec serves bags and robots.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from smwm_ros.config import Robot
from smwm_ros.errors import CodecError, did_you_mean
from smwm_ros.fieldpath import expand, Named, parse_path, Step
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.text import count_of


def action_spec(robot: Robot) -> ActionSpec:
    """Return the names, limits and period of this robot's actions."""
    command = robot.command
    return ActionSpec(expand(command.fields), command.low, command.high, robot.dt)


class NameMissingError(CodecError):
    """A message lacks an array element of a configured name; others of its topic may have it."""


class FieldError(CodecError):
    """A message type lacks a configured field, or the field is not numeric."""


class FieldReader:
    """Read the same fields of many messages into vectors."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        try:
            self._steps = [parse_path(path) for path in self.paths]
            self._sizes = [len(expand([path])) for path in self.paths]
            self.size = len(expand(self.paths))
        except ValueError as error:
            raise CodecError(str(error)) from None

    def __call__(self, msg: Any) -> Array:
        """Return the fields as one float64 vector."""
        parts: list[Any] = []
        for path, steps, size in zip(self.paths, self._steps, self._sizes, strict=True):
            numbers = np.atleast_1d(_numeric(_follow(msg, steps, path), path))
            if numbers.shape != (size,):
                raise FieldError(
                    f"'{path}': an array of {count_of(numbers.size, 'number')}; select elements, "
                    f'such as {path}[0:2]'
                )
            parts.append(numbers)
        vector: Array = np.concatenate(parts) if parts else np.zeros(0)
        return vector


class FieldCodec:
    """Convert messages to action vectors and back, by the field paths of a spec."""

    def __init__(self, spec: ActionSpec) -> None:
        self.spec = spec
        self._read = FieldReader(spec.fields)
        self._steps = [parse_path(path) for path in spec.fields]

    def encode(self, msg: Any) -> Array:
        """Read a message into a physical vector (A,)."""
        return self._read(msg)

    def decode(self, action: Array, msg: Any) -> Any:
        """Write a physical vector (A,) into a message, and return the message."""
        if np.shape(action) != (self.spec.size,):
            raise CodecError(
                f'action has shape {np.shape(action)}, expected ({self.spec.size},) for '
                f'{", ".join(self.spec.fields)}'
            )
        for number, path, steps in zip(action, self.spec.fields, self._steps, strict=True):
            owners = [msg]
            for step in steps[:-1]:
                owners.append(_index(owners, step, path))
            last = steps[-1]
            if isinstance(last.at, Named):
                last = Step(last.name, _enter(owners, last.at, path))
            _assign(owners[-1], last, float(number), path)
        return msg


def _attribute(value: Any, name: str, path: str) -> Any:
    """Return a field of a message, or raise an error that lists its fields."""
    try:
        return getattr(value, name)
    except AttributeError:
        known = _field_names(value)
        kind = type(value).__name__
        raise FieldError(
            f"'{path}': {kind} has no field '{name}'; {did_you_mean(name, known)}"
        ) from None


def _field_names(msg: Any) -> list[str]:
    """Return the field names of an rclpy or a rosbags message."""
    if hasattr(msg, 'get_fields_and_field_types'):
        return list(msg.get_fields_and_field_types())
    return [name for name in getattr(msg, '__dataclass_fields__', {}) if name != '__msgtype__']


def _follow(msg: Any, steps: Sequence[Step], path: str) -> Any:
    """Return the value at the end of a path."""
    owners = [msg]
    for step in steps:
        owners.append(_index(owners, step, path))
    return owners[-1]


def _index(owners: Sequence[Any], step: Step, path: str) -> Any:
    """Return a field of the innermost of some nested messages, or elements of that field."""
    value = _attribute(owners[-1], step.name, path)
    if step.at is None:
        return value
    if isinstance(step.at, Named):
        at = [_place(_names(owners, step.at, path), word, path) for word in step.at.words]
        if at and max(at) >= len(value):
            raise CodecError(f"'{path}': '{step.name}' has {count_of(len(value), 'element')}")
        return [value[place] for place in at] if step.is_many else value[at[0]]
    try:
        part = value[step.at]
    except (IndexError, TypeError):
        part = None
    wanted = step.at.stop - step.at.start if isinstance(step.at, slice) else None
    if part is None or (wanted is not None and len(part) != wanted):
        length = len(value) if hasattr(value, '__len__') else 0
        raise CodecError(f"'{path}': '{step.name}' has {count_of(length, 'element')}")
    return part


def _names(owners: Sequence[Any], named: Named, path: str) -> Any:
    """Return the list of names from the innermost message that has one."""
    for owner in reversed(owners):
        if hasattr(owner, named.field):
            return getattr(owner, named.field)
    return _attribute(owners[0], named.field, path)


def _place(names: Sequence[str], word: str, path: str) -> int:
    """Return the index of a name."""
    try:
        return list(names).index(word)
    except ValueError:
        found = ', '.join(names) or 'none'
        raise NameMissingError(
            f"'{path}': the message has no '{word}'; its names: {found}"
        ) from None


def _enter(owners: Sequence[Any], named: Named, path: str) -> int:
    """Return the index of a name in a message to be sent; add the name if it is missing."""
    names, (word,) = _names(owners, named, path), named.words
    if word not in names:
        names.append(word)
    return list(names).index(word)


def _numeric(value: Any, path: str) -> Array:
    """Return an array of float64, or raise an error that names the type."""
    try:
        numbers = np.asarray(value)
        if numbers.dtype.kind in 'fiub':
            return numbers.astype(np.float64)
    except ValueError:  # a ragged list
        pass
    raise FieldError(f"'{path}': expected a number, found {type(value).__name__}")


def _assign(target: Any, step: Step, number: float, path: str) -> None:
    """Write one number into a message; extend an array field if it is too short."""
    old = _attribute(target, step.name, path)
    if step.at is None:
        if not isinstance(old, Real):
            raise CodecError(f"'{path}': expected a number, found {type(old).__name__}")
        value: Any = number
        if isinstance(old, Integral):  # ROS refuses a float in an integer or bool field
            value = bool(round(number)) if isinstance(old, bool) else round(number)
        setattr(target, step.name, value)
        return
    assert isinstance(step.at, int)
    kind = np.asarray(old).dtype.kind  # not kept: a view would forbid the array to grow
    if not hasattr(old, '__len__') or kind not in 'fiub':
        raise CodecError(f"'{path}': expected an array of numbers, found {type(old).__name__}")
    if kind != 'f':
        number = round(number)
    if isinstance(old, np.ndarray):  # rosbags sequences, and fixed arrays of rclpy
        if step.at >= len(old):
            old = np.concatenate([old, np.zeros(step.at + 1 - len(old), old.dtype)])
        old[step.at] = number
        setattr(target, step.name, old)
        return
    while len(old) <= step.at:
        old.append(type(number)())
    old[step.at] = number
