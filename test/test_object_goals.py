# SPDX-License-Identifier: Apache-2.0
"""Goals of the object alone: its mask, the robot elsewhere, and success by the object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.arenas import ARENA_NAMES, make_arena
from smwm_ros.arenas.cube import is_held
from smwm_ros.arenas.object_goals import object_axes, object_goals, OBJECTS, require_object
from smwm_ros.arenas.scene import Scene
from smwm_ros.cli import main
from smwm_ros.errors import ArenaError, ConfigError
from smwm_ros.evaluation.agents import Attempt, PlannerAgent
from smwm_ros.interfaces import ActionScaler, Arena, Array, Frame
from smwm_ros.load import load_config
from smwm_ros.model import sidecar
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import Checkpoint, save
from smwm_ros.model.info import Info
from smwm_ros.planning.frame_bank import to_jpeg
from smwm_ros.planning.masked_goals import NAME
from smwm_ros.planning.pilot import Pilot
import torch
from worlds import TINY, tiny_checkpoint

SIZE = 32
ROBOT = {'push_t': slice(0, 2), 'cube': slice(0, 3)}
COLOURS = {'push_t': (2, 0), 'cube': (0, 2)}  # channel in which the object is bright, and dark
ON_TABLE = np.array([-0.1, 0.05, 0.1, 0.06, 0.05, -0.04, 0.025, 1.0, 0.0], np.float32)
HELD = np.array([0.05, -0.04, 0.1, 0.05, 0.05, -0.04, 0.1, 1.0, 0.0], np.float32)
BLOCK = np.array([-0.5, 0.3, 0.1, -0.1, 0.6, 0.8], np.float32)
STATES = {'push_t': BLOCK, 'cube': ON_TABLE}


@pytest.fixture(scope='module')
def scenes() -> Iterator[dict[str, Scene]]:
    made = {name: make_arena(name, 64) for name in OBJECTS}
    yield made
    for scene in made.values():
        scene.close()


def placed(scene: Scene, name: str) -> Arena:
    """Return an arena with goals of the object alone, and the robot at its first state."""
    found = object_goals(scene, name)
    found.reset(0)
    return found


@pytest.mark.parametrize('name', OBJECTS)
def test_the_mask_of_a_goal_picture_is_what_shows_the_object(
    scenes: dict[str, Scene], name: str
) -> None:
    goal = placed(scenes[name], name).set_goal(STATES[name]).pixels
    assert goal.shape == (64, 64, 4)
    bright, dark = (goal[..., channel].astype(int) for channel in COLOURS[name])
    coloured = bright > dark + 60
    if name == 'cube':  # the yellow finger is bright in red, too
        coloured &= goal[..., 1] < 80
    else:  # and walls and table are grey
        coloured &= goal[..., 0] < 60
    mask = goal[..., 3] > 0
    assert mask.sum() > 50
    assert (mask != coloured).sum() < 0.1 * mask.sum()


@pytest.mark.parametrize('name', OBJECTS)
def test_the_robot_is_elsewhere_in_a_goal_picture_and_the_object_is_not(
    scenes: dict[str, Scene], name: str
) -> None:
    arena, state = placed(scenes[name], name), STATES[name]
    here = arena.save()
    goals = [arena.set_goal(state) for _ in range(2)]
    assert np.array_equal(goals[0].pixels, goals[1].pixels), 'the same picture for all agents'
    found, robot = goals[0].state, ROBOT[name]
    assert np.abs(found[robot] - state[robot]).max() > 0.02
    rest = np.ones(len(state), bool)
    rest[robot] = False
    assert np.array_equal(found[rest], state[rest])
    other = state.copy()
    other[robot] += 0.01  # another place in the recording gives another place in the picture
    assert not np.array_equal(arena.set_goal(other).state[robot], found[robot])
    arena.set_goal_state(here[1])
    for now, before in zip(arena.save(), here, strict=True):
        assert np.array_equal(now, before), 'nothing else changes'


def test_a_cube_that_is_held_keeps_its_gripper(scenes: dict[str, Scene]) -> None:
    arena = placed(scenes['cube'], 'cube')
    assert np.array_equal(arena.set_goal(HELD).state, HELD)
    for turned in range(20):
        state = ON_TABLE.copy()
        state[4:6] = np.random.default_rng(turned).uniform(-0.12, 0.12, 2)
        assert not is_held(arena.set_goal(state).state)


@pytest.mark.parametrize('name', OBJECTS)
def test_the_object_alone_decides_whether_a_goal_is_reached(
    scenes: dict[str, Scene], name: str
) -> None:
    arena, goal = placed(scenes[name], name), STATES[name]
    arena.set_goal(goal)
    arena.set_state(goal)  # the robot is where it was recorded, not where the picture shows it
    assert arena.success()
    for axis in object_axes(name):
        for share in (0.9, 1.1):
            off = goal.astype(np.float64)
            if len(axis.columns) == 1:
                off[axis.columns[0]] += share * axis.tolerance
            else:
                cos, sin = axis.columns
                angle = np.arctan2(off[sin], off[cos]) - share * axis.tolerance
                off[cos], off[sin] = np.cos(angle), np.sin(angle)
            arena.set_state(off)
            assert arena.success() == (share < 1), axis
            assert arena.distance() == pytest.approx(share, abs=1e-3)
    off = goal.astype(np.float64)
    first, second = (axis for axis in object_axes(name) if axis.name[-1] in 'xy')
    off[first.columns[0]] += 0.8 * first.tolerance
    off[second.columns[0]] += 0.8 * second.tolerance
    arena.set_state(off)
    assert not arena.success(), 'both together are too far'


def test_an_arena_without_an_object_is_refused() -> None:
    for name in set(ARENA_NAMES) - set(OBJECTS):
        with pytest.raises(ArenaError, match=f"'{name}' moves no object; .* push_t or cube"):
            require_object(name)


def test_the_verb_refuses_an_arena_without_an_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / 'run', tiny_checkpoint())
    assert main(['evaluate', str(tmp_path / 'run'), '--object']) == 2
    assert "'two_room' moves no object" in capsys.readouterr().err


class Masks:
    """Stands for recorded frames; refuses masks without pixels."""

    def metric(self, pixels: Array, mask: Array) -> Array:
        """Return a metric that shows which mask it is of."""
        assert pixels.shape == (*mask.shape, 3)
        if not mask.any():
            raise ConfigError('mask: none of the frames looks like the goal')
        return np.eye(4, dtype=np.float32) * int(mask.sum())


def test_an_agent_with_masks_plans_by_their_metrics(caplog: pytest.LogCaptureFixture) -> None:
    checkpoint, found = tiny_checkpoint(), list[Any]()

    class Recorder(Pilot):
        """Stores its goals."""

        def set_goals(self, pixels: Array, metrics: Array | None = None) -> None:
            found.append((pixels, metrics))
            super().set_goals(pixels, metrics)

    pilot = Recorder(checkpoint)
    size, width = checkpoint.image_size, pilot.latent_size
    picture = np.zeros((3, size, size, 4), np.uint8)
    picture[0, 0, :5, 3] = picture[1, 0, :2, 3] = 255
    attempts = [Attempt(None, Frame(one, np.zeros(1)), (0,)) for one in picture]  # type: ignore[arg-type]
    masks: Any = Masks()
    masks.metric = lambda pixels, mask: Masks.metric(masks, pixels, mask)[0, 0] * np.eye(width)
    PlannerAgent(pilot, 1, 0, masks=masks).begin(attempts)
    PlannerAgent(pilot, 1, 0).begin(attempts)
    (pixels, metrics), (same, none) = found
    assert pixels.shape == same.shape == (3, size, size, 3)
    assert none is None, 'the whole picture counts'
    assert [int(one[0, 0]) for one in metrics] == [5, 2, 1]
    (line,) = caplog.messages
    assert line.endswith('for this goal, the whole picture counts')


def push_t_run(folder: Path, frames: bool = True) -> Path:
    """Write an untrained run for push_t, with recorded frames."""
    knobs, robot = replace(TINY, latent=8), load_config('push_t', []).robot
    torch.manual_seed(0)
    model = make_model(knobs, SIZE, 4).eval().requires_grad_(False)
    planner = config.Planner(samples=8, elites=4, iterations=1, horizon=3)
    dataset = config.Dataset(image_size=SIZE, action_block=2)
    scaler = ActionScaler(np.zeros(2), np.full(2, 0.2))
    save(folder, Checkpoint(model, robot, dataset, knobs, planner, scaler, Info(dataset='none')))
    if frames:
        arena = make_arena('push_t', SIZE)
        rng = np.random.default_rng(0)
        pictures = np.stack([arena.set_state(arena.sample(rng)).pixels for _ in range(80)])
        arena.close()
        jpegs = [np.frombuffer(to_jpeg(picture), np.uint8) for picture in pictures]
        tensors = {
            'jpeg': torch.from_numpy(np.concatenate(jpegs)),
            'ends': torch.from_numpy(np.cumsum([len(jpeg) for jpeg in jpegs])),
            'latents': model.encode(torch.from_numpy(pictures).permute(0, 3, 1, 2)),
        }
        sidecar.save(folder, NAME, tensors, {'side': SIZE, 'dataset': 'none'})
    return folder


def test_the_verb_compares_masks_with_whole_pictures_on_pairs_whose_object_moves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = push_t_run(tmp_path / 'run')
    words = ['evaluate.pairs=4', 'evaluate.budget=40', 'evaluate.offset=12', 'evaluate.lanes=2']
    words += ['evaluate.repeats=1', 'evaluate.execute=2']
    assert main(['evaluate', str(run), '--object', '--strict', *words]) == 0
    said = capsys.readouterr().out
    assert 'goals 12 raw steps away, 40 to get there, the block alone:' in said
    assert 'all methods but whole picture have a mask of the block' in said
    assert 'Solved at the start: 0 of 4 pairs.' in said
    assert 'pusher' not in said, 'the strict judgement is of the block alone, too'
    found = json.loads((run / 'evaluate.json').read_text(encoding='utf-8'))
    assert {name: one['masks'] for name, one in found['methods'].items()} == {
        'smwm': True, 'whole picture': False,
    }  # fmt: skip
    (only,) = found['rounds']
    assert (only['object'], len(only['pairs'])) == ('block', 4), 'others take their places'
    assert list(only['results']) == ['smwm', 'whole picture', 'random', 'expert']
    assert only['results']['expert']['success'] > 0.5
    paths = [only['results'][name]['outcomes'][0]['path'] for name in ('smwm', 'whole picture')]
    assert paths[0] != paths[1]
    if hasattr(cv2, 'imwriteanimation'):
        assert (run / 'evaluate.gif').exists()


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        ([], 'smwm prepare'),
        (['planner.kind=roadmap'], 'planner.kind=roadmap'),
        (['planner.cost=time'], 'planner.cost=time'),
        (['--env', 'swm/PushT-v1'], '--object: is not possible with --env'),
    ],
)
def test_what_a_mask_needs_is_named_before_anything_is_driven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    run = push_t_run(tmp_path / 'run', frames=False)
    assert main(['evaluate', str(run), '--object', *words]) == 2
    assert reason in capsys.readouterr().err
