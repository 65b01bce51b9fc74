# SPDX-License-Identifier: Apache-2.0
"""Arenas on MuJoCo keep the contract of arenas, and differ little from those on PyBullet."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from contract import check_arena, require_mujoco
import numpy as np
import pytest
from smwm_ros.arenas import ARENA_NAMES, engine, make_arena
from smwm_ros.arenas.mujoco_world import MujocoWorld
from smwm_ros.arenas.ranges import ranges_of
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.vary import RandomisedArena
from smwm_ros.arenas.worlds import AnyWorld
from smwm_ros.cli import main as smwm
from smwm_ros.config import Randomise
from smwm_ros.errors import ArenaError

SHIPPED = Path(__file__).resolve().parents[2] / 'models' / 'two_room'
# Largest difference of a state after a raw step.
CLOSE = {'two_room': 0.01, 'two_room_differential': 0.02, 'reacher': 0.03}


@pytest.fixture(scope='module', autouse=True)
def renderer() -> None:
    """Skip where MuJoCo has nothing to render with."""
    require_mujoco()


@contextmanager
def both(name: str, size: int = 32) -> Iterator[list[Scene]]:
    """Make an arena in both engines."""
    arenas = [make_arena(name, size, engine) for engine in ('pybullet', 'mujoco')]
    yield arenas
    for arena in arenas:
        arena.close()


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_every_arena_keeps_the_contract(name: str) -> None:
    check_arena(name, 'mujoco')


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_the_expert_reaches_its_goals(name: str) -> None:
    reached = 0
    with closing(make_arena(name, 16, 'mujoco')) as arena:
        for seed in range(10):
            arena.reset(seed)
            reached += any(arena.step(arena.expert()) and arena.success() for _ in range(200))
    # The expert of push_t was written for contacts of the other engine.
    assert reached >= (6 if name == 'push_t' else 10)


@pytest.mark.parametrize('name', CLOSE)
def test_a_robot_moves_as_in_the_other_engine(name: str) -> None:
    rng = np.random.default_rng(0)
    with both(name, 16) as (mine, other):
        for seed in range(5):
            state = mine.reset(seed).state
            for _ in range(10):
                other.set_state(state)
                action = rng.uniform(mine.spec.low, mine.spec.high)
                state, there = mine.step(action).state, other.step(action).state
                assert np.abs(state - there).max() < CLOSE[name]


def test_a_wall_stops_the_robot() -> None:
    with closing(make_arena('two_room', 16, 'mujoco')) as arena:
        arena.set_state(np.array([0.5, 0.5]))
        places = [arena.step(np.array([-0.5, 0.0])).state[0] for _ in range(20)]
    assert places[-1] == pytest.approx(0.12, abs=0.01)  # its radius, and half of the wall


def test_a_pushed_block_moves_and_then_rests() -> None:
    with closing(make_arena('push_t', 16, 'mujoco')) as arena:
        start = arena.set_state(np.array([0.0, 0.5, 0.0, 0.0, 1.0, 0.0])).state
        for _ in range(12):
            pushed = arena.step(np.array([0.0, -0.4])).state
        assert pushed[3] < start[3] - 0.03
        away = arena.step(np.array([0.0, 0.4])).state
        assert np.allclose(away[2:], pushed[2:], atol=1e-3)


def push(world: AnyWorld, substeps: int) -> np.ndarray:
    """Push the block from the same state; return where it is then, unrounded."""
    world.place('block', (0.0, 0.0, 0.0))
    world.place('pusher', (0.1, 0.22))
    world.set_motors('pusher', (0.05, -0.4), 200.0)
    world.advance_at_rest(substeps, 'block')
    return world.joints('block')


def test_a_push_depends_on_nothing_before_and_ends_with_the_pusher() -> None:
    with closing(make_arena('push_t', 16, 'mujoco')) as arena:
        world = arena.world
        first = push(world, 48)
        assert np.abs(first).max() > 0.03
        push(world, 31)
        assert np.array_equal(push(world, 48), first)
        world.set_motors('pusher', (0.0, 0.4), 200.0)
        world.advance_at_rest(8, 'block')  # until the pusher has left it
        left = world.joints('block')
        world.advance_at_rest(48, 'block')
        assert np.array_equal(world.joints('block'), left)


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_the_robot_is_seen_at_the_same_place(name: str) -> None:
    """Compare the middle of what has a strong colour, as floors and shadows have none."""
    with both(name, 64) as (mine, other):
        for seed in (1, 2):
            state = mine.reset(seed).state
            pictures = [arena.set_state(state).pixels.astype(int) for arena in (mine, other)]
            places = [
                np.argwhere(np.ptp(picture, axis=2) > 90).mean(axis=0) for picture in pictures
            ]
            assert np.abs(places[0] - places[1]).max() < 1.5  # px
            assert np.abs(pictures[0] - pictures[1]).mean() > 1  # another renderer


def drawn(**ranges: Any) -> Any:
    """Return two renderings of one state: plain, and with drawn values."""
    values = ranges_of(Randomise(**ranges))
    with closing(make_arena('two_room', 32, 'mujoco')) as scene:
        plain = scene.set_state(np.array([0.5, 0.3])).pixels
        arena = RandomisedArena(scene, values, distractors=ranges.pop('balls', 0))
        arena.randomise(1)
        varied = arena.set_state(np.array([0.5, 0.3])).pixels
        arena.ranges = ranges_of(Randomise())
        arena.randomise(1)
        assert np.array_equal(arena.set_state(np.array([0.5, 0.3])).pixels, plain)
    return plain.astype(int), varied.astype(int)


@pytest.mark.parametrize(
    'ranges',
    [
        {'camera_eye': (0.1, 0.1)},
        {'camera_roll': (20, 20)},
        {'fov': (1.2, 1.2)},
        {'colour': (-0.3, 0.3)},
        {'light_turn': (90, 90)},
        {'texture': (0.5, 0.5)},
    ],
    ids=lambda ranges: next(iter(ranges)),
)
def test_what_is_drawn_changes_the_picture_and_can_be_undone(ranges: dict[str, Any]) -> None:
    plain, varied = drawn(**ranges)
    assert np.abs(plain - varied).mean() > 2


def test_a_brighter_light_makes_everything_brighter() -> None:
    plain, varied = drawn(light=(0.5, 0.5))
    assert varied.mean() == pytest.approx(plain.mean() / 2, rel=0.05)


def test_a_gain_of_the_motors_halves_the_speed() -> None:
    with closing(make_arena('two_room', 16, 'mujoco')) as scene:
        moved = []
        for gain in (1.0, 0.5):
            scene.world.gain = gain
            scene.set_state(np.array([0.5, 0.0]))
            moved.append(scene.step(np.array([0.0, 0.4])).state[1])
    assert moved[0] == pytest.approx(0.04, rel=0.05)
    assert moved[1] == pytest.approx(moved[0] / 2, rel=0.05)


def test_mass_and_friction_are_set_and_read_back() -> None:
    with closing(make_arena('cube', 16, 'mujoco')) as scene:
        world = scene.world
        assert isinstance(world, MujocoWorld)
        links = world.links()
        heavy = [
            link._replace(mass=2 * link.mass, friction=0.5 * link.friction)
            for link in links
            if link.mass
        ]
        for link in heavy:
            world.set_dynamics(link)
        found = [link for link in world.links() if link.mass]
        assert [link.mass for link in found] == pytest.approx([link.mass for link in heavy])
        # Of two surfaces the smoother one decides, which is the one of higher priority.
        model = world.compiled()
        sliding = model.geom_friction[:, 0]
        assert set(np.round(sliding, 3)) == {0.5, 0.15, 0.0}  # cube and table, fingers, palm
        assert (np.diff(model.geom_priority[np.argsort(sliding)]) <= 0).all()


def test_balls_are_added_to_a_world_that_ran_already() -> None:
    with closing(make_arena('two_room', 32, 'mujoco')) as scene:
        scene.reset(0)
        arena = RandomisedArena(scene, ranges_of(Randomise()), distractors=40)
        first = arena.reset(3)
        later = [arena.step(np.zeros(2)) for _ in range(5)]
    assert np.allclose(later[-1].state, first.state, atol=1e-6)
    assert (later[-1].pixels != first.pixels).any()


def test_every_thread_may_render() -> None:
    with closing(make_arena('two_room', 32, 'mujoco')) as scene:
        arena = RandomisedArena(scene, ranges_of(Randomise(texture=(0.5, 0.5))))
        pictures = [arena.reset(0).pixels]
        with ThreadPoolExecutor(1) as pool:
            pictures.append(pool.submit(arena.reset, 0).result().pixels)
            arena.reset(1)
            pictures.append(pool.submit(arena.reset, 0).result().pixels)
        pictures.append(arena.reset(0).pixels)
    assert all(np.array_equal(pictures[0], other) for other in pictures[1:])


def test_a_small_picture_is_that_of_a_world_that_drew_a_large_one() -> None:
    with closing(make_arena('cube', 32, 'mujoco')) as arena:
        before = arena.reset(0).pixels
        assert arena.render(128).shape == (128, 128, 3)
        after = arena.idle().pixels
    assert np.abs(before.astype(int) - after).max() <= 2


def test_verbs_run_in_the_other_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine, bags, page = (
        'arena.engine=mujoco',
        str(tmp_path / 'bags'),
        str(tmp_path / 'found.json'),
    )
    small = ['arena.length=20', 'evaluate.pairs=2', 'evaluate.repeats=1', 'evaluate.offset=5']
    assert smwm(['collect', 'two_room', '--episodes', '2', '--out', bags, engine, small[0]]) == 0
    words = ['evaluate', str(SHIPPED), '--arena', 'two_room', '--out', page, engine, *small]
    assert smwm(words) == 0
    assert 'expert' in capsys.readouterr().out


def test_a_way_to_render_that_is_not_there_is_said(tmp_path: Path) -> None:
    words = ['collect', 'two_room', '--out', str(tmp_path / 'bags'), 'arena.engine=mujoco']
    code = (
        "import sys; sys.modules['OpenGL'] = None; from smwm_ros.cli import main; "
        f'sys.exit(main({words}))'
    )
    environment = {**os.environ, 'MUJOCO_GL': 'osmesa'}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert 'nothing to render with' in done.stderr
    assert 'now osmesa' in done.stderr


def test_triton_is_loaded_before_mesa(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import mujoco

    (tmp_path / 'triton.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'triton', None)  # afterwards it is as it was
    del sys.modules['triton']
    there = []

    def context(*size: int) -> None:
        there.append('triton' in sys.modules)
        raise RuntimeError('enough')

    monkeypatch.setattr(mujoco, 'GLContext', context)
    with closing(make_arena('two_room', 16, 'mujoco')) as arena, pytest.raises(ArenaError):
        arena.reset(0)
    assert there == [True]


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mujoco

    def fail(*size: int) -> None:
        raise RuntimeError('no display')

    monkeypatch.setattr(mujoco, 'GLContext', fail)
    arena = make_arena('two_room', 16, 'mujoco')
    with pytest.raises(ArenaError, match=r'no display\); install EGL or OSMesa'):
        arena.reset(0)
    arena.close()
    monkeypatch.setattr(engine, 'find_spec', lambda name: None)
    words = ['collect', 'two_room', '--out', 'nowhere', 'arena.engine=mujoco']
    assert smwm(words) == 2
    assert "needs the extra 'mujoco'" in capsys.readouterr().err
    with pytest.raises(ArenaError, match="no such engine; did you mean 'mujoco'"):
        make_arena('two_room', 16, 'mujuco')
