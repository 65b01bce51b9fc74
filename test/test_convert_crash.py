# SPDX-License-Identifier: Apache-2.0
"""Tests for what happens to a conversion when its processes die."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import sys

from killed import gone, processes_of, shared, start, until_both_work
import pytest
from recordings import contents, MakeBag

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='finds the workers in /proc')


@pytest.fixture
def bags(tiny_bag: MakeBag) -> None:
    for number in range(4):
        tiny_bag(f'bag{number}', range(300), offset=number)


@pytest.mark.usefixtures('bags')
def test_a_killed_worker_is_named_and_its_bag_is_converted_by_another(tmp_path: Path) -> None:
    process = start(tmp_path / 'bags', tmp_path / 'one')
    os.kill(until_both_work(process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert 'was killed by SIGKILL (out of memory?); another process starts it again' in errors
    assert 'Traceback' not in errors
    assert start(tmp_path / 'bags', tmp_path / 'two').wait(120) == 0
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


@pytest.mark.usefixtures('bags')
@pytest.mark.parametrize('how', ['SIGTERM', 'SIGHUP', 'SIGKILL'])
def test_workers_end_with_their_parent_however_it_dies(tmp_path: Path, how: str) -> None:
    before, process = shared(), start(tmp_path / 'bags', tmp_path / 'out')
    until_both_work(process)
    assert len(processes_of(tmp_path / 'out')) >= 3
    process.send_signal(signal.Signals[how])
    process.wait(60)
    assert gone(tmp_path / 'out'), 'they go on for nobody'
    assert not shared() - before
