# SPDX-License-Identifier: Apache-2.0
"""
Paths to the numbers in a message.

A path is field names joined by dots, with an index or a slice where a field is an array:
'twist.linear.x', 'position[0:6]', 'data[2]', 'points[0].velocities[0:6]'. Where a message names
the elements of its arrays, a path can select them by name, in any order:
'position[name=elbow,wrist]' of a JointState, 'points[0].positions[joint_names=elbow]' of a
JointTrajectory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import re
from typing import NamedTuple

MOST = 1000  # numbers in one path
_FIELD = r'[A-Za-z_]\w*'
_STEP = re.compile(
    rf'(?P<name>{_FIELD})'
    r'(\[((?P<low>\d+)(?P<colon>:(?P<high>\d+))?'
    rf'|(?P<key>{_FIELD})=(?P<words>[^][,=]+(,[^][,=]+)*))\])?'
)
_DOT = re.compile(r'\.(?![^\[]*\])')  # outside brackets: names of joints may have dots


class Named(NamedTuple):
    """Elements of an array, by their names in another field of the message."""

    field: str  # with the names
    words: tuple[str, ...]


class Step(NamedTuple):
    """One step of a field path."""

    name: str
    at: int | slice | Named | None

    @property
    def is_many(self) -> bool:
        """Return whether the step selects more than one element."""
        return isinstance(self.at, slice) or (
            isinstance(self.at, Named) and len(self.at.words) > 1
        )


def parse_path(path: str) -> tuple[Step, ...]:
    """Read 'twist.linear.x', 'position[0:6]' or 'position[name=elbow]'."""
    steps = []
    for word in _DOT.split(path):
        match = _STEP.fullmatch(word)
        if match is None:
            raise ValueError(
                f"'{path}': not a field path; expected a path like twist.linear.x, position[0:6] "
                f'or position[name=elbow]'
            )
        steps.append(Step(match['name'], _elements(path, match)))
    if any(step.is_many for step in steps[:-1]):
        raise ValueError(f"'{path}': only the last field may be a slice")
    return tuple(steps)


def expand(paths: Sequence[str]) -> tuple[str, ...]:
    """Return one path for each number: position[0:2] -> position[0], position[1]."""
    names: list[str] = []
    for path in paths:
        last = parse_path(path)[-1]
        head = path[: path.rindex('[')] if last.is_many else path
        if isinstance(last.at, Named) and last.is_many:
            names += [f'{head}[{last.at.field}={word}]' for word in last.at.words]
        elif isinstance(last.at, slice):
            names += [f'{head}[{number}]' for number in range(last.at.start, last.at.stop)]
        else:
            names.append(path)
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"'{name}': named more than once")
    return tuple(names)


def _elements(path: str, match: re.Match[str]) -> int | slice | Named | None:
    """Return the elements that the brackets select."""
    if match['key']:
        return Named(match['key'], tuple(word.strip() for word in match['words'].split(',')))
    if match['low'] is None:
        return None
    low = int(match['low'])
    if not match['colon']:
        return low
    high = int(match['high'])
    if high <= low:
        raise ValueError(f"'{path}': the slice is empty")
    if high - low > MOST:
        raise ValueError(f"'{path}': {high - low} numbers; expected at most {MOST}")
    return slice(low, high)
