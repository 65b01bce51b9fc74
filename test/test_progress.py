# SPDX-License-Identifier: Apache-2.0
"""Progress is a bar on a terminal, and whole lines now and then in a log."""

from __future__ import annotations

import io
import logging
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import pytest
from recordings import MakeBag
from smwm_ros import progress
from smwm_ros.progress import EVERY, Lines, show_log, show_progress
from smwm_ros.reporting import NoProgress

Capture = pytest.CaptureFixture[str]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time [s]."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, 'monotonic', made)
    return made


def test_a_log_gets_a_line_every_few_seconds_and_a_last_one(clock: Clock, capsys: Capture) -> None:
    for _ in show_progress(range(1000), desc='train', unit='step'):
        clock.now += 0.01
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        'train: 500/1000, 100 step/s, 0:00:05 left',
        'train: 1000/1000 in 0:00:10, 100 step/s',
    ]


@pytest.mark.parametrize('step', [0.001, 0.3, 20.0])
def test_no_line_comes_earlier_than_the_log_wants_it(
    clock: Clock, capsys: Capture, step: float
) -> None:
    with show_progress(total=200, desc='converting', unit=' messages') as bar:
        for _ in range(200):
            clock.now += step
            bar.update()
    said = capsys.readouterr().err
    assert '\r' not in said
    assert said.endswith('\n')
    assert len(said.splitlines()) <= min(200 * step / EVERY, 200) + 1


def test_a_line_says_what_a_bar_would(clock: Clock, capsys: Capture) -> None:
    with show_progress(total=40, initial=10, desc='train', unit='step') as bar:
        bar.set_postfix_str('R2 0.31', refresh=False)
        clock.now += 20
        bar.update(10)
        bar.write('warning: step 20: hm', file=sys.stderr)
        bar.total += 60
    assert capsys.readouterr().err.splitlines() == [
        'train: 20/40, 2 s/step, 0:00:40 left, R2 0.31',
        'warning: step 20: hm',
        'train: 20/100 in 0:00:20, 2 s/step, R2 0.31',
    ]


def test_units_are_counted_and_what_has_no_end_has_no_total(clock: Clock, capsys: Capture) -> None:
    for _ in show_progress([1, 2], desc='encoding', unit=' frames', unit_scale=256):
        clock.now += 1 / 64
    with show_progress(desc='replay', unit='leg') as bar:
        bar.update(3)
    assert capsys.readouterr().err.splitlines() == [
        'encoding: 512/512 in 0:00:00, 16384 frames/s',
        'replay: 3 in 0:00:00',
    ]


@pytest.mark.parametrize('how', ['by the caller', 'by the environment'])
def test_progress_can_be_silenced(
    how: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == 'by the environment':
        monkeypatch.setenv('TQDM_DISABLE', '1')
    words = {'disable': how == 'by the caller'}
    assert list(show_progress('abc', desc='train', unit='step', **words)) == ['a', 'b', 'c']
    assert capsys.readouterr().err == ''


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, 'isatty', lambda: True)
    monkeypatch.setattr(sys, 'stderr', terminal)
    bar = show_progress('abc', desc='train', unit='step')
    assert not isinstance(bar, Lines)
    assert list(bar) == ['a', 'b', 'c']
    assert '\rtrain: 100%|' in terminal.getvalue()


def test_what_the_package_logs_is_printed_from_info_on(capsys: Capture) -> None:
    log = logging.getLogger('smwm_ros.model.anything')
    with show_log():
        log.debug('tried three forms')
        log.info('2 threads')
        log.warning('%s never changes\x1b[2J', 'twist.angular.z')
    log.info('later')
    said = capsys.readouterr()
    assert said.err.splitlines() == ['2 threads', r'warning: twist.angular.z never changes\x1b[2J']
    assert said.out == ''


def test_the_log_is_printed_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, 'isatty', lambda: True)
    monkeypatch.setattr(sys, 'stderr', terminal)
    with show_log(), show_progress(total=2, desc='train', unit='step') as bar:
        bar.update()
        logging.getLogger('smwm_ros').warning('step 1: hm\x1b[2J')
    assert '\rwarning: step 1: hm\\x1b[2J\n' in terminal.getvalue()


@pytest.mark.parametrize('words', [{}, {'total': 3}])
def test_without_a_bar_the_items_are_the_same_and_nothing_is_shown(
    words: dict[str, Any], capsys: Capture
) -> None:
    assert list(NoProgress('abc', desc='train', unit='step', **words)) == ['a', 'b', 'c']
    with NoProgress(desc='train', unit='step', **words) as bar:
        bar.total += 1
        bar.update(2)
        bar.set_postfix_str('R2 0.31', refresh=False)
    assert bar.total == words.get('total', 0) + 1
    assert capsys.readouterr() == ('', '')


def test_the_log_of_a_command_holds_whole_lines_from_all_its_processes(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    bags = [str(tiny_bag(name, offset=30 * n)) for n, name in enumerate('abc')]
    words = ['convert', *bags, '--out', str(tmp_path / 'out'), '--jobs', '2']
    done = subprocess.run(
        [sys.executable, '-m', 'smwm_ros.cli', *words, 'dataset.image_size=16'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '\r' not in done.stderr
    *lines, last = done.stderr.splitlines()
    assert all(re.match(r'converting: \d+', line) for line in lines)
    assert re.fullmatch(r'converting: 180/180 in \d:\d\d:\d\d, .* messages/s, \d+ MB/s', last)


def test_without_tqdm_there_are_lines_in_place_of_a_bar() -> None:
    code = """
import sys
sys.modules['tqdm'] = None
sys.stderr.isatty = lambda: True
from smwm_ros.progress import show_progress
assert list(show_progress(range(3), desc='count', unit='step')) == [0, 1, 2]
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'count: 3/3' in done.stderr
