# SPDX-License-Identifier: Apache-2.0
"""
Measure what compensation for a delay adds for a robot with inertia, in two rooms.

A robot that stops at once reaches its goal as soon with late plans as with timely ones. A robot
whose velocity lags behind its commands overshoots and oscillates about the goal. So a goal counts
here when the robot has stayed at it for one second. The model is trained on episodes of the robot
with inertia; a single image shows no velocity.
"""

from __future__ import annotations

from collections.abc import Iterator

from common import Row
from parts.success import Found, note, prepared, QUICK, record, row, workplace
from smwm_ros.arenas.ranges import ranges_of
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.vary import RandomisedArena
from smwm_ros.config import Randomise
from smwm_ros.evaluation.agents import RandomAgent
from smwm_ros.interfaces import Arena, Array, Frame
import torch

LAG = 0.3  # of the velocities behind the commands [s]
STAY = 10  # raw steps of 100 ms
LATE = (2, 4)  # raw steps from an image to the action planned from it
EPISODES = 60  # of 100 raw steps: ten minutes of data
STEPS = 1500  # of training: less than a minute of one core
PAIRS = 50  # of each seed
SEEDS = (0, 1, 2)


class Staying(RandomisedArena):
    """A robot with inertia that reaches a goal by staying there."""

    def __init__(self, scene: Scene) -> None:
        self._stayed = 0  # raw steps in a row
        super().__init__(scene, ranges_of(Randomise(lag=(LAG, LAG))))

    def step(self, action: Array) -> Frame:
        """Count the steps at the goal."""
        frame = super().step(action)
        self._stayed = self._stayed + 1 if super().success() else 0
        return frame

    def set_state(self, state: Array) -> Frame:
        """Place the robot, and reset the count."""
        self._stayed = 0
        return super().set_state(state)

    def success(self) -> bool:
        """Return whether the robot has stayed long enough."""
        return self._stayed >= STAY


def staying(arena: Arena) -> Staying:
    """Return an arena of the same scene that counts the steps at the goal."""
    assert isinstance(arena, RandomisedArena)
    return Staying(arena.scene)


def measure(quick: bool) -> Iterator[Row]:
    """Train with every seed; evaluate without delay, and delayed with compensation and without."""
    torch.set_num_threads(1)
    found: Found = {}
    lag = f'randomise.lag=[{LAG},{LAG}]'
    knobs = [lag, *(QUICK if quick else [f'evaluate.pairs={PAIRS}'])]
    with workplace('two_room_inertia', quick) as folder:
        for number in SEEDS[:1] if quick else SEEDS:
            with prepared('two_room', folder / str(number), number, knobs) as seed:
                dataset = record('two_room', folder, quick, EPISODES, number, [lag])
                ours = seed.trained(dataset, seed.config.model.kind, 'ours', STEPS)
                pairs = seed.pairs()
                seed = seed._replace(arenas=[staying(arena) for arena in seed.arenas])
                note(found, 'timely', seed.plan(ours, pairs))
                note(found, 'random', seed.drive(RandomAgent(ours.spec, number), pairs))
                for ticks in LATE:
                    for how in ('sent', 'nothing'):
                        late = seed.plan(ours, pairs, delay=ticks, compensate=how)
                        note(found, f'late {ticks} {how}', late)
    yield from rows(found)


def rows(found: Found) -> Iterator[Row]:
    """Return the success; plans without delay and compensated plans are the peers."""
    name = 'two_room.inertia'
    yield row(f'{name}_success', found, 'timely', 'random')
    for ticks in LATE:
        late = f'{name}_success_{100 * ticks}_ms_late'
        sent, nothing = f'late {ticks} sent', f'late {ticks} nothing'
        yield row(late, found, sent, 'timely')._replace(peer='no delay')
        yield row(f'{late}_uncompensated', found, nothing, sent)._replace(peer='compensated')
