# SPDX-License-Identifier: Apache-2.0
"""
Find by how many ticks the motion in the images lags behind the actions of the same rows.

Actions are predicted from the change between two frames, at each lag. This inverse model is best
where the lag is right. A lag is clear only if it beats every other one on rows that the model was
not fitted to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.config import Config
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

LAGS = np.arange(-3, 11)  # of the motion behind the action [ticks]
_STRETCH, _MAX_ROWS = 256, 2048  # rows that are kept or left out together; rows that are kept
_FEW = 150  # changes needed for an estimate
_SIDE = 32  # frames are compared at this size [px]
_CHUNK = 64  # changes computed together, so that they stay in the cache of the processor
_PATCH, _PATCH_PARTS = 11, 8  # side of the patch around the motion [px], its principal components
_RIDGE = 0.1  # penalty of the regression, whose inputs have variance 1
_BLOCKS = 10  # consecutive parts of the rows; each is predicted from the others
_MIN_R2 = 0.1  # of an action field at its best lag; other fields do not count
_MIN_MARGIN, _MIN_ERRORS = 0.03, 3.0  # by which the best lag beats others: R2, standard errors


class _Row(NamedTuple):
    """What is kept of a row."""

    number: int
    frame: Array  # (_SIDE, _SIDE, 3) uint8
    action: Array  # (A,)
    episode: int


class LagFinder:
    """Receive the rows of a shard, and keep some stretches of them."""

    def __init__(self, config: Config) -> None:
        self._dt = config.robot.dt
        positions = config.robot.command.stop == 'hold'  # the robot moves where they change
        self._differences = positions and config.dataset.action != 'next_state_delta'
        self._rows: list[_Row] = []
        self._every = 1  # one of so many stretches is kept

    def add(self, pixels: Array, action: Array, episode: Array, first: int) -> None:
        """Add consecutive rows, the first of which has the number `first`."""
        for row in map(_Row, range(first, first + len(pixels)), pixels, action, episode):
            if self._is_kept(row):
                small = cv2.resize(row.frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                self._rows.append(row._replace(frame=small, action=row.action.astype(np.float32)))
        while len(self._rows) > _MAX_ROWS:
            self._every *= 2
            self._rows = [row for row in self._rows if self._is_kept(row)]

    def _is_kept(self, row: _Row) -> bool:
        return row.number // _STRETCH % self._every == 0

    def about(self) -> dict[str, Any]:
        """Return the lag as plain data for meta.json, {} if no action is known."""
        if not self._rows:
            return {}
        number, frame, action, episode = map(np.array, zip(*self._rows, strict=True))
        if not np.isfinite(action).any():
            return {}
        begins = (np.diff(number, prepend=-1) != 1) | (np.diff(episode, prepend=-1) != 0)
        if self._differences:
            action = np.diff(action, axis=0, prepend=np.nan)
            action[begins] = np.nan
        found = find_lag(frame, action, np.cumsum(begins))
        return {'lag': {**found._asdict(), 'seconds': round(found.ticks * self._dt, 9)}}


class MotionLag(NamedTuple):
    """What was found; all zeros where nothing can be estimated."""

    ticks: int = 0
    r2: float = 0.0  # of the actions, predicted from images
    r2_configured: float = 0.0  # without a lag
    clear: bool = False
    why: str = ''  # it is not clear


def find_lag(frames: Array, actions: Array, piece: Array) -> MotionLag:
    """
    Return the lag of the motion in frames (n, S, S, 3) behind actions (n, A), NaN if unknown.

    piece (n,): number of the piece of recording, ascending; within one, rows are consecutive.
    """
    begins, actions = _windows(actions, piece)  # (m,), (m, lags, A)
    if len(begins) < _FEW:
        few = count_of(len(begins), 'tick')
        return MotionLag(why=f'only {few} within {len(LAGS)} known actions, expected {_FEW}')
    actions = actions[:, :, np.ptp(actions, axis=(0, 1)) > 0]
    if not actions.size:
        return MotionLag(why='the actions never change')
    actions = (actions - actions.mean((0, 1))) / actions.std((0, 1))
    changes = _changes(frames)[begins + LAGS[-1]]
    if not np.ptp(changes, axis=0).any():
        return MotionLag(why='the images never change')
    errors = _prediction_errors(changes, actions)  # (blocks, lags, A), 1 for the mean action
    shown = 1 - errors.mean(0).min(0) >= _MIN_R2  # images may not show a gripper, for example
    if not shown.any():
        return MotionLag(why='the motion in the images does not explain the actions at any lag')
    return _best_lag(errors[:, :, shown].mean(2))


def _best_lag(errors: Array) -> MotionLag:
    """Return the lag with the smallest prediction errors (blocks, lags)."""
    mean = errors.mean(0)
    best = int(np.argmin(mean))
    found = MotionLag(
        int(LAGS[best]),
        round(1 - float(mean[best]), 2),
        round(1 - float(mean[LAGS == 0][0]), 2),
    )
    if best in (0, len(LAGS) - 1):
        return found._replace(why=f'the best lag, {LAGS[best]} ticks, is the last that is tried')
    worse = errors - errors[:, [best]]
    margin = np.maximum(_MIN_MARGIN, _MIN_ERRORS * worse.std(0, ddof=1) / np.sqrt(_BLOCKS))
    equal = LAGS[worse.mean(0) < margin]  # the best one included
    if len(equal) > 1:
        return found._replace(
            why=f'lags between {equal[0]} and {equal[-1]} ticks explain the actions about equally '
            'well'
        )
    return found._replace(clear=True)


def _windows(actions: Array, piece: Array) -> tuple[Array, Array]:
    """Return the first rows (m,) of windows with known actions, and the actions at each lag."""
    reach = len(LAGS) - 1
    begins = np.flatnonzero(piece[:-reach] == piece[reach:])
    # The change after row begin + LAGS[-1] comes from the action of the row `lag` before it.
    actions = actions[begins[:, None] + LAGS[-1] - LAGS].astype(np.float64)
    known = np.isfinite(actions).all((1, 2))
    return begins[known], actions[known]


def _prediction_errors(changes: Array, actions: Array) -> Array:
    """Return squared errors (blocks, lags, A) of actions (m, lags, A) predicted from changes."""
    block = np.arange(len(changes)) * _BLOCKS // len(changes)
    inputs = np.column_stack([_standardised(changes), np.ones(len(changes))])
    outputs = actions.reshape(len(actions), -1)
    penalty = _RIDGE * len(inputs) * np.eye(inputs.shape[1])
    penalty[-1, -1] = 0.0  # the mean is free
    gram, moments = inputs.T @ inputs + penalty, inputs.T @ outputs
    errors = []
    for number in range(_BLOCKS):
        x, y = inputs[block == number], outputs[block == number]
        weights = np.linalg.solve(gram - x.T @ x, moments - x.T @ y)
        errors.append(((y - x @ weights) ** 2).mean(0))
    found: Array = np.reshape(errors, (_BLOCKS, *actions.shape[1:]))
    return found


def _changes(frames: Array) -> Array:
    """
    Describe the change of each frame to the next (n-1, F) by the motion that it shows.

    Change times gradient is how far an edge moved, summed over the image and its quarters.
    What this means for a command depends on what moves, and on where it points: products
    with a patch of the image, centred on the motion.
    """
    chunks = [_flow(frames[row : row + _CHUNK + 1]) for row in range(0, len(frames) - 1, _CHUNK)]
    quarters, strength, patches = map(np.concatenate, zip(*chunks, strict=True))
    flow = quarters.sum(2)
    motion = _standardised(np.column_stack([flow, np.linalg.norm(flow, axis=1), strength]))
    centred = patches - patches.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    parts = _standardised(centred @ axes[:, -_PATCH_PARTS:])
    products = motion[:, :3, None] * parts[:, None]
    flat = [each.reshape(len(motion), -1) for each in (motion, quarters, products)]
    return np.concatenate(flat, axis=1)


def _flow(frames: Array) -> tuple[Array, Array, Array]:
    """Return motion along x and y in quarters (n, 2, 4), its strength (n,), patches (n, P)."""
    frames = frames.astype(np.float32)
    change, mean = frames[1:] - frames[:-1], (frames[1:] + frames[:-1]) / 2
    slopes = np.stack(
        [mean[:, 1:-1, 2:] - mean[:, 1:-1, :-2], mean[:, 2:, 1:-1] - mean[:, :-2, 1:-1]], axis=1
    )
    count, half = len(change), _SIDE // 2 - 1
    quartered = (change[:, None, 1:-1, 1:-1] * slopes).reshape(count, 2, 2, half, 2, half, 3)
    quarters = quartered.sum((3, 5, 6)).reshape(count, 2, 4)
    energy = (change**2).sum(3)
    total = energy.sum((1, 2)) + 1e-9
    place = np.arange(_SIDE)
    x, y = energy.sum(1) @ place / total, energy.sum(2) @ place / total
    patches = [
        cv2.getRectSubPix(image, (_PATCH, _PATCH), (float(across), float(down)))
        for image, across, down in zip(mean, x, y, strict=True)
    ]
    return quarters, np.sqrt(total), np.reshape(patches, (count, -1))


def _standardised(values: Array) -> Array:
    """Return columns (n, F) with mean 0 and standard deviation 1, or 0 where constant."""
    scaled: Array = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    return scaled
