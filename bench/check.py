# SPDX-License-Identifier: Apache-2.0
"""
Measure how often `smwm check` is right about a model and a robot.

Each pair is a model and a place with a robot. A minute is recorded there, and smwm check says go
or no-go. Then the model drives there without ROS: the pair is fit if it reaches at least 0.7 of
the goals that the same model reaches at home, in PyBullet as it is. Pairs whose fault no drive in
an arena shows, such as another control period, are unfit by construction. A no-go also has to name
the remedy that is right for the place. Limits of gain and delay were chosen with seed 7; the seed
that is reported draws other recordings, looks, weights and goals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
import sys
from typing import NamedTuple

from common import main, Row
import numpy as np
from parts.outcomes import kept, named
from parts.success import prepared, QUICK, record, Seed, success, without_augmentation, workplace
from smwm_ros.bags.writing.writer import BagWriter
from smwm_ros.config import Config, Robot
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.agents import Attempt, Move, PlannerAgent
from smwm_ros.evaluation.closed_loop import Outcome
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.preflight import Check
from smwm_ros.interfaces import Array, Frame
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.planning import frame_bank
from smwm_ros.planning.pilot import Pilot
from smwm_ros.verbs.adapt import adapt
from smwm_ros.verbs.check import check_robot
import torch

MODEL = Path(__file__).parents[1] / 'models' / 'two_room'
ARENA = 'two_room'
FIT = 0.7  # least success of a fit pair, as a share of that at home
MINUTE = 6  # episodes of 100 raw steps
PAIRS = ['evaluate.pairs=24']  # of start and goal, in each place
MUJOCO = ['arena.engine=mujoco']
MOVED = ['randomise.camera_eye=[-0.05,0.05]', 'randomise.camera_target=[-0.02,0.02]']
PAINTED = ['randomise.colour=[-0.15,0.15]']


class Place(NamedTuple):
    """A robot in a world, and what to do there about a model that does not fit."""

    knobs: Sequence[str] = ()  # of the arena
    remedy: str = 'smwm adapt'  # part of the right remedy, where the model is unfit
    wiring: Sequence[Sequence[float]] = ()  # (A, A) motion by command, where they differ


PLACES = {
    'home': Place(),
    'noisy': Place(['randomise.noise=[8,8]']),
    'painted': Place(PAINTED),
    'dark': Place(['randomise.light=[0.4,0.4]', 'randomise.colour=[-0.3,-0.3]']),
    'moved': Place(MOVED),
    'far': Place(['randomise.camera_eye=[0.2,0.2]']),
    'room': Place(['randomise.room=true']),
    'turned': Place(['randomise.camera_roll=[90,90]'], 'camera'),
    'upside_down': Place(['randomise.camera_roll=[180,180]'], 'camera'),
    'crawling': Place(['randomise.gain=[0.1,0.1]'], 'units'),
    'racing': Place(['randomise.gain=[2.5,2.5]'], 'units'),
    'uneven': Place(['arena.field_gain=[0.8,1.2]', 'arena.field_delay=[0,1]'], 'units'),
    'later': Place(['randomise.latency=[3,3]'], 'actuation_delay'),
    'latest': Place(['randomise.latency=[15,15]'], 'actuation_delay'),
    'swapped': Place((), 'order', ((0, 1), (1, 0))),
    'negated': Place((), 'signs', ((1, 0), (0, -1))),
    'mujoco': Place(MUJOCO),
    'mujoco_moved': Place([*MUJOCO, *MOVED, *PAINTED, 'randomise.latency=[1,1]']),
}
# Pairs that drive: models in places.
DRIVES = {
    'shipped': tuple(PLACES),
    'shipped adapted': ('mujoco', 'mujoco_moved', 'dark', 'far'),
    'plain': (
        *('home', 'noisy', 'painted', 'dark', 'moved', 'far', 'room', 'swapped'),
        *('mujoco', 'mujoco_moved'),
    ),
    'plain adapted': ('mujoco', 'mujoco_moved', 'painted'),
}


def faulty(robot: Robot) -> dict[str, tuple[Robot, str, str]]:
    """Return robots that no drive shows to be unfit: robot, arena that records, right remedy."""
    command = robot.command
    degrees = replace(command, low=(-30.0, -30.0), high=(30.0, 30.0))
    return {
        'other period': (replace(robot, dt=0.2), ARENA, 'a model of this robot'),
        'other units': (replace(robot, command=degrees), ARENA, 'narrow the limits'),
        'other order': (
            replace(robot, command=replace(command, fields=command.fields[::-1])),
            ARENA,
            'order of fields',
        ),
        'other robot': (load_config('reacher').robot, 'reacher', 'a model of this robot'),
        'other recording': (robot, 'reacher', 'robot.command'),
    }


class Wired:
    """An agent whose commands go to motors by a wiring."""

    def __init__(self, agent: PlannerAgent, wiring: Array) -> None:
        self._agent, self._wiring = agent, wiring

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Start new attempts."""
        self._agent.begin(attempts)

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Return moves as the motors make them."""
        moves = self._agent.act(lanes, frames)
        return [move._replace(action=self._wiring @ move.action) for move in moves]


def drive(
    seed: Seed, checkpoint: Checkpoint, pairs: Sequence[Pair], place: Place
) -> list[Outcome]:
    """Drive a model in a place, or return its kept outcomes."""
    wiring = np.array(place.wiring or np.eye(2))
    planner = PlannerAgent(Pilot(checkpoint), seed.config.evaluate.execute, 0)
    # A change of the check alone changes no drive.
    script = Path(__file__).parent / 'parts' / 'success.py'
    name = named(script, checkpoint, pairs, seed.config, place)
    agent = Wired(planner, wiring)
    return kept(seed.folder / 'outcomes', name, lambda: seed.drive(agent, pairs))


def recorded(folder: Path, number: int, place: Place, arena: str = ARENA) -> Path:
    """Record a minute in a place; return the folder of its bags."""
    knobs = [*place.knobs, 'randomise.once=true']
    made = record(arena, folder, False, MINUTE, number, knobs)
    bags = made.folder.parent / 'bags'
    if not place.wiring:
        return bags
    # What was driven is the motion; the operator gave the commands that lead to it.
    commands = np.linalg.inv(np.array(place.wiring))
    out = made.folder.parent / 'rewired'
    if not out.exists():
        rewrite(made, commands, out)
    return out


def rewrite(data: TransitionDataset, commands: Array, out: Path) -> None:
    """Write a recording again with other commands (A, A) for the same motion."""
    robot = load_config(ARENA).robot
    robot = replace(robot, state=replace(robot.state, topic=''))
    begin = 1_700_000_000 * 10**9
    for number, drive in enumerate(data.drives):
        with BagWriter(out / f'bag_{number}', robot) as writer:
            rows = np.arange(drive.start, drive.stop)
            pixels, actions = data.pixels(rows), data.actions(rows)
            for row in range(len(rows)):
                stamp = begin + round((number * 1000 + row) * robot.dt * 1e9)
                action = commands @ actions[row]
                known = action if np.isfinite(action).all() else None
                writer.write(Frame(pixels[row], np.zeros(0)), known, stamp)


class Found(NamedTuple):
    """A pair with its verdict and its truth."""

    name: str
    share: float  # of the success at home; 0 where it is unfit by construction
    checks: Sequence[Check]
    remedy: str  # part of the remedy that is right if it is unfit

    @property
    def fit(self) -> bool:
        """Return the truth."""
        return self.share >= FIT

    @property
    def go(self) -> bool:
        """Return the verdict."""
        return all(one.go for one in self.checks)

    @property
    def named(self) -> bool:
        """Return whether a no-go names the right remedy."""
        return any(self.remedy in one.remedy for one in self.checks if not one.go)


def measure(quick: bool, seed: int) -> Iterator[Row]:
    """Yield the rows."""
    torch.set_num_threads(1)
    with workplace('check', quick) as folder:
        yield from rows(list(tried(folder, quick, seed)))


def tried(folder: Path, quick: bool, number: int) -> Iterator[Found]:
    """Yield all pairs."""
    where, knobs = folder / str(number), QUICK if quick else PAIRS
    places = {'home': PLACES['home'], 'dark': PLACES['dark']} if quick else PLACES
    with prepared(ARENA, where, number, knobs) as home:
        runs = {'shipped': MODEL, 'plain': plain(home, folder, quick, number)}
        pairs, shares = home.pairs(), dict[str, float]()
    for title, place in places.items():
        spot = where / title
        bags = recorded(spot, number, place)
        looks = [*place.knobs, 'randomise.once=true', f'arena.seed={number}']
        with prepared(ARENA, where, number, [*knobs, *looks]) as seed:
            for model, spots in DRIVES.items():
                if title not in spots:
                    continue
                run = runs[model.split()[0]]
                run = adapted(run, bags, spot / model) if 'adapted' in model else run
                checkpoint = load(run)
                reached = success([drive(seed, checkpoint, pairs, place)])
                share = reached / shares.setdefault(model.split()[0], reached)
                yield said(Found(f'{model}, {title}', share, verdict(run, bags), place.remedy))
    for title, (robot, arena, remedy) in faulty(load(MODEL).robot).items():
        bags = recorded(where / arena, number, PLACES['home'], arena)
        yield said(Found(title, 0.0, verdict(MODEL, bags, robot), remedy))


def plain(home: Seed, folder: Path, quick: bool, number: int) -> Path:
    """Train without augmentation, and make the album; return the run folder."""
    data = record(ARENA, folder, quick, seed=number)
    made = without_augmentation(home).trained(data, home.config.model.kind, 'plain')
    assert made.folder is not None
    frame_bank.add(made, data)
    return made.folder


def adapted(run: Path, bags: Path, out: Path) -> Path:
    """Adapt a model as smwm adapt does; return its old run folder if it fits worse."""
    try:
        if not out.exists():
            with redirect_stdout(sys.stderr):
                adapt(run, [bags], out)
    except CheckpointError:
        return run
    return out


def verdict(run: Path, bags: Path, robot: Robot | None = None) -> list[Check]:
    """Return what smwm check says."""
    checkpoint = load(run)
    with redirect_stdout(sys.stderr):
        return check_robot(checkpoint, Config(robot=robot or checkpoint.robot), [bags])[0]


def said(found: Found) -> Found:
    """Print a pair to stderr."""
    right = found.go == found.fit and (found.go or found.named)
    print(
        f'{"      " if right else "WRONG "}{found.name}: {found.share:.2f} of that at home, '
        f'{"go" if found.go else "no-go"}',
        file=sys.stderr,
    )
    for one in found.checks:
        print(f'         {"go" if one.go else "NO"} {one.name}: {one.what}', file=sys.stderr)
    return found


def rows(pairs: Sequence[Found]) -> Iterator[Row]:
    """Yield how often verdicts and remedies are right."""
    fit, unfit = ([one for one in pairs if one.fit is wanted] for wanted in (True, False))
    refused = [one for one in unfit if not one.go]
    yield Row('check.fit', len(fit), f'of {len(pairs)} pairs')
    yield Row('check.go', sum(one.go for one in fit), f'of {len(fit)} fit pairs')
    yield Row('check.no_go', len(refused), f'of {len(unfit)} unfit pairs')
    right = sum(one.go for one in fit) + len(refused)
    yield Row('check.right', right, f'of {len(pairs)} pairs')
    named_ = sum(one.named for one in refused)
    yield Row('check.remedy', named_, f'of {len(refused)} no-goes of unfit pairs')


if __name__ == '__main__':
    main(measure, __doc__, seed=(0, 'seed of recordings, looks, weights and goals'))
