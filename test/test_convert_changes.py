# SPDX-License-Identifier: Apache-2.0
"""What changes in the middle of a recording cuts it, and is said."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

import numpy as np
import pytest
from recordings import image, made, shown, TinyBag
from rosbags.rosbag2 import StoragePlugin
from smwm_ros.cli import main
from smwm_ros.data.describe import describe

Capture = pytest.CaptureFixture[str]
BACK = 18.0  # ticks by which the clock steps back


def stepping(path: Path, storage: Any = StoragePlugin.MCAP, parts: Any = ((0, 80),)) -> Path:
    """Write a bag of 8 s whose clock steps back after 4 s, frames and commands alike."""
    for number, (begin, end) in enumerate(parts):
        bag = TinyBag(path if len(parts) == 1 else path / f'{number}', storage)
        for tick in range(begin, end):
            at = tick if tick < 40 else tick - BACK
            bag.frame(at, value=tick)
            bag.command(at + 0.5, value=float(tick))
        bag.close()
    return path


def require_two_drives(tmp_path: Path, bag: Path) -> str:
    """Convert a stepping bag; both halves must be as they were. Return what is said."""
    data = made(tmp_path, bag)
    assert [(drive.start, drive.stop) for drive in data.drives] == [(0, 40), (40, 80)]
    assert shown(data).tolist() == list(range(80))
    assert data.actions(np.arange(80))[:, 0].tolist() == list(range(80))
    said = '\n'.join(describe(data))
    assert 'steps back of the clock: 1' in said
    return said


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_clock_that_steps_back_cuts_the_recording(
    tmp_path: Path, storage: Any, capsys: Capture
) -> None:
    bag = stepping(tmp_path / 'bag', storage)
    said = require_two_drives(tmp_path, bag)
    assert 'the clock stepped back by 1.7 s during recording' in said
    assert main(['inspect', str(bag)]) == 0
    assert 'the clock stepped back by 1.7 s' in capsys.readouterr().out


def test_a_clock_that_steps_back_from_one_file_to_the_next_cuts_the_recording(
    tmp_path: Path,
) -> None:
    stepping(tmp_path / 'parts', parts=((0, 40), (40, 80)))
    (tmp_path / 'bags').mkdir()
    for number in (0, 1):
        source = next((tmp_path / 'parts' / f'{number}').glob('*.mcap'))
        shutil.copy(source, tmp_path / 'bags' / f'bag_{number}.mcap')
    said = require_two_drives(tmp_path, tmp_path / 'bags')
    assert 'the clock stepped back from one file to the next' in said


def test_a_single_odd_stamp_is_no_step_of_the_clock(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(60):
        bag.frame(tick)
        bag.command(tick + 0.5 if tick != 40 else 3.5, value=float(tick))
    data = made(tmp_path, bag.close())
    assert len(data.drives) == 1
    assert 'stepped back' not in '\n'.join(describe(data))


def test_topics_that_were_written_one_after_the_other_are_no_step_of_the_clock(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(60):
        bag.frame(tick, 4 * tick)
    for tick in range(60):
        bag.command(tick + 0.5, value=float(tick))
    data = made(tmp_path, bag.close())
    assert data.actions(np.arange(60))[:, 0].tolist() == list(range(60))
    assert not data.metas['bag']['notes']


@pytest.mark.parametrize('changing', ['/camera/image_raw', '/rear'])
def test_a_camera_whose_images_change_their_size_cuts_the_recording(
    tmp_path: Path, capsys: Capture, changing: str
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(60):
        for topic in ('/camera/image_raw', '/rear'):
            height = 32 if topic == changing and tick >= 30 else 16
            bag.send(topic, image(np.full((height, 20, 3), tick)), tick)
        bag.command(tick + 0.5)
    path = bag.close()
    data = made(tmp_path, path, 'robot.camera.others=/rear')
    assert [(drive.start, drive.stop) for drive in data.drives] == [(0, 30), (30, 60)]
    said = '\n'.join(describe(data))
    assert f'{changing}: the image size changed: 20x16, then 20x32; a new' in said
    assert main(['inspect', str(path)]) == 0
    assert '20x16 (later 20x32: a new episode begins) rgb8' in capsys.readouterr().out
