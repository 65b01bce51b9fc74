# SPDX-License-Identifier: Apache-2.0
"""
Goals as measured states: from fields and their values to the latent of a goal.

Recorded drives hold latents and measured states of the same frames. Frames whose fields are near
to the wanted values show the goal. Of these, one is chosen that leaves the rest as it is in the
newest image: other measured fields are compared with those of the frame that looks most like it.
Latents would compare badly, because the image differs in the wanted fields, too. Only where no
other field is measured, the latents decide.

A linear fit to the frames around the goal corrects the error that is left. It is local, and
predicts latents from states. A probe that reads states off latents would not do: the smallest
change of a latent that changes what is read is a change that no image makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import ConfigError, did_you_mean
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.retrieval import load_drives
from smwm_ros.text import brief, count_of

APART = 50  # rows; nearer ones may show the same moment of a drive
SAMPLES = 512  # frames whose distance to the nearest other frame is measured
USUAL = 0.9  # quantile of these distances that is the spacing of the recorded frames
TOLERANCE = 3.0  # spacings between a goal and the nearest recorded frame, at most
LEAST = 0.1  # of a field's spread: such a difference from a recorded frame is always accepted
OPEN = 0.2  # the same of frames to choose from, where fields are open: the fit corrects the error
FITTED = 6  # frames around the goal for each number of the fit
RIDGE = 0.01  # of the variance of a field
_ROUNDING = 1e-6  # of the largest value: no field has a smaller spread


class StateGoal(NamedTuple):
    """Wanted values of some fields, and the recorded frames that come near to them."""

    states: GoalStates
    columns: tuple[int, ...]  # of the fields, rising
    values: Array  # (n,)
    near: Array  # rows of the recorded frames, the nearest one first

    @property
    def place(self) -> Array:
        """Return columns and values (1, 2n), the same for the same goal."""
        return np.array([[*self.columns, *self.values]])

    def latent(self, z: Array | None) -> Array:
        """Return the latent (D,) of the goal, given that of the newest image, if there is one."""
        row = self.near[0] if z is None else self.states.most_like(z, self.near, self.columns)
        correction = self.states.correction(row, self.columns, self.values)
        latent: Array = (self.states.latents[row] + correction).astype(np.float32)
        return latent


class _Recorded(NamedTuple):
    """The frames with known values of some fields."""

    rows: Array
    scaled: Array  # (n, F) their values, in units of the spread of each field
    spacing: float  # from a frame to the nearest one of another moment, usually

    @property
    def tolerance(self) -> float:
        """Return how far a goal may be from the nearest frame."""
        return max(TOLERANCE * self.spacing, LEAST)


class GoalStates:
    """Finds the latents of measured states among recorded drives."""

    def __init__(self, drives: RecordedDrives, paths: Sequence[str], where: str) -> None:
        self.fields = expand(paths)
        if drives.states is None or not bool(drives.states.isfinite().any()):
            raise ConfigError(
                f'{where}: its recorded drives have no measured states; run smwm prepare {where} '
                'with a dataset that was converted with robot.state.topic'
            )
        states = drives.states.double().numpy()  # (R, P)
        if states.shape[1] != len(self.fields):
            raise ConfigError(
                f'robot.state.fields: {count_of(len(self.fields), "field")}, but the recorded '
                f'drives of {where} have {states.shape[1]}'
            )
        self.latents = drives.goals.double().numpy()  # (R, D)
        self._spread = np.array([_spread(column) for column in states.T])
        self._scaled = states / self._spread
        self._recorded = lru_cache(4)(self._read_recorded)

    def find(self, wanted: Mapping[str, float]) -> StateGoal:
        """Return a goal from values by field; raise a ConfigError if it was not recorded."""
        columns, values = self._read(wanted)
        recorded, apart = self._recorded(columns), self._distances(columns, values)
        nearest = int(apart.argmin())
        if apart[nearest] > recorded.tolerance:
            raise ConfigError(self._not_recorded(columns, values, recorded.scaled, nearest))
        further = recorded.spacing
        if len(columns) < len(self.fields):
            further = max(further, OPEN)
        near = np.flatnonzero(apart <= apart[nearest] + further)
        near = near[apart[near].argsort(kind='stable')]
        return StateGoal(self, columns, values, recorded.rows[near])

    def gap(self, wanted: Mapping[str, float]) -> float:
        """Return the distance to the nearest recorded frame, in units of the spread."""
        return float(self._distances(*self._read(wanted)).min())

    def most_like(self, z: Array, near: Array, columns: tuple[int, ...]) -> int:
        """Return which of some rows is most like an image (D,), but for the fields in columns."""
        looks = np.linalg.norm(self.latents - z, axis=1)
        seen = self._scaled[int(looks.argmin())]
        compared = np.isfinite(seen)
        compared[list(columns)] = False
        if not compared.any():
            return int(near[looks[near].argmin()])
        apart = np.linalg.norm(self._scaled[near][:, compared] - seen[compared], axis=1)
        return int(near[np.nan_to_num(apart, nan=np.inf).argmin()])

    def correction(self, row: int, columns: tuple[int, ...], values: Array) -> Array:
        """Return the change (D,) of a frame's latent for values (n,) of some of its fields."""
        here = self._scaled[row]
        known = np.isfinite(here)  # (P,)
        error = np.zeros(len(here))
        error[list(columns)] = values / self._spread[list(columns)] - here[list(columns)]
        change = self._scaled[:, known] - here[known]
        apart = np.square(change - error[known]).sum(axis=1)
        around = apart.argsort(kind='stable')[: FITTED * (1 + change.shape[1])]
        around = around[np.isfinite(apart[around])]
        x, y = change[around], self.latents[around] - self.latents[row]
        slope = _slope(x[::2], y[::2])
        # Where it does not predict other frames better than no change, nothing is corrected.
        if np.square(y[1::2] - x[1::2] @ slope).sum() >= np.square(y[1::2]).sum():
            return np.zeros(y.shape[1])
        correction: Array = error[known] @ _slope(x, y)
        return correction

    def _read(self, wanted: Mapping[str, float]) -> tuple[tuple[int, ...], Array]:
        """Return columns in rising order and their values (n,), or raise."""
        found: dict[int, float] = {}
        for name, value in wanted.items():
            column = self.fields.index(full_name(name, self.fields))
            if column in found:
                raise ConfigError(f'{self.fields[column]}: named twice')
            if not np.isfinite(value):
                raise ConfigError(f'{self.fields[column]}: {value} is not a finite number')
            found[column] = float(value)
        if not found:
            raise ConfigError(f'no field is named; valid: {", ".join(self.fields)}')
        columns = tuple(sorted(found))
        return columns, np.array([found[column] for column in columns])

    def _read_recorded(self, columns: tuple[int, ...]) -> _Recorded:
        """Return the frames that have a measured value in all these columns."""
        scaled = self._scaled[:, columns]
        rows = np.flatnonzero(np.isfinite(scaled).all(axis=1))
        if not len(rows):
            names = ', '.join(self.fields[column] for column in columns)
            raise ConfigError(f'{names}: no recorded frame has a measured value')
        return _Recorded(rows, scaled[rows], _spacing(scaled[rows]))

    def _distances(self, columns: tuple[int, ...], values: Array) -> Array:
        """Return how far the recorded frames are from some values (n,)."""
        wanted = values / self._spread[list(columns)]
        apart: Array = np.linalg.norm(self._recorded(columns).scaled - wanted, axis=1)
        return apart

    def _not_recorded(
        self, columns: tuple[int, ...], values: Array, scaled: Array, nearest: int
    ) -> str:
        """Name the fields of a goal that no recorded frame comes near to, the farthest first."""
        spread = self._spread[list(columns)]
        errors = np.abs(values / spread - scaled[nearest])
        parts: list[str] = []
        for number in (-errors).argsort(kind='stable'):
            if errors[number] <= LEAST and parts:
                break
            recorded = scaled[:, number] * spread[number]
            parts.append(
                f'{self.fields[columns[number]]}: {values[number]:g} was requested, the nearest '
                f'recorded frame has {recorded[nearest]:.4g} (all frames: {recorded.min():.4g} to '
                f'{recorded.max():.4g})'
            )
        return f'{"; ".join(parts)}; choose a recorded goal, or record drives there'


def load(folder: Path | None, block: int, paths: Sequence[str], needed_by: str) -> GoalStates:
    """Read the measured states of the recorded drives beside a model."""
    return GoalStates(load_drives(folder, block, needed_by), paths, str(folder))


def full_name(name: str, fields: Sequence[str]) -> str:
    """Return the field that a name or its last part means: x for pose.pose.position.x."""
    if name in fields:
        return name
    meant = [field for field in fields if field.endswith((f'.{name}', f'={name}]'))]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ConfigError(f'{brief(name)}: ambiguous; valid: {", ".join(meant)}')
    raise ConfigError(f'{brief(name)}: not in robot.state.fields; {did_you_mean(name, fields)}')


def _spread(column: Array) -> float:
    """Return the standard deviation of the known values of a field, never 0."""
    known = column[np.isfinite(column)]
    if not len(known):
        return 1.0
    return max(float(known.std()), _ROUNDING * max(float(np.abs(known).max()), 1.0))


def _spacing(scaled: Array) -> float:
    """Return how far from a frame (R, n) the nearest one of another moment usually is."""
    count = len(scaled)
    gap = min(APART, count // 4)
    nearest = []
    for number in evenly_spaced(np.arange(count), SAMPLES):
        apart = np.linalg.norm(scaled - scaled[number], axis=1)
        apart[max(number - gap, 0) : number + gap + 1] = np.inf
        nearest.append(apart.min())
    known = np.array(nearest)
    known = known[np.isfinite(known)]
    return float(np.quantile(known, USUAL)) if len(known) else 0.0


def _slope(x: Array, y: Array) -> Array:
    """Fit changes of latents (n, D) to changes of states (n, F); return (F, D)."""
    gram = x.T @ x
    penalty = RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12) * np.eye(len(gram))
    slope: Array = np.linalg.solve(gram + penalty, x.T @ y)
    return slope
