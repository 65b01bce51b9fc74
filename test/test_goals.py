# SPDX-License-Identifier: Apache-2.0
"""Goals from pictures and recordings, and a drive that is shown once and driven again."""

from __future__ import annotations

import json
from pathlib import Path
import shutil

import cv2
import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.frames_at import image_at, images_between
from smwm_ros.cli import main
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.control.route import Event, GoalTolerance, Route, RouteRecorder
from smwm_ros.errors import BagError
from smwm_ros.model.checkpoint import load, META
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.latent_scale import distance_of

ROOT = Path(__file__).resolve().parent.parent
MODEL, BAGS = ROOT / 'models' / 'two_room', ROOT / 'bags' / 'two_room'


def test_a_moment_of_a_bag_shows_what_the_camera_saw_last_and_never_anything_later() -> None:
    checkpoint = load(MODEL)
    (bag,) = find_bags([BAGS])
    about = (bag, checkpoint.robot, checkpoint.dataset)
    drive = images_between(*about, 1.0, 2.0)
    assert len(drive) in (10, 11)
    first, later = image_at(*about, 1.0), image_at(*about, 1.5)
    assert first.shape == (64, 64, 3)
    assert any(np.array_equal(later, one) for one in drive)
    assert not np.array_equal(first, later)
    assert np.array_equal(image_at(*about, 1.5 + 1e-3), later)
    with pytest.raises(BagError, match='time 99 s, expected 0 to'):
        image_at(*about, 99.0)


def test_goals_are_kept_by_the_command_line_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / 'kitchen.jpg'
    cv2.imwrite(str(picture), np.full((48, 64, 3), 90, np.uint8))
    folder = tmp_path / 'goals'
    keep = ['goals', str(MODEL), '--folder', str(folder)]
    assert main([*keep, '--name', 'kitchen', '--image', str(picture)]) == 0
    assert main([*keep, '--name', 'dock', '--bag', str(BAGS), '--at', '3']) == 0
    words = ['--name', 'tour', '--bag', str(BAGS), '--start', '0', '--stop', '8', '--spacing', '5']
    assert main([*keep, *words]) == 0
    count = GoalLibrary(folder).names()['tour']
    assert count > 2
    capsys.readouterr()
    assert main(keep) == 0
    reported = capsys.readouterr().out.splitlines()
    assert reported == ['dock: a goal', 'kitchen: a goal', f'tour: a route of {count} subgoals']


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--name', 'x'], 'give --image or --bag'),
        (['--image', 'x.png'], '--name: missing'),
        (['--name', 'x', '--image', 'x.png'], 'x.png: cannot be read'),
        (['--name', '../x', '--bag', str(BAGS), '--at', '1'], 'is not a valid name of a goal'),
        (['--name', 'x', '--bag', str(BAGS), '--start', '90'], 'no readable image'),
    ],
)
def test_mistakes_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(['goals', str(MODEL), '--folder', str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_distances_makes_goals_but_no_routes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    shutil.copytree(MODEL, run)
    meta = json.loads((run / META).read_text())
    del meta['info']['distances']
    (run / META).write_text(json.dumps(meta))
    assert main(['goals', str(run), '--name', 'x', '--bag', str(BAGS), '--at', '1']) == 0
    assert main(['goals', str(run), '--name', 'y', '--bag', str(BAGS)]) == 2
    assert 'run smwm train again with the same dataset' in capsys.readouterr().err


@pytest.mark.usefixtures('one_thread')
@pytest.mark.parametrize('seed', [0, 1])
def test_a_drive_through_the_door_that_is_shown_once_is_driven_again(seed: int) -> None:
    checkpoint = load(MODEL)
    pilot, arena = Pilot(checkpoint), make_arena('two_room', 64)
    distances = [distance_of(checkpoint.info, ticks) for ticks in (2.0, 4.0, 10.0)]
    near, far, spacing = (distance for distance in distances if distance is not None)
    rng = np.random.default_rng(seed)
    sides = (-1, 1) if seed % 2 else (1, -1)
    start, goal = (
        next(state for _ in range(1000) if side * (state := arena.sample(rng))[0] > 0.3)
        for side in sides
    )
    arena.reset(0)
    arena.set_goal(goal)
    frame = arena.set_state(start)
    recorder = RouteRecorder(spacing)
    for _ in range(150):
        recorder.add(pilot.encode(frame.pixels[None])[0], frame.pixels)
        if arena.success():
            break
        frame = arena.step(arena.expert())
    assert arena.success(), 'the expert itself lost its way'
    shown = frame.state
    goal_route = Route(pilot.encode(np.stack(recorder.route())), GoalTolerance(near, far, 3))
    assert len(goal_route.latents) > 3
    frame = arena.set_state(start)
    pilot.aim(goal_route.target)
    pilot.reset()
    for step in range(300):
        plan = pilot.plan(frame.pixels, min(step, 1))
        assert plan.latent is not None
        event = goal_route.update(plan.latent)
        if event is Event.REACHED:
            break
        if event is Event.PASSED:
            pilot.aim(goal_route.target)
        frame = arena.step(plan.actions[0])
    arena.close()
    assert goal_route.reached
    assert np.linalg.norm(frame.state - shown) < 0.25
