# SPDX-License-Identifier: Apache-2.0
"""
Measure how often the plan node would stop a robot that drives well, and how soon a stuck one.

The controller and the monitor of the node drive without ROS, one plan a tick: the model of the
package in two_room, and a model of the reacher that is trained by the recipe. A robot is stuck
while it moves less than half as far as commanded: it pushes against a wall, or its motors are off.
False stops are ticks that are slowed or stopped though the robot was not stuck shortly before.
Drives in MuJoCo show whether a robot that is misled by its images is stopped. A model that is
trained without augmentation pushes against walls there most of the time. Trained models are kept
in runs/bench.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from common import main, Row
import numpy as np
from parts.success import prepared, QUICK, record, without_augmentation, workplace
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
from smwm_ros.planning import frame_bank
from smwm_ros.planning.pilot import Pilot
import torch

MODEL = Path(__file__).parents[1] / 'models' / 'two_room'
TICKS = 80  # longest drive
STUCK = 0.5  # of the commanded way: a robot that moves less is stuck
BRIDGED = 2  # a push goes on through so many ticks in which the robot slides a little
STOPS = (Reason.NOVEL_IMAGE, Reason.NO_PROGRESS)
# Without stops by novelty, progress alone decides.
PROGRESS_ONLY = replace(config.Node(), novel_limit=0.0)


class Drive(NamedTuple):
    """One drive, tick by tick."""

    reasons: list[Reason]
    slowed: list[bool]
    sent: Array  # (T, A) commands
    places: Array  # (T, A) that they change, before each of them
    dt: float

    @property
    def stuck(self) -> Array:
        """Return whether the robot hardly moved in each tick (T,), though it was commanded to."""
        moved = np.diff(self.places, axis=0, append=self.places[-1:])
        moved, asked = (np.linalg.norm(part, axis=1) for part in (moved, self.dt * self.sent))
        stuck: Array = (asked > 0.1 * self.dt) & (moved < STUCK * asked)
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

    @property
    def pushed(self) -> float:
        """Return the longest time for which the robot was stuck before it was stopped [s]."""
        longest = begun = 0
        moves = BRIDGED + 1  # ticks since it was stuck
        for tick, stuck in enumerate(self.stuck[: self.stopped]):
            moves = 0 if stuck else moves + 1
            if moves > BRIDGED:
                begun = tick + 1
            elif stuck:
                longest = max(longest, tick + 1 - begun)
        return longest * self.dt


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
        places.append(frame.state[: spec.size])
        frame = arena.step(gain * action)
        if gain and arena.success():
            break
    return Drive(reasons, slowed, np.array(sent), np.array(places), dt)


def drives(
    model: Checkpoint,
    engine: str,
    count: int,
    knobs: config.Node | None = None,
    gain: float = 1.0,
    arena: str = 'two_room',
) -> list[Drive]:
    """Drive so many times in an engine."""
    pilot = Pilot(model)
    with closing(make_arena(arena, model.image_size, engine)) as scene:
        return [
            drive(model, pilot, scene, seed, knobs or config.Node(), gain) for seed in range(count)
        ]


def trained(arena: str, folder: Path, quick: bool, augments: bool = True) -> Checkpoint:
    """Train by the recipe, with or without augmentation, or return the kept model."""
    few = [*QUICK, 'train.steps=200'] if quick else []
    with prepared(arena, folder / arena, 0, few) as home:
        dataset = record(arena, folder / arena, quick)
        seed, name = (home, 'ours') if augments else (without_augmentation(home), 'without')
        model = seed.trained(dataset, home.config.model.kind, name)
    frame_bank.add(model, dataset)
    return model


def measure(quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    torch.set_num_threads(1)
    count = 10 if quick else 40
    shipped = load(MODEL)
    usual = drives(shipped, 'pybullet', count)
    yield false('stops.false', usual)
    yield from late('stops.usual', usual)
    yield from late('stops.motors_off', drives(shipped, 'pybullet', count // 4, gain=0.0))
    yield from late('stops.mujoco', drives(shipped, 'mujoco', count // 2))
    yield from late('stops.mujoco_progress', drives(shipped, 'mujoco', count // 2, PROGRESS_ONLY))
    with workplace('stops', quick) as folder:
        brittle = trained('two_room', folder, quick, augments=False)
        yield false('stops.brittle.false', drives(brittle, 'pybullet', count))
        found = drives(brittle, 'mujoco', count // 2)
        yield from late('stops.brittle.mujoco', found)
        found = drives(brittle, 'mujoco', count // 2, PROGRESS_ONLY)
        yield from late('stops.brittle.mujoco_progress', found)
        reacher = trained('reacher', folder, quick)
        yield false('stops.reacher.false', drives(reacher, 'pybullet', count, arena='reacher'))


def false(name: str, driven: list[Drive]) -> Row:
    """Return the share of false stops."""
    window = round(1.5 / driven[0].dt)
    ticks = sum(len(one.reasons) for one in driven)
    return Row(name, 100 * sum(one.false(window) for one in driven) / ticks, '% of ticks')


def late(name: str, driven: list[Drive]) -> Iterator[Row]:
    """Yield the share of the failed drives that were stopped, and the longest push in any."""
    failed = [one for one in driven if len(one.reasons) == TICKS]
    if failed:
        stopped = sum(one.stopped is not None for one in failed)
        yield Row(f'{name}.stopped', 100 * stopped / len(failed), '% of drives that fail')
    yield Row(f'{name}.push', max(one.pushed for one in driven), 's of pushing before the stop')


if __name__ == '__main__':
    main(measure, __doc__)
