# SPDX-License-Identifier: Apache-2.0
"""Clocks, their jumps, and jitter, each with a known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import made, shown, STORE, TICK, TinyBag
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.data.describe import describe
from smwm_ros.errors import BagError


@pytest.mark.parametrize('seed', range(3))
def test_a_camera_that_jitters_around_the_ticks_shows_each_frame_once(
    tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bag = TinyBag(tmp_path / 'jitter')
    for tick in range(200):
        bag.frame(tick + rng.uniform(-0.12, 0.12), value=tick)
        bag.command(tick + 0.5, value=tick)
    data = made(tmp_path, bag.close())
    assert (np.diff(shown(data)) == 1).all()
    assert len(data) >= 199
    assert (np.diff(data.stamps) == TICK).all()
    counts = data.metas['jitter']['counts']
    assert counts['frames shown again'] == 0
    # Ticks come soon after the frames: the command half a period after a frame is still its own.
    assert (data.actions(np.arange(len(data)))[:, 0] == shown(data)).all()


def test_a_camera_that_is_slower_than_the_ticks_repeats_frames_and_says_so(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'slow')
    for number in range(100):
        bag.frame(number * 1.25, value=number)
    for tick in range(125):
        bag.command(tick)
    data = made(tmp_path, bag.close())
    repeats = int((np.diff(shown(data)) == 0).sum())
    assert repeats == len(data) - 100
    assert data.metas['slow']['counts']['frames shown again'] == repeats
    assert f'  frames shown again: {repeats}' in describe(data)


def twist_bag(path: Path, ahead: float) -> Path:
    """Write frames with headers, received late, and commands that have only a time of receipt."""
    bag = TinyBag(path)
    for tick in range(40):
        bag.frame(tick + ahead, value=tick, late=0.3 - ahead)  # a latency of 30 ms
        msg = new_message(STORE, 'geometry_msgs/msg/Twist')
        msg.linear.x = float(tick)
        bag.send('/cmd_vel', msg, tick + 0.2)  # before the frame is received
    return bag.close()


TWIST = (
    'robot.command.type=geometry_msgs/msg/Twist',
    'robot.command.fields=[linear.x]',
    'robot.command.low=[-1]',
    'robot.command.high=[1]',
)


def test_clocks_are_mixed_only_where_the_user_says_so_and_it_is_reported(tmp_path: Path) -> None:
    path = twist_bag(tmp_path / 'twist', ahead=0.0)
    data = made(tmp_path, path, *TWIST)  # auto: receive for all, so commands seem to come early
    assert data.metas['twist']['time']['base'] == 'receive'
    assert (data.actions(np.arange(30))[:, 0] == shown(data)[:30] + 1).all()
    words = ('dataset.camera_time=header', 'dataset.command_time=receive')
    data = made(tmp_path, path, *TWIST, *words, out='mixed')
    assert (data.actions(np.arange(30))[:, 0] == shown(data)[:30]).all()
    time = data.metas['twist']['time']
    assert time['base'] == 'mixed'
    assert time['topics'] == {'/camera/image_raw': 'header', '/cmd_vel': 'receive'}
    assert '/camera/image_raw by header, /cmd_vel by receive' in time['why']
    assert '-0.03 s from receive time' in time['why']
    assert any('mixed time' in line for line in describe(data))


def test_auto_never_mixes_clocks_by_itself(tmp_path: Path) -> None:
    path = twist_bag(tmp_path / 'twist', ahead=0.0)
    with pytest.raises(BagError, match='by header as configured, but messages of /cmd_vel have'):
        made(tmp_path, path, *TWIST, 'dataset.camera_time=header')
    data = made(tmp_path, path, *TWIST, 'dataset.camera_time=receive', out='same')
    assert set(data.metas['twist']['time']['topics'].values()) == {'receive'}


def test_clocks_that_are_far_apart_cannot_be_mixed(tmp_path: Path) -> None:
    path = twist_bag(tmp_path / 'twist', ahead=-1000.0)
    words = ('dataset.camera_time=header', 'dataset.command_time=receive')
    with pytest.raises(BagError, match=r'up to 100 s from receive time, expected at most 0.5 s'):
        made(tmp_path, path, *TWIST, *words)


def test_commands_whose_clock_jumps_before_that_of_the_camera_are_not_lost(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'loop')
    for tick in range(80):
        bag.command(tick if tick < 40 else tick - 500, value=tick, late=0 if tick < 40 else 500)
        late = 0.5 if tick < 40 else 500.5
        bag.frame(tick if tick < 40 else tick - 500, value=tick, late=late)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(80))
    assert data.actions(np.arange(80))[:, 0].tolist() == list(range(80))


def test_a_simulation_that_begins_again_does_not_mix_its_runs(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'again')
    for tick in range(80):
        back = 40 if tick >= 40 else 0
        bag.command(tick - back, value=tick, late=back)
        bag.frame(tick - back, value=tick, late=back + 0.2)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(80))
    assert data.actions(np.arange(80))[:, 0].tolist() == list(range(80))


@pytest.mark.parametrize('stalled', [1, 2])
def test_a_network_that_stalls_does_not_cost_sound_headers_their_trust(
    tmp_path: Path, stalled: int
) -> None:
    bag, heard = TinyBag(tmp_path / 'stalls'), []
    for tick in range(300):
        # Of every 5 s, what is sent in the last one or two comes at once when they are over.
        late = 0.2 if tick % 50 < 50 - 10 * stalled else 50.2 - tick % 50
        heard += [(tick + late, tick, True), (tick + 0.3, tick, False)]
    for when, tick, is_frame in sorted(heard):
        (bag.frame if is_frame else bag.command)(tick, tick % 256, late=when - tick)
    data = made(tmp_path, bag.close())
    assert data.metas['stalls']['time']['base'] == 'header'
    assert (data.actions(np.arange(len(data)))[:, 0] == shown(data)).all()
    assert [(e.start, e.stop) for e in data.drives] == [(0, 300)]


def test_one_odd_stamp_costs_one_command(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'odd')
    for tick in range(80):
        bag.frame(tick)
        bag.command(tick - (1000 if tick == 33 else 0), value=tick, late=1000 * (tick == 33))
    data = made(tmp_path, bag.close(), 'dataset.time=header')
    assert shown(data).tolist() == list(range(80))
    expected = [32 if tick == 33 else tick for tick in range(80)]
    assert data.actions(np.arange(80))[:, 0].tolist() == expected
