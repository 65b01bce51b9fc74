# SPDX-License-Identifier: Apache-2.0
"""A goal may be a measured state: recorded frames show what it looks like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, ExitStack
from pathlib import Path
import shutil

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.arenas import arena_of
from smwm_ros.cli import main as smwm
from smwm_ros.errors import ConfigError
from smwm_ros.evaluation.agents import Attempt, Move, PlannerAgent
from smwm_ros.evaluation.closed_loop import run_pairs
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.interfaces import Arena, Frame
from smwm_ros.load import load_config
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.goal_states import full_name, GoalStates
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.retrieval import load_drives, save
from smwm_ros.training.train import train
from smwm_ros.verbs.prepare import add_missing
import torch
from worlds import dot_dataset, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
SHIPPED = Path(__file__).resolve().parents[1] / 'models' / 'two_room'
PUSH = ('position[name=x,y,cube_x,cube_y]', 'velocity[0]')
MIX = np.random.default_rng(5).normal(size=(5, 6))


def look(states: np.ndarray) -> np.ndarray:
    """Return what states (..., 5) look like: latents that are nearly linear in them."""
    return np.sin(0.3 * states @ MIX)


def recorded(count: int = 6000, seed: int = 0) -> RecordedDrives:
    """Return frames in which robot and cube are anywhere; the last field is never measured."""
    states = np.random.default_rng(seed).uniform(-1, 1, (count, 5))
    states[:, 4] = 0
    latents = torch.from_numpy(look(states)).float()
    states[:, 4] = np.nan
    return RecordedDrives(
        latents,
        torch.zeros(count, 2),
        torch.zeros(count, dtype=torch.int64),
        1,
        states=torch.from_numpy(states).float(),
    )


@pytest.fixture(scope='module')
def push() -> GoalStates:
    return GoalStates(recorded(), PUSH, 'run')


def off(latent: np.ndarray, *state: float) -> float:
    """Return how far a latent is from what a state looks like."""
    return float(np.linalg.norm(latent - look(np.array([*state, 0.0]))))


def test_a_state_between_recorded_ones_is_what_it_would_look_like(push: GoalStates) -> None:
    goal = (0.31, -0.42, 0.13, 0.55)
    wanted = dict(zip(('x', 'y', 'cube_x', 'cube_y'), goal, strict=True))
    found = push.find(wanted)
    frame = push.latents[found.near[0]]
    assert off(frame, *goal) > 0.05, 'no frame shows it'
    for z in (None, look(np.array([-0.5, 0.5, 0.5, -0.5, 0.0]))):
        assert off(found.latent(z), *goal) < 0.2 * off(frame, *goal)


def test_what_is_not_requested_stays_as_the_image_shows_it(push: GoalStates) -> None:
    robot, cube = (-0.6, 0.2), (0.4, 0.3)
    wanted = {'position[name=cube_x]': cube[0], 'cube_y': cube[1]}
    here = look(np.array([*robot, 0.1, 0.1, 0.0]))
    latent = push.find(wanted).latent(here)
    other = push.find(wanted).latent(look(np.array([0.6, -0.2, 0.1, 0.1, 0.0])))
    assert off(latent, *robot, *cube) < 0.2 * off(other, *robot, *cube)
    assert off(other, 0.6, -0.2, *cube) < 0.2 * off(latent, 0.6, -0.2, *cube)


def test_without_an_image_the_frame_nearest_in_the_fields_is_shown(push: GoalStates) -> None:
    row, states = 123, recorded().states
    assert states is not None
    found = push.find({'cube_x': float(states[row, 2]), 'cube_y': float(states[row, 3])})
    assert found.near[0] == row
    assert np.allclose(found.latent(None), push.latents[row], atol=1e-5)


def test_where_no_other_field_is_measured_the_frame_that_looks_most_like_the_image_is_chosen(
    push: GoalStates,
) -> None:
    known = recorded()
    assert known.states is not None
    only = GoalStates(known._replace(states=known.states[:, 2:4]), ('cube_x', 'cube_y'), 'run')
    found, rng = only.find({'cube_x': 0.3, 'cube_y': -0.2}), np.random.default_rng(0)
    for _ in range(10):
        z = look(rng.uniform(-1, 1, 5))
        row = found.near[np.linalg.norm(only.latents[found.near] - z, axis=1).argmin()]
        correction = only.correction(row, found.columns, found.values)
        assert np.allclose(found.latent(z), only.latents[row] + correction, atol=1e-5)
    assert len(found.near) > 3


def test_fields_count_in_units_of_their_spread() -> None:
    known = recorded()
    assert known.states is not None
    known.states[:, 0] *= 1000  # millimetres
    wide = GoalStates(known, PUSH, 'run').find({'x': 310.0, 'cube_x': 0.13})
    same = GoalStates(recorded(), PUSH, 'run').find({'x': 0.31, 'cube_x': 0.13})
    assert wide.near.tolist() == same.near.tolist()


def test_frames_without_a_measured_state_are_never_shown() -> None:
    known = recorded()
    assert known.states is not None
    known.states[::2, 2] = torch.nan
    states = GoalStates(known, PUSH, 'run')
    found = states.find({'cube_x': 0.2})
    assert (found.near % 2 == 1).all()
    assert (states.find({'x': 0.2}).near % 2 == 0).any(), 'x is known there'
    assert np.isfinite(found.latent(None)).all()


def test_goals_are_frames_in_which_nothing_moves() -> None:
    known = recorded()
    resting = GoalStates(known._replace(resting=known.latents + 7), PUSH, 'run')
    moving = GoalStates(known, PUSH, 'run')
    wanted = {'x': 0.1, 'y': 0.1, 'cube_x': 0.1, 'cube_y': 0.1}
    assert np.allclose(
        resting.find(wanted).latent(None), moving.find(wanted).latent(None) + 7, atol=1e-4
    )


def test_latents_that_do_not_follow_the_state_are_not_corrected() -> None:
    known = recorded()
    noise = torch.randn(known.latents.shape, generator=torch.Generator().manual_seed(1))
    states = GoalStates(known._replace(latents=noise), PUSH, 'run')
    plain = 0
    for number in range(20):
        found = states.find({'x': -0.5 + number / 20, 'y': 0.3})
        plain += np.allclose(found.latent(None), states.latents[found.near[0]], atol=1e-6)
    assert plain >= 15


@pytest.mark.parametrize(
    ('wanted', 'reported'),
    [
        (
            {'x': 3.0, 'y': 0.0},
            r'name=x\]: 3 was requested, the nearest recorded frame has (1|0\.9)',
        ),
        ({'cube_y': -1.5}, r'name=cube_y\]: -1\.5 .* \(all frames: -(1|0\.9\d*) to (1|0\.9\d*)\)'),
        ({'z': 0.0}, r"'z': not in robot\.state\.fields; .*name=cube_x"),
        ({'cube_x': float('nan')}, r'name=cube_x\]: nan is not a finite number'),
        ({'x': 0.1, 'position[name=x]': 0.1}, r'name=x\]: named twice'),
        ({'velocity[0]': 0.0}, r'velocity\[0\]: no recorded frame has a measured value'),
        ({}, r'no field is named; valid: position\[name=x\], .*velocity\[0\]'),
    ],
)
def test_a_goal_that_cannot_be_looked_up_is_refused(
    push: GoalStates, wanted: Mapping[str, float], reported: str
) -> None:
    with pytest.raises(ConfigError, match=reported):
        push.find(wanted)


def test_values_that_were_only_recorded_apart_are_refused_together() -> None:
    known = recorded()
    assert known.states is not None
    wall = (known.states[:, 0] > -0.2) & (known.states[:, 1] > -0.2)
    states = GoalStates(known.only(~wall), PUSH, 'run')
    assert len(states.find({'x': 0.6}).near)
    assert len(states.find({'y': 0.6}).near)
    with pytest.raises(ConfigError, match=r'=[xy]\]: 0\.6 was requested, the nearest .* has -0\.'):
        states.find({'x': 0.6, 'y': 0.6})


def test_frames_of_the_same_moment_do_not_make_recorded_states_look_dense() -> None:
    known = recorded(1000)
    assert known.states is not None
    known.states[:, 0] = torch.arange(1000) / 1000  # passed once; 50 frames later it is 0.05 away
    states = GoalStates(known, PUSH, 'run')
    assert len(states.find({'x': 1.1}).near)
    with pytest.raises(ConfigError, match=r'name=x\]: 1\.2 was requested, .* has 0\.999'):
        states.find({'x': 1.2})


def test_the_last_part_of_a_field_names_it_unless_it_is_ambiguous() -> None:
    fields = ('pose.pose.position.x', 'pose.pose.position.y', 'twist.twist.linear.x')
    assert full_name('y', fields) == fields[1]
    assert full_name('position.x', fields) == fields[0]
    assert full_name(fields[2], fields) == fields[2]
    with pytest.raises(ConfigError, match=r"'x': ambiguous; valid: pose.*position\.x, twist"):
        full_name('x', fields)
    with pytest.raises(ConfigError, match='not in'):
        full_name('osition.x', fields)


def test_a_run_without_states_says_what_to_do() -> None:
    for states in (None, torch.full((6000, 5), torch.nan)):
        with pytest.raises(ConfigError, match=r'run: .* no measured states; run smwm prepare run'):
            GoalStates(recorded()._replace(states=states), PUSH, 'run')
    with pytest.raises(ConfigError, match=r'robot\.state\.fields: 4 fields, but .* have 5'):
        GoalStates(recorded(), PUSH[:1], 'run')


def test_training_and_preparing_store_the_states_of_the_frames(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'data', episodes=6)
    run = tmp_path / 'run'
    made = train(data, run, TINY, config.Train(steps=4, batch=8, eval_every=4), config.Planner())
    add_missing(run, made, data, config.Config())
    first = load_drives(run, made.action_block, 'a test')
    rows = [
        row for one in data.episodes if one.split == 'train' for row in range(one.start, one.stop)
    ]
    assert first.states is not None
    assert np.array_equal(first.states.numpy(), data.states(np.array(rows)))
    save(run, first._replace(states=None), {})  # as older versions did
    old = load_drives(run, made.action_block, 'a test')
    assert old.states is None
    add_missing(run, made, data, config.Config())
    again = load_drives(run, made.action_block, 'a test').states
    assert again is not None
    assert torch.equal(again, first.states)
    before = (run / 'drives.json').stat().st_mtime_ns
    add_missing(run, made, data, config.Config())
    assert (run / 'drives.json').stat().st_mtime_ns == before, 'it was complete'
    other = Path(shutil.copytree(run, tmp_path / 'other'))
    (other / 'drives.json').unlink()
    assert smwm(['prepare', str(other), '--data', str(data.folder), 'prepare.steps=5']) == 0
    states = load_drives(other, made.action_block, 'a test').states
    assert states is not None
    assert torch.equal(states, first.states)


class StateAgent(PlannerAgent):
    """Plans towards the measured state of the goal, without its picture."""

    def __init__(self, pilot: Pilot, states: GoalStates) -> None:
        super().__init__(pilot, execute=1, delay=0)
        self._states, self._attempts = states, list[Attempt]()

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Hide the pictures of the goals."""
        self._attempts = list(attempts)
        black = [
            one._replace(goal=one.goal._replace(pixels=0 * one.goal.pixels)) for one in attempts
        ]
        super().begin(black)

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Look the goals up when the first image is known."""
        if self._attempts:
            seen = self.pilot.encode(np.stack([frame.pixels for frame in frames]))
            goals = [self._attempts[lane].goal.state for lane in lanes]
            found = [
                self._states.find(dict(zip('xy', map(float, one), strict=True))) for one in goals
            ]
            self.pilot.aim_many(
                np.stack([one.latent(z) for one, z in zip(found, seen, strict=True)])
            )
            self._attempts = []
        return super().act(lanes, frames)


@pytest.fixture
def arenas() -> Iterator[list[Arena]]:
    settings = load_config('two_room', ['arena.image_size=64', 'arena.name=two_room'])
    with ExitStack() as stack:
        yield [stack.enter_context(closing(arena_of(settings))) for _ in range(3)]


def test_positions_are_reached_as_often_as_pictures_of_them(arenas: list[Arena]) -> None:
    checkpoint = checkpoints.load(SHIPPED)
    rng = np.random.default_rng(3)
    pilot = Pilot(checkpoint)
    arenas[0].reset(0)
    frames = [arenas[0].set_state(arenas[0].sample(rng)) for _ in range(400)]
    drives = RecordedDrives(
        torch.from_numpy(pilot.encode(np.stack([frame.pixels for frame in frames]))),
        torch.zeros(400, 2),
        torch.zeros(400, dtype=torch.int64),
        checkpoint.action_block,
        states=torch.from_numpy(np.stack([frame.state for frame in frames])).float(),
    )
    states = GoalStates(drives, checkpoint.robot.state.fields, 'run')
    pairs = list[Pair]()
    while len(pairs) < 6:
        here, there = (arenas[0].set_state(arenas[0].sample(rng)).state for _ in range(2))
        if 0.4 < np.linalg.norm(here - there) < 0.9:
            pairs.append(Pair(here, there, len(pairs), 0, 0))
    reached = {
        name: sum(one.success for one in run_pairs(arenas, pairs, agent, 60, name))
        for name, agent in {
            'pictures': PlannerAgent(pilot, 1, 0),
            'states': StateAgent(Pilot(checkpoint), states),
        }.items()
    }
    assert reached['pictures'] >= 4, 'the pairs are possible'
    assert reached['states'] >= reached['pictures'] - 1
