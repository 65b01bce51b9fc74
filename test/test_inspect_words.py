# SPDX-License-Identifier: Apache-2.0
"""What inspect and convert say of a recording is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import BEGIN, image, made, STORE, TinyBag
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.data.describe import describe

Capture = pytest.CaptureFixture[str]


def said_of(path: Path, capsys: Capture) -> str:
    assert main(['inspect', str(path)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(('first', 'last'), [(0, 50), (50, 100)])
def test_the_silence_of_commands_counts_from_the_first_frame_to_the_last(
    tmp_path: Path, capsys: Capture, first: int, last: int
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(100):
        bag.frame(tick)
        if first <= tick < last:
            bag.command(tick)
    silent = 5.0 if first == 50 else 9.9 - 4.9
    assert f'/cmd_vel has gaps of up to {silent:g} s' in said_of(bag.close(), capsys)


def test_bursts_are_called_so(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(20):
        bag.frame(tick)
        for number in range(9):
            bag.command(tick + number * 4e-4)
    said = said_of(bag.close(), capsys)
    assert 'Hz (in bursts), longest gap' in said
    assert 'median 0 Hz' not in said


def test_a_field_that_never_changes_has_no_spread(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(40):
        bag.frame(tick)
        bag.command(tick, value=0.25)
    said = '\n'.join(describe(made(tmp_path, bag.close())))
    assert 'twist.linear.x: 0.25 always, limits' in said


def test_two_cameras_of_other_clocks_are_said_to_be_apart(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(40):
        for topic, ahead in (('/left', -1e9), ('/right', -1e9 + 43)):
            shown = image(np.full((16, 20, 3), tick))
            bag.send(topic, shown, tick + 10 * ahead, late=-10 * ahead)
        bag.command(tick)
    said = said_of(bag.close(), capsys)
    assert 'header stamps -1000000000 s from receive times' in said
    assert 'header stamps -999999957 s from receive times' in said
    assert '# header stamps of /right are +43 s from those of /left' in said


def test_two_robots_in_a_bag_are_not_one_with_two_cameras(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'bag')
    twist: Any = new_message(STORE, 'geometry_msgs/msg/Twist')
    for tick in range(40):
        for name in ('red', 'blue'):
            bag.send(f'/{name}/camera/image', image(np.full((16, 20, 3), tick)), tick)
            twist.linear.x = float(tick)
            for part in range(2 if name == 'red' else 1):
                bag.send(f'/{name}/cmd_vel', twist, tick + part / 2)
    assert main(['inspect', '--json', str(bag.close())]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['robot']['camera']['topic'] == '/blue/camera/image'
    assert found['robot']['command']['topic'] == '/blue/cmd_vel'
    remarks = '\n'.join(found['remarks'])
    assert '2 robots are in the bag: /blue, /red; this configuration is for /blue' in remarks
    assert 'further cameras' not in remarks


def test_commands_whose_stamps_do_not_rise_are_counted(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(40):
        bag.frame(tick)
        old = {10: 1.0, 20: 2.0, 30: 2.0}.get(tick, 0.0)
        bag.command(tick - old, late=old)
    said = '\n'.join(describe(made(tmp_path, bag.close())))
    assert 'messages of /cmd_vel out of order: 2' in said
    assert 'messages of /cmd_vel with a repeated stamp: 1' in said


def test_what_was_used_of_a_cut_file_reaches_as_far_as_what_was_read(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(200):
        bag.frame(tick, 4 * tick % 256)
        bag.command(tick)
    path = next(bag.close().glob('*.mcap'))
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    data = made(tmp_path, cut)
    assert 100 < len(data) < 200
    (note,) = data.metas['cut']['notes']
    assert 'from 100.0% of its' in note, 'a chunk that is cut was used up to the cut'
    assert data.stamps[0] == BEGIN
