# SPDX-License-Identifier: Apache-2.0
"""
Measure how well a drive that was shown once is repeated by its pictures.

A scripted drive leads through four places, through the door and back. Its pictures become a
route, as with `~/route/record` and `smwm goals --bag`. The model of the package repeats it with
the parts of the plan node (subgoals, controller, monitor) without ROS, one plan a tick. A repeat
begins up to a robot's radius beside the start, in the light of the drive or in another one, in
both engines, and in another engine than the drive. It counts if the node reports the end, the
robot is there, and it passed all places in order. For comparison the last picture alone is the
goal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from common import main, Row
import numpy as np
from smwm_ros import config
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.ranges import NEUTRAL, Range, SHIFTS
from smwm_ros.arenas.rooms import HALF, RADIUS, REACHED
from smwm_ros.arenas.vary import RandomisedArena
from smwm_ros.control.command_record import CommandRecord, PlanStart
from smwm_ros.control.controller import Controller
from smwm_ros.control.route import Event, GoalTolerance, RouteRecorder
from smwm_ros.control.timed_plan import TimedPlan
from smwm_ros.evaluation.statistics import wilson
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.nodes.drive_monitor import DriveMonitor
from smwm_ros.nodes.goal_planner import GoalInput, GoalPlanner
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.latent_scale import distance_of

MODEL = Path(__file__).parents[1] / 'models' / 'two_room'
ROUTES = 25
SIDES = (1, 1, -1, -1, 1)  # rooms of the start and of the places
PASSED = 0.25  # a place counts as passed within this distance [m]
LONGER = 3  # a repeat may take this many times the ticks of the drive
OTHER_LIGHT = 10_000  # added to the seeds of the light
# Of a row: engine of the drive, engine of the repeat, whether the light changes in between.
PLACES = {
    'same': ('pybullet', 'pybullet', False),
    'light': ('pybullet', 'pybullet', True),
    'mujoco': ('mujoco', 'mujoco', False),
    'mujoco_light': ('mujoco', 'mujoco', True),
    'other_engine': ('pybullet', 'mujoco', False),
}
ALONE = ('same', 'light')  # where the last picture alone is measured, too


class Shown(NamedTuple):
    """A drive that was shown."""

    path: Array  # (T, 2) positions
    places: Array  # (P, 2) that it led to, in order
    pictures: Sequence[Array]  # the subgoals of its route


class Repeat(NamedTuple):
    """A repeat of a drive."""

    path: Array  # (T, 2) positions
    ended: bool  # the node reported the end of the route

    def follows(self, shown: Shown) -> bool:
        """Return whether the robot passed all places in order, and is at the last one."""
        away = np.linalg.norm(self.path[:, None] - shown.places, axis=-1)
        tick = 0
        for place in away.T:
            passed = np.flatnonzero(place[tick:] <= PASSED)
            if not len(passed):
                return False
            tick += passed[0]
        return self.ended and bool(away[-1, -1] <= REACHED)

    def deviation(self, shown: Shown) -> float:
        """Return the mean distance of both paths, aligned in order (dynamic time warping) [m]."""
        away = np.linalg.norm(shown.path[:, None] - self.path, axis=-1)
        cost = np.full((away.shape[0] + 1, away.shape[1] + 1), np.inf)
        length = np.zeros(cost.shape, int)
        cost[0, 0] = 0.0
        for i, j in np.ndindex(away.shape):
            before = min((i, j), (i, j + 1), (i + 1, j), key=lambda at: float(cost[at]))
            cost[i + 1, j + 1] = cost[before] + away[i, j]
            length[i + 1, j + 1] = length[before] + 1
        return float(cost[-1, -1] / length[-1, -1])


class Driver:
    """The model of the package, and the parts of the node that drive a route."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint = load(MODEL)
        self.pilot = Pilot(self.checkpoint)
        knobs, info = config.Goal(), self.checkpoint.info
        scale = [distance_of(info, ticks) for ticks in (knobs.near, knobs.far, knobs.spacing)]
        near, far, self.spacing = (one or 0.0 for one in scale)
        self.tolerance = GoalTolerance(near, far, knobs.settle)

    def show(self, arena: RandomisedArena, seed: int) -> Shown:
        """Drive through random places, and record the pictures."""
        rng = np.random.default_rng(seed)
        first = rng.choice((-1.0, 1.0))
        pairs = [(side, arena.sample(rng)) for side in SIDES]
        places = np.array([(first * side * abs(x), y) for side, (x, y) in pairs])
        recorder, path = RouteRecorder(self.spacing), []
        frame = arena.set_state(places[0])
        for place in places[1:]:
            arena.set_goal_state(place)
            for _ in range(200):
                recorder.add(self.pilot.encode(frame.pixels[None])[0], frame.pixels)
                path.append(frame.state)
                if np.linalg.norm(frame.state - place) < 0.02:
                    break
                frame = arena.step(arena.expert())
        return Shown(np.array(path), places[1:], recorder.route())

    def repeat(
        self, arena: RandomisedArena, shown: Shown, pictures: Sequence[Array], seed: int
    ) -> Repeat:
        """Drive along pictures as the plan node does."""
        spec, dt, knobs = self.checkpoint.spec, self.checkpoint.spec.dt, config.Node()
        planner = GoalPlanner(self.pilot, dt)
        planner.set_tolerance(self.tolerance, keep=False)
        planner.set_goal(GoalInput(np.stack(pictures)))
        record, controller = CommandRecord(dt, np.zeros(2)), Controller(spec, 'zero', knobs)
        monitor = DriveMonitor(self.checkpoint, knobs, record.rows)
        controller.new_goal()
        frame = arena.set_state(beside(shown.path[0], seed))
        path, ended = [frame.state], False
        for tick in range(LONGER * len(shown.path)):
            now = tick * dt
            controller.on_image(now)
            route = planner.prepare(fresh=tick == 0)
            plan = planner.plan(frame.pixels, PlanStart(now))
            ended = planner.update_progress(route, plan) is Event.REACHED
            controller.accept(TimedPlan(plan.actions, now, now, controller.era, plan.cost))
            controller.set_caution(controller.era, monitor.update(now, plan.latent))
            if ended or not controller.needs_plans:
                break
            command = controller.tick(now)
            action = np.zeros(2) if command.action is None else command.action
            record.add(now, action)
            frame = arena.step(action)
            path.append(frame.state)
        return Repeat(np.array(path), ended)


def beside(place: Array, seed: int) -> Array:
    """Return a position within a robot's radius of another, in the same room."""
    shift = np.random.default_rng([seed, 1]).uniform(-1, 1, 2) * RADIUS / np.sqrt(2)
    away = np.copysign(shift, (place[0], shift[1]))  # from the wall between the rooms
    limit = HALF - RADIUS - 0.01
    moved: Array = np.clip(place + away, -limit, limit)
    return moved


def at_random(arena: RandomisedArena, shown: Shown, seed: int) -> Repeat:
    """Drive at random, as far as the end of the time or of the route."""
    rng, spec = np.random.default_rng(seed), arena.spec
    path = [arena.set_state(beside(shown.path[0], seed)).state]
    for tick in range(LONGER * len(shown.path)):
        if tick % 5 == 0:
            action = rng.uniform(spec.low, spec.high)
        path.append(arena.step(action).state)
        if Repeat(np.array(path), True).follows(shown):
            return Repeat(np.array(path), True)
    return Repeat(np.array(path), False)


def make(engine: str, light: bool) -> RandomisedArena:
    """Return an arena with its own light, or with another one in each episode."""
    ranges: dict[str, Sequence[Range]] = {name: (only,) for name, only in NEUTRAL.items()}
    return RandomisedArena(
        make_arena('two_room', 64, engine), {**ranges, **(SHIFTS['light'] if light else {})}
    )


def measure(quick: bool) -> Iterator[Row]:
    """Yield the rows."""
    driver, count = Driver(), 2 if quick else ROUTES
    for name, (engine, other, light) in PLACES.items():
        routes, alone, random = [], [], []
        with closing(make(engine, False)) as home, closing(make(other, light)) as away:
            for seed in range(count):
                away.randomise(OTHER_LIGHT + seed)
                shown = driver.show(home, seed)
                routes.append((shown, driver.repeat(away, shown, shown.pictures, seed)))
                if name in ALONE:
                    last = driver.repeat(away, shown, shown.pictures[-1:], seed)
                    alone.append((shown, last))
                if name == 'same':
                    random.append((shown, at_random(away, shown, seed)))
        yield from rows(f'routes.{name}', routes, alone)
        if random:
            yield share('routes.random.repeated', random)


Tried = Sequence[tuple[Shown, Repeat]]


def rows(name: str, routes: Tried, alone: Tried) -> Iterator[Row]:
    """Yield the share of repeated routes and the deviation, beside those of the last picture."""
    peer = 'the last picture alone' if alone else ''
    theirs = share('', alone).value if alone else None
    yield share(f'{name}.repeated', routes)._replace(peer=peer, peer_value=theirs)
    yield Row(
        f'{name}.deviation',
        deviation(routes),
        'm',
        peer=peer,
        peer_value=deviation(alone) if alone else None,
    )


def share(name: str, tried: Tried) -> Row:
    """Return the share of drives that were repeated to the end."""
    good = sum(repeat.follows(shown) for shown, repeat in tried)
    value = good / max(len(tried), 1)
    return Row(name, value, 'of the routes', interval=wilson(good, len(tried)))


def deviation(tried: Tried) -> float:
    """Return the median over drives of the mean distance to the path that was shown [m]."""
    return float(np.median([repeat.deviation(shown) for shown, repeat in tried]))


if __name__ == '__main__':
    main(measure, __doc__)
