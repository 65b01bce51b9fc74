# SPDX-License-Identifier: Apache-2.0
"""Read the commands that a person entered in ask.csv, and store them as certain labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.labels import write_labels
from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import Array
from smwm_ros.labelling.moments import row_at, shard_rows
from smwm_ros.lock import hold
from smwm_ros.text import brief


class Answers(NamedTuple):
    """The commands of moments, each constant for a model step."""

    starts: Array  # (n,) rows
    actions: Array  # (n, A) physical
    empty: int  # rows of the file without an answer


def read_answers(path: Path, data: TransitionDataset) -> Answers:
    """Read and check the answers in a file of smwm label --ask."""
    head, lines = _table(path, data)
    starts, actions, places = list[int](), list[list[float]](), list[str]()
    fields = data.info.spec.fields
    for number, line in lines:
        cells = dict(zip(head, map(str.strip, line), strict=False))
        where = f'{path}:{number}'
        if not any(cells.get(name) for name in fields):
            continue
        starts.append(_start(where, cells, data))
        actions.append([_value(where, name, cells, data) for name in fields])
        places.append(where)
    if not starts:
        raise DatasetError(
            f'{path}: no row has an answer; enter the command of the robot in the columns '
            f'{", ".join(fields)}'
        )
    answers = Answers(np.array(starts), np.array(actions), len(lines) - len(starts))
    _require_apart(answers, places, data)
    _require_varied(path, answers, data)
    return answers


def store_answers(path: Path, answers: Answers, data: TransitionDataset) -> None:
    """Store answers as labels with confidence 1; other labels stay."""
    ticks = answers.starts[:, None] + np.arange(data.info.action_block)
    with hold(data.folder):
        for name, rows in shard_rows(data).items():
            mine = np.isin(answers.starts, rows)
            if not mine.any():
                continue
            old = data.labels.get(name)
            action = np.full((len(rows), data.info.spec.size), np.nan, np.float32)
            confidence = np.zeros(len(rows), np.float32)
            if old:
                action[:], confidence[:] = old.action, old.confidence
            here = ticks[mine] - rows[0]
            action[here], confidence[here] = answers.actions[mine][:, None], 1
            about = old.about if old else {'run': str(path), 'r2': 1.0}
            write_labels(data.folder, name, action, confidence, about)


def _table(path: Path, data: TransitionDataset) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the rows below them with their numbers."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path}: cannot be read as text: {error}') from None
    # Comments are above the names. A spreadsheet may add separators to them, or use semicolons.
    delimiter = ';' if '\nbag;' in f'\n{text}' else ','
    rows = list(enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1))
    rows = [(number, row) for number, row in rows if any(row)]
    while rows and rows[0][1][0].startswith('#'):
        del rows[0]
    head = [name.strip() for name in rows[0][1]] if rows else []
    wanted = ('bag', 'start', *data.info.spec.fields)
    if missing := [name for name in wanted if name not in head]:
        raise DatasetError(
            f'{path}: no column {", ".join(missing)}; expected a table of smwm label --ask, with '
            f'the columns {", ".join(wanted)}'
        )
    return head, rows[1:]


def _start(where: str, cells: dict[str, str], data: TransitionDataset) -> int:
    """Return the row at which the moment of an answer starts."""
    block = data.info.action_block
    duration = block * data.info.spec.dt
    given = _number(where, 'duration', cells) if cells.get('duration') else duration
    if abs(given - duration) > data.info.spec.dt / 2:
        raise DatasetError(
            f'{where}: duration: {given:g} s, expected a model step of {data.folder}, '
            f'{duration:g} s; ask again with this dataset'
        )
    try:
        row = row_at(data, cells['bag'], _number(where, 'start', cells))
    except DatasetError as error:
        raise DatasetError(f'{where}: {error}') from None
    if data.recorded(row + np.arange(block)).any():
        raise DatasetError(
            f'{where}: the action is recorded at this moment; expected one without recorded '
            'actions; empty the row'
        )
    return row


def _value(where: str, name: str, cells: dict[str, str], data: TransitionDataset) -> float:
    """Return one number of an answer."""
    spec = data.info.spec
    place = spec.fields.index(name)
    low, high = spec.low[place], spec.high[place]
    value = _number(where, name, cells)
    if not low <= value <= high:
        raise DatasetError(f'{where}: {name}: {value:g}, expected {low:g} to {high:g}')
    return value


def _number(where: str, name: str, cells: dict[str, str]) -> float:
    """Return the number in a cell; a decimal comma is accepted."""
    text = cells.get(name, '')
    try:
        return float(text.replace(',', '.'))
    except ValueError:
        found = brief(text) if text else 'empty'
        raise DatasetError(
            f'{where}: {name}: {found}, expected a number; fill in all columns of a row, or none'
        ) from None


def _require_apart(answers: Answers, places: list[str], data: TransitionDataset) -> None:
    """Raise if two answers have a tick in common."""
    order = np.argsort(answers.starts, kind='stable')
    near = np.diff(answers.starts[order]) < data.info.action_block
    if near.any():
        first, second = order[near.argmax()], order[near.argmax() + 1]
        raise DatasetError(
            f'{places[second]}: overlaps the moment in {places[first]}; expected moments without '
            'a common tick; empty one of the rows'
        )


def _require_varied(path: Path, answers: Answers, data: TransitionDataset) -> None:
    """Raise if all actions that are certain would be the same."""
    rows = np.arange(len(data))
    certain = data.actions(rows[data.confidence(rows) == 1])
    every = np.concatenate([certain, answers.actions.astype(np.float32)])
    if (np.ptp(every, axis=0) == 0).all():
        raise DatasetError(
            f'{path}: all commands are the same ({answers.actions[0].tolist()}); latent actions '
            'can be grounded only on commands that differ; answer moments with other motion'
        )
