# SPDX-License-Identifier: Apache-2.0
"""
Measure how often the plan node would stop a robot that drives well, and how soon a stuck one.

The controller and the monitor of the node drive the model of the package in two_room without ROS,
one plan a tick. A robot is stuck while its motion differs from the commanded one by more than half
of it: it pushes against a wall, or its motors are off. False stops are ticks that are slowed or
stopped though the robot was not stuck shortly before. Drives in MuJoCo, whose images the model was
not trained on, show whether a robot that is misled is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from common import main, Row
import numpy as np
from smwm_ros import config
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.scene import Scene
from smwm_ros.control.command_record import CommandRecord
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import Reason
from smwm_ros.control.timed_plan import TimedPlan
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.nodes.drive_monitor import DriveMonitor
from smwm_ros.planning.pilot import Pilot

MODEL = Path(__file__).parents[1] / 'models' / 'two_room'
TICKS = 80  # longest drive
STUCK = 0.5  # share of the commanded motion that is missing
STOPS = (Reason.NOVEL_IMAGE, Reason.NO_PROGRESS)
# Without stops by novelty, progress alone decides.
PROGRESS_ONLY = replace(config.Node(), novel_limit=0.0)


class Drive(NamedTuple):
    """One drive, tick by tick."""

    reasons: list[Reason]
    slowed: list[bool]
    sent: Array  # (T, A) commands
    places: Array  # (T, 2) before each of them
    dt: float

    @property
    def stuck(self) -> Array:
        """Return whether the robot did not move as commanded in each tick (T,)."""
        asked = self.dt * self.sent
        missing = asked - np.diff(self.places, axis=0, append=self.places[-1:])
        missing, asked = (np.linalg.norm(part, axis=1) for part in (missing, asked))
        stuck: Array = (asked > 0.1 * self.dt) & (missing > STUCK * asked)
        stuck[-1] = False  # where the last command leads is unknown
        return stuck

    @property
    def stopped(self) -> int | None:
        """Return the tick of the first stop by the monitor."""
        return next((t for t, reason in enumerate(self.reasons) if reason in STOPS), None)

    def false(self, window: int) -> int:
        """Return how many ticks are slowed or stopped though the robot was not stuck before."""
        held = [
            slow or reason in STOPS for slow, reason in zip(self.slowed, self.reasons, strict=True)
        ]
        stuck, last = self.stuck, self.stopped
        true = [stuck[max(0, t - window) : t + 1].any() for t in range(len(held))]
        if last is not None and true[last]:
            true[last:] = [np.True_] * (len(held) - last)  # it stays stopped
        return sum(one and not other for one, other in zip(held, true, strict=True))

    def pushed(self) -> float | None:
        """Return the time from the beginning of the push that was stopped to its stop [s]."""
        last = self.stopped
        if last is None or not self.stuck[:last].any():
            return None
        free = np.flatnonzero(~self.stuck[:last])
        # A push goes on through a tick in which the robot slides a little.
        runs = np.flatnonzero(np.diff(free, prepend=-1, append=last) > 2)
        begun = free[runs[-1] - 1] + 1 if len(runs) and runs[-1] else 0
        return float((last - begun) * self.dt)


def drive(
    checkpoint: Checkpoint, pilot: Pilot, arena: Scene, seed: int, knobs: config.Node, gain: float
) -> Drive:
    """Drive from a random place to a random goal, and keep what happened."""
    frame = arena.reset(seed)
    pilot.set_goal(arena.set_goal(arena._goal).pixels)
    spec, dt = checkpoint.spec, checkpoint.spec.dt
    record, controller = CommandRecord(dt, np.zeros(spec.size)), Controller(spec, 'zero', knobs)
    monitor = DriveMonitor(checkpoint, knobs, record.rows)
    controller.new_goal()
    reasons, slowed, sent, places = [], [], [], []
    for tick in range(TICKS):
        now = tick * dt
        controller.on_image(now)
        if controller.needs_plans:
            plan = pilot.plan(frame.pixels, min(tick, 1))
            controller.accept(TimedPlan(plan.actions, now, now, controller.era, plan.cost))
            controller.set_caution(controller.era, monitor.update(now, plan.latent))
        command = controller.tick(now)
        action = np.zeros(spec.size) if command.action is None else command.action
        record.add(now, action)
        reasons.append(command.reason)
        slowed.append(monitor.caution.slow)
        sent.append(action)
        places.append(frame.state[:2])
        frame = arena.step(gain * action)
        if gain and arena.success():
            break
    return Drive(reasons, slowed, np.array(sent), np.array(places), dt)


def drives(
    engine: str, count: int, knobs: config.Node | None = None, gain: float = 1.0
) -> list[Drive]:
    """Drive so many times in an engine."""
    checkpoint = load(MODEL)
    pilot = Pilot(checkpoint)
    with closing(make_arena('two_room', checkpoint.image_size, engine)) as arena:
        return [
            drive(checkpoint, pilot, arena, seed, knobs or config.Node(), gain)
            for seed in range(count)
        ]


def measure(quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    count = 10 if quick else 40
    usual = drives('pybullet', count)
    window = round(1.5 / usual[0].dt)
    ticks = sum(len(one.reasons) for one in usual)
    yield Row('stops.false', 100 * sum(one.false(window) for one in usual) / ticks, '% of ticks')
    yield from late('stops.usual', usual)
    yield from late('stops.motors_off', drives('pybullet', count // 4, gain=0.0))
    yield from late('stops.mujoco', drives('mujoco', count // 2))
    yield from late('stops.mujoco_progress', drives('mujoco', count // 2, PROGRESS_ONLY))


def late(name: str, driven: list[Drive]) -> Iterator[Row]:
    """Yield the share of the failed drives that were stopped, and the longest push until then."""
    failed = [one for one in driven if len(one.reasons) == TICKS]
    stopped = [one for one in failed if one.stopped is not None]
    pushes = [push for one in stopped if (push := one.pushed()) is not None]
    if failed:
        yield Row(f'{name}.stopped', 100 * len(stopped) / len(failed), '% of drives that fail')
    if pushes:
        yield Row(f'{name}.push', max(pushes), 's of pushing before the stop')


if __name__ == '__main__':
    main(measure, __doc__)
