# SPDX-License-Identifier: Apache-2.0
"""Tables for the docs, made from the schema, so that they cannot drift from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args, get_origin

from smwm_ros.config import Config
from smwm_ros.errors import ConfigError, did_you_mean
from smwm_ros.load import Knob, knobs

_HEAD = ('parameter', 'type', 'default', 'range or choices', 'live', 'meaning')
_NAMES = {bool: 'bool', int: 'int', float: 'float', str: 'string'}


def parameter_table(sections: Sequence[str]) -> str:
    """Return the knobs of some sections of the config as a markdown table, in reading order."""
    declared = list(knobs(Config))
    names = dict.fromkeys(knob.path.partition('.')[0] for knob in declared)
    for section in sections:
        if section not in names:
            raise ConfigError(f"section '{section}': {did_you_mean(section, names)}")
    rows = [
        _cells(knob)
        for section in sections
        for knob in declared
        if knob.path.startswith(f'{section}.')
    ]
    return '\n'.join([_line(_HEAD), _line('---' for _ in _HEAD), *(_line(row) for row in rows)])


def _cells(knob: Knob) -> tuple[str, ...]:
    """Return what a row says of one knob."""
    bounds = ', '.join(f'`{choice}`' for choice in knob.choices)
    if knob.low is not None and knob.high is not None:
        bounds = f'{_bound(knob.low)} to {_bound(knob.high)}'
    return (
        f'`{knob.path}`',
        _type(knob),
        f'`{_default(knob)}`',
        bounds,
        'yes' if knob.live else '',
        knob.help,
    )


def _type(knob: Knob) -> str:
    """Name the type of a knob."""
    if get_origin(knob.kind) is tuple:
        return f'list of {_NAMES[get_args(knob.kind)[0]]}'
    return _NAMES[knob.kind]


def _default(knob: Knob) -> str:
    """Write a default as YAML has it."""
    value = knob.default
    if isinstance(value, tuple):
        return f'[{", ".join(str(item) for item in value)}]'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != '' else "''"


def _bound(value: float) -> str:
    """Write a bound without the dot of a whole number."""
    return str(int(value)) if value == int(value) else str(value)


def _line(cells: Iterable[str]) -> str:
    """Return one row; a bar inside a cell must not end it."""
    return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'
