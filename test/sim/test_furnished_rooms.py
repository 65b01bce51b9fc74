# SPDX-License-Identifier: Apache-2.0
"""Arenas that look like a real room: floors, clutter, uneven light, shadows, a tilted camera."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
import pickle
from typing import Any

from contract import drive, equal, require_mujoco
import cv2
import numpy as np
import pytest
from smwm_ros.arenas import arena_of, make_arena
from smwm_ros.arenas.appearance import moved_camera
from smwm_ros.arenas.furnishing import FLOORS
from smwm_ros.arenas.ranges import draw, ranges_of, ROOM
from smwm_ros.arenas.rooms import CAMERA, HALF, WALL
from smwm_ros.arenas.textures import draw_kind, KINDS
from smwm_ros.arenas.vary import RandomisedArena
from smwm_ros.arenas.world import World
from smwm_ros.cli import main as smwm
from smwm_ros.config import Arena, Config, Randomise
from smwm_ros.errors import ArenaError

Looks = dict[str, Any]


@pytest.fixture(params=['pybullet', 'mujoco'])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == 'mujoco':
        require_mujoco()
    return str(request.param)


def furnished(
    engine: str = 'pybullet', size: int = 32, seed: int = 0, name: str = 'two_room', **looks: Any
) -> RandomisedArena:
    """Make an arena with looks."""
    of = Arena(name=name, image_size=size, seed=seed, engine=engine)
    made = arena_of(Config(arena=of, randomise=Randomise(**looks)))
    assert isinstance(made, RandomisedArena)
    return made


def seen(engine: str = 'pybullet', size: int = 32, seed: int = 0, **looks: Any) -> np.ndarray:
    """Return the image of one state with looks; with none it is that of a plain arena."""
    vary = {'noise': (0.0, 1e-9), **looks}
    with closing(furnished(engine, size, seed, **vary)) as arena:
        arena.reset(1)
        return arena.set_state(np.array([0.5, 0.3])).pixels.astype(int)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with a green photograph."""
    green = np.zeros((40, 60, 3), np.uint8)
    green[..., 1] = 150
    cv2.imwrite(str(tmp_path / 'lawn.png'), green)
    return tmp_path


def test_a_plain_arena_is_as_before_after_a_furnished_episode(engine: str) -> None:
    with closing(make_arena('two_room', 24, engine)) as plain:
        frames, actions = drive(plain, 3)
    with closing(furnished(engine, 24, room=True)) as arena:
        arena.reset(1)
        arena.ranges = ranges_of(Randomise())
        again = [arena.reset(3), *(arena.step(action) for action in actions)]
    assert all(map(equal, frames, again))


def test_looks_of_a_room_leave_all_motion_as_it_was(engine: str) -> None:
    name = 'push_t'
    with closing(make_arena(name, 16, engine)) as plain:
        frames, actions = drive(plain, 3)
    with closing(furnished(engine, 16, name=name, room=True)) as arena:
        again = [arena.reset(3), *(arena.step(action) for action in actions)]
    assert all(np.array_equal(a.state, b.state) for a, b in zip(frames, again, strict=True))


def test_the_expert_reaches_its_goals_in_a_room() -> None:
    with closing(furnished(size=16, name='two_room_differential', room=True)) as arena:
        for seed in range(8):
            arena.reset(seed)
            assert any(arena.step(arena.expert()) and arena.success() for _ in range(200))


def test_one_room_is_shared_by_all_episodes_and_others_differ() -> None:
    looks: Looks = {'room': True, 'once': True, 'noise': (0.0, 1e-9)}
    with closing(furnished(**looks)) as arena:
        images = [arena.reset(n) and arena.set_state(np.zeros(2)).pixels for n in range(3)]
    assert all(np.array_equal(images[0], other) for other in images[1:])
    with closing(furnished(seed=1, **looks)) as arena:
        arena.reset(0)
        other = arena.set_state(np.zeros(2)).pixels
    assert np.abs(images[0].astype(int) - other).mean() > 15


def test_what_was_saved_goes_on_in_another_arena(engine: str) -> None:
    with closing(furnished(engine, 24, room=True)) as arena:
        frames, actions = drive(arena, 4)
        arena.reset(4)
        saved = pickle.dumps(arena.save())
    with closing(furnished(engine, 24, room=True)) as other:
        drive(other, 5)
        assert equal(frames[0], other.restore(pickle.loads(saved)))
        assert equal(frames[1], other.step(actions[0]))


def test_a_floor_shows_and_lies_the_same_way_in_both_engines() -> None:
    require_mujoco()
    light: Looks = {'light_tilt': (-25.9, -25.9)}  # almost from straight above: little shadow
    for seed in range(3):
        looks: Looks = {'once': True, 'seed': seed, 'size': 64, **light}
        mine, other = (
            cv2.GaussianBlur(seen(engine, floor=(1.0, 1.0), **looks).astype(np.float32), (5, 5), 0)
            for engine in ('pybullet', 'mujoco')
        )
        free = np.s_[6:58, 6:26]  # the left room, without its walls
        assert mine[free].std(axis=(0, 1)).max() > 3
        alike = np.corrcoef(mine[free].ravel(), other[free].ravel())[0, 1]
        turned = np.corrcoef(mine[free].ravel(), other[free][::-1, ::-1].ravel())[0, 1]
        assert alike > 0.8
        assert alike > turned


def test_the_contrast_of_a_floor_is_what_was_drawn() -> None:
    free = np.s_[4:28, 3:13]
    spread = [
        seen(once=True, floor=(level, level))[free].std(axis=(0, 1)).max() for level in (0.5, 1.0)
    ]
    assert spread[0] == pytest.approx(spread[1] / 2, rel=0.1)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_floor_has_a_pattern_that_a_small_image_shows(kind: str) -> None:
    for seed in range(4):
        floor = draw_kind(kind, np.random.default_rng(seed), 256)
        assert np.array_equal(floor, draw_kind(kind, np.random.default_rng(seed), 256))
        small = cv2.resize(floor, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
        assert small.std(axis=(0, 1)).max() > 3, 'grey levels'
        # Edges and patches, rather than independent noise: neighbours are alike.
        flat = small.mean(axis=2) - small.mean()
        beside = [(flat[1:] * flat[:-1]).mean(), (flat[:, 1:] * flat[:, :-1]).mean()]
        assert max(beside) > 0.2 * flat.var()


def test_the_number_of_textures_is_limited() -> None:
    with closing(furnished(size=16, floor=(1.0, 1.0))) as arena:
        for seed in range(80):
            arena.randomise(seed)
        assert arena.world.add_texture(np.zeros((4, 4), np.uint8)) <= FLOORS


def test_photographs_are_floors(photos: Path) -> None:
    floor = seen(photos=str(photos))[4:28, 3:13].mean(axis=(0, 1))
    assert floor[1] > 100
    assert floor[[0, 2]].max() < 10


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (None, 'no such folder; expected a folder of images'),
        ({}, 'is empty; expected images of floors'),
        ({'a.png': b'none'}, r'1 file cannot be read as an image \(a\.png\)'),
        ({'a.png': b'\x89PNG\r\n\x1a\n'}, r'1 file cannot be read as an image \(a\.png\)'),
    ],
)
def test_photographs_that_cannot_be_used_are_refused(
    tmp_path: Path, files: dict[str, bytes] | None, message: str
) -> None:
    folder = tmp_path / 'floors'
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    with pytest.raises(ArenaError, match=f'randomise.photos: .*floors: {message}'):
        seen(photos=str(folder))


def test_a_verb_that_finds_no_photographs_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['--episodes', '1', '--out', str(tmp_path / 'bags'), 'randomise.photos=nowhere']
    assert smwm(['collect', 'two_room', *words]) == 2
    assert 'randomise.photos: nowhere: no such folder' in capsys.readouterr().err


def test_a_vignette_darkens_the_corners_by_the_share_that_was_drawn(engine: str) -> None:
    plain, dark = seen(engine, 64), seen(engine, 64, vignette=(0.4, 0.4))
    for corner in (np.s_[:2, :2], np.s_[-2:, -2:], np.s_[:2, -2:]):
        assert dark[corner].mean() == pytest.approx(0.61 * plain[corner].mean(), rel=0.05)
    middle = np.s_[24:40, 8:28]
    assert dark[middle].mean() > 0.9 * plain[middle].mean()


def test_uneven_light_is_smooth_and_stays_during_an_episode() -> None:
    plain, uneven = seen(size=64), seen(size=64, uneven=(0.3, 0.3))
    ratio = uneven / np.maximum(plain, 1)
    assert np.ptp(ratio[plain.min(axis=2) > 60]) > 0.1
    floor = ratio[6:58, 6:26].mean(axis=2)  # within a room
    assert np.abs(np.diff(floor, axis=0)).max() < 0.03
    with closing(furnished(uneven=(0.3, 0.3))) as arena:
        arena.reset(0)
        first = arena.idle().pixels
        assert all(np.array_equal(first, arena.idle().pixels) for _ in range(3))


def test_things_lie_outside_the_walls(engine: str) -> None:
    size, wide = 64, 1.4
    looks: Looks = {'fov': (wide, wide), 'light_tilt': (-25.9, -25.9), 'size': size}
    plain, full = seen(engine, **looks), seen(engine, clutter=(12, 12), **looks)
    changed = np.argwhere((np.abs(plain - full) > 8).any(axis=2)) + 0.5
    assert len(changed) > 40
    half = 3.6 * np.tan(np.radians(17 * wide))
    away = np.abs(changed / size * 2 - 1).max(axis=1) * half  # of the middle, at the floor [m]
    assert away.min() > HALF + WALL


@pytest.mark.parametrize('tilt', [(20.0, 0.0), (0.0, -20.0)])
def test_a_camera_tilted_by_20_degrees_shows_the_robot_in_every_corner(
    engine: str, tilt: tuple[float, float]
) -> None:
    with closing(make_arena('two_room', 64, engine)) as scene:
        neutral = draw(ranges_of(Randomise()), (0, 0), 1)
        camera = moved_camera(CAMERA, {**neutral, 'camera_tilt': tilt, 'fov': 1.25})
        scene.world.set_camera(camera)
        for x, y in ((0.9, 0.9), (-0.9, 0.9), (0.9, -0.9), (-0.9, -0.9)):
            red, green, _ = scene.set_state(np.array([x, y])).pixels.astype(int).transpose(2, 0, 1)
            assert (red > 2 * green + 20).sum() >= 8
    arm = np.subtract(camera.eye, camera.target)
    assert np.linalg.norm(arm) == pytest.approx(3.6)
    assert np.degrees(np.arccos(arm[2] / 3.6)) == pytest.approx(20.0)


def test_the_camera_of_a_room_shows_all_walls() -> None:
    edge = HALF + 2 * WALL
    walls = np.array([[x, y, z] for x in (-edge, edge) for y in (-edge, edge) for z in (0, 0.18)])
    for seed in range(300):
        camera = moved_camera(CAMERA, draw(ranges_of(Randomise(room=True)), (0, seed), 1))
        back = np.asarray(camera.eye) - camera.target
        back /= np.linalg.norm(back)
        right = np.cross(camera.up, back)
        right /= np.linalg.norm(right)
        at = (walls - camera.eye) @ np.stack([right, np.cross(back, right), back], axis=1)
        shown = np.abs(at[:, :2] / at[:, 2:]) / np.tan(np.radians(camera.fov / 2))
        assert shown.max() < 1, seed


def test_a_shadow_lies_where_the_light_does_not_reach() -> None:
    """Compare the sides of the robot; the light comes from the left and from above."""
    looks: Looks = {'light_tilt': (15.0, 15.0), 'light_turn': (128.66, 128.66), 'size': 96}
    plain, shaded = seen(**looks), seen(shadow=(1.0, 1.0), **looks)
    darker = plain.mean(axis=2) - shaded.mean(axis=2)
    row, column = int((1 - 0.3 / 1.1) * 48), int((1 + 0.5 / 1.1) * 48)
    assert darker[row, column + 6 : column + 9].min() > 15
    assert np.abs(darker[row - 3 : row + 4, column - 10 : column - 6]).max() < 2
    with closing(furnished(shadow=(0.5, 0.5), size=16)) as arena:
        assert isinstance(arena.world, World)
        arena.reset(0)
        assert arena.world.camera.shadow == 0.5


def test_a_range_that_is_given_counts_more_than_that_of_a_room() -> None:
    ranges = ranges_of(Randomise(room=True, usual=True, floor=(0.2, 0.3)))
    assert ranges['floor'] == ((0.2, 0.3),)
    assert ranges['vignette'] == (ROOM['vignette'],)
    assert ranges['gain'] == ((0.9, 1.1),), 'the usual one'
    assert ranges_of(Randomise(photos='somewhere'))['floor'] == ((1.0, 1.0),)
