# SPDX-License-Identifier: Apache-2.0
"""Tables of knobs for the docs, made from the schema, so that they agree with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import cleandoc
from typing import get_args, get_origin, get_type_hints

from smwm_ros.config import Config
from smwm_ros.errors import ConfigError, did_you_mean
from smwm_ros.load import Knob, knobs

_HEAD = ('parameter', 'type', 'default', 'range or choices', 'live', 'meaning')
_NAMES = {bool: 'bool', int: 'int', float: 'float', str: 'string'}


def parameter_table(sections: Sequence[str]) -> str:
    """Return the knobs of some sections of the config as a markdown table, in reading order."""
    return _table(_HEAD, [_cells(knob) for section in sections for knob in _declared(section)])


def section_tables(sections: Sequence[str], basic: bool) -> str:
    """Return a heading and a table of the basic or the advanced knobs for each section."""
    parts = []
    for section in sections:
        rows = [knob for knob in _declared(section) if knob.basic is basic]
        advised = any(knob.tune for knob in rows)
        head = (*_HEAD, 'tuning') if advised else _HEAD
        cells = [(*_cells(knob), knob.tune) if advised else _cells(knob) for knob in rows]
        if rows:
            about = cleandoc(get_type_hints(Config)[section].__doc__).split('\n')[0]
            parts.append(f'### {section}\n\n{about}\n\n{_table(head, cells)}')
    return '\n\n'.join(parts)


def tuning_table(section: str) -> str:
    """Return the advice on tuning the knobs of a section, basic knobs first."""
    declared = sorted(_declared(section), key=lambda knob: not knob.basic)
    cells = [(f'`{knob.path}`', f'`{_default(knob)}`', knob.tune) for knob in declared]
    return _table(('parameter', 'default', 'tuning'), cells)


def _declared(section: str) -> list[Knob]:
    """Return the knobs of a section."""
    names = get_type_hints(Config)
    if section not in names:
        raise ConfigError(f"section '{section}': {did_you_mean(section, names)}")
    return list(knobs(names[section], f'{section}.'))


def _table(head: Sequence[str], rows: Sequence[Iterable[str]]) -> str:
    """Return a markdown table."""
    return '\n'.join(_line(cells) for cells in (head, ['---'] * len(head), *rows))


def _cells(knob: Knob) -> tuple[str, ...]:
    """Return the cells of the row of one knob."""
    bounds = ', '.join(f'`{choice}`' if choice else 'empty' for choice in knob.choices)
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
    """Write a default as in YAML."""
    value = knob.default
    if isinstance(value, tuple):
        return f'[{", ".join(str(item) for item in value)}]'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != '' else "''"


def _bound(value: float) -> str:
    """Write a bound, a whole number without decimal point."""
    return str(int(value)) if value == int(value) else str(value)


def _line(cells: Iterable[str]) -> str:
    """Return one row, with the bars inside its cells escaped."""
    return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'
