# SPDX-License-Identifier: Apache-2.0
"""Limit the commands that reach a robot, and refuse models that were trained for another one."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from smwm_ros.config import Node, Robot
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.text import count_of


class Limits(NamedTuple):
    """How fast commands may change: () for no limit, one number for all fields or one for each."""

    rate: tuple[float, ...] = ()  # [unit of the field / s]
    jerk: tuple[float, ...] = ()  # change of that [unit of the field / s^2]


NO_LIMITS = Limits()


class Guard:
    """The last check of a command before it is published."""

    def __init__(self, spec: ActionSpec, limits: Limits = NO_LIMITS, starts_at_rest: bool = True):
        self.interventions = 0  # commands that were changed or refused
        self._starts_at_rest = starts_at_rest
        self.set(spec, limits)
        self.reset()

    def set(self, spec: ActionSpec, limits: Limits) -> None:
        """Set the limits; the next command continues from the last one."""
        self.spec = spec
        self._step = _each(limits.rate, spec.size) * spec.dt  # largest change in a tick
        self._bend = _each(limits.jerk, spec.size) * spec.dt**2  # largest change of the change

    def reset(self) -> None:
        """Forget the last command: the next one begins from zero, or from an unknown position."""
        self._last = np.zeros(self.spec.size) if self._starts_at_rest else None
        self._change = np.zeros(self.spec.size)

    @property
    def limited(self) -> bool:
        """Return whether any field has a limit of rate or jerk."""
        return bool(np.isfinite(self._step).any() or np.isfinite(self._bend).any())

    @property
    def moves(self) -> bool:
        """Return whether the last command was not zero."""
        return self._last is not None and bool(self._last.any())

    def check(self, action: Array) -> Array | None:
        """Return the action (A,) moved inside the limits, or None if it is not a valid action."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (self.spec.size,) or not np.isfinite(action).all():
            self.interventions += 1
            return None
        sent = self._approach(self.spec.clip(action))
        if not np.allclose(sent, action, rtol=0.0, atol=1e-9):
            self.interventions += 1
        return sent

    def slow_down(self) -> Array:
        """Return the next command (A,) on the way to zero."""
        return self._approach(np.zeros(self.spec.size))

    def _approach(self, target: Array) -> Array:
        """Move from the last command towards a target (A,), no faster than the limits allow."""
        if self._last is None:
            self._last = target
            return target
        way = target - self._last
        change = np.clip(way, -self._step, self._step)
        bent = np.isfinite(self._bend)
        if bent.any():
            # Brake in time, so that the target is not overshot.
            most = np.where(bent, _braked(np.abs(way), self._bend), np.inf)
            change = np.clip(change, -most, most)
            change = np.clip(change, self._change - self._bend, self._change + self._bend)
        sent = self._last + change
        low, high = np.minimum(self.spec.low, 0.0), np.maximum(self.spec.high, 0.0)
        sent = np.where(np.abs(target - sent) < 1e-12, target, np.clip(sent, low, high))
        self._change, self._last = sent - self._last, sent
        return sent


def limits_of(node: Node, spec: ActionSpec) -> Limits:
    """Return the limits in node.max_rate and node.max_jerk, or raise if their number is wrong."""
    for name, values in (('max_rate', node.max_rate), ('max_jerk', node.max_jerk)):
        if len(values) not in (0, 1, spec.size):
            raise ConfigError(
                f'node.{name}: expected one number, or one for each of {", ".join(spec.fields)}, '
                f'found {list(values)}'
            )
        if any(not value > 0 for value in values):
            raise ConfigError(f'node.{name}: expected positive numbers, found {list(values)}')
    return Limits(node.max_rate, node.max_jerk)


def _each(values: tuple[float, ...], size: int) -> Array:
    """Return one limit for each field (A,), infinite for no limit."""
    return np.broadcast_to(np.array(values or (np.inf,)), (size,))


def _braked(way: Array, bend: Array) -> Array:
    """
    Return the largest change in a tick after which braking still ends at the target.

    With m whole ticks of braking after this one, the changes c, c - bend, ... add up to the way.
    """
    with np.errstate(invalid='ignore'):
        bends = way / bend
    whole = np.floor((np.sqrt(1 + 8 * np.nan_to_num(bends)) - 1) / 2 + 1e-9)
    most: Array = (bends / (whole + 1) + whole / 2) * bend
    return most


def check_contract(trained: Robot, asked: Robot) -> None:
    """Raise unless the checkpoint was trained for this robot; names of topics may differ."""
    wrong = []
    if not math.isclose(trained.dt, asked.dt, rel_tol=1e-6):
        wrong.append(
            f'robot.dt: {asked.dt} s, expected {trained.dt} s, at which the model was trained'
        )
    trained_camera, camera = trained.camera, asked.camera
    views, expected = len(camera.topics), len(trained_camera.topics)
    if views != expected or (views > 1 and trained_camera.tiles != camera.tiles):
        wrong.append(
            f'robot.camera: {count_of(views, "view")} in a {camera.tiles}, expected {expected} '
            f'in a {trained_camera.tiles}, with which the model was trained'
        )
    if trained_camera.decoded_by != camera.decoded_by:
        wrong.append(
            f'robot.camera.decoder: {camera.decoder}, expected {trained_camera.decoder}, with '
            'which the images of the training were converted'
        )
    trained_command, command = trained.command, asked.command
    if len(trained_command.low) != len(command.low):
        wrong.append(
            f'robot.command.fields: {count_of(len(command.low), "number")}, expected '
            f'{len(trained_command.low)} as in training: {", ".join(trained_command.fields)}'
        )
    elif any(a < b for a, b in zip(command.low, trained_command.low, strict=True)) or any(
        a > b for a, b in zip(command.high, trained_command.high, strict=True)
    ):
        wrong.append(
            f'robot.command.low and high: {list(command.low)} .. {list(command.high)}, expected '
            f'limits within those of training, {list(trained_command.low)} .. '
            f'{list(trained_command.high)}'
        )
    if wrong:
        raise CheckpointError('; '.join(wrong))
