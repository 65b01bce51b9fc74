# SPDX-License-Identifier: Apache-2.0
"""
Paths to the numbers in a message.

A path is field names joined by dots, with an index or a slice where a field is an array:
'twist.linear.x', 'position[0:6]', 'data[2]', 'points[0].velocities[0:6]'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import re
from typing import NamedTuple

_STEP = re.compile(r'(?P<name>[A-Za-z_]\w*)(\[(?P<low>\d+)(?P<colon>:(?P<high>\d+))?\])?')


class Step(NamedTuple):
    """One step of a field path."""

    name: str
    at: int | slice | None


def parse_path(path: str) -> tuple[Step, ...]:
    """Read 'twist.linear.x' or 'position[0:6]'."""
    steps = []
    for word in path.split('.'):
        match = _STEP.fullmatch(word)
        if match is None:
            raise ValueError(
                f"'{path}': not a field path; expected such as twist.linear.x or position[0:6]"
            )
        low, high = match['low'], match['high']
        if low is None:
            index: int | slice | None = None
        elif match['colon']:
            index = slice(int(low), int(high))
            if index.stop <= index.start:
                raise ValueError(f"'{path}': the slice is empty")
        else:
            index = int(low)
        steps.append(Step(match['name'], index))
    if any(isinstance(step.at, slice) for step in steps[:-1]):
        raise ValueError(f"'{path}': only the last field may be a slice")
    return tuple(steps)


def expand(paths: Sequence[str]) -> tuple[str, ...]:
    """Name each number by itself: position[0:2] -> position[0], position[1]."""
    names: list[str] = []
    for path in paths:
        index = parse_path(path)[-1].at
        if isinstance(index, slice):
            head = path[: path.rindex('[')]
            names += [f'{head}[{number}]' for number in range(index.start, index.stop)]
        else:
            names.append(path)
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"'{name}': named more than once")
    return tuple(names)
