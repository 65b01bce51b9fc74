# SPDX-License-Identifier: Apache-2.0
"""Tests for what happens to a collection when processes die, and when the disk is full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
from recordings import contents
from smwm_ros.cli import main

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='finds the workers in /proc')
SMALL = ['arena.length=40', 'arena.image_size=16']
WORDS = ['arena.episodes=81', *SMALL]  # five bags, the last of one episode


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what an undisturbed collection writes."""
    out = tmp_path_factory.mktemp('whole') / 'bags'
    assert main(['collect', f'--out={out}', '--jobs=1', *WORDS]) == 0
    return contents(out)


def start(
    out: Path, *words: str, environment: Mapping[str, str] | None = None, largest: int = 0
) -> subprocess.Popen[str]:
    """Start a collection by two workers, as in a terminal; files may have a limit [bytes]."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a shell runs behind itself
        if largest:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return subprocess.Popen(
        [sys.executable, '-m', 'smwm_ros.cli', 'collect', f'--out={out}', '--jobs=2', *words],
        stderr=subprocess.PIPE,
        text=True,
        # Python does not notice that a .pyc it writes is cut, and every later import would fail.
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1', **(environment or {})},
        preexec_fn=prepare,
    )


def until_both_write(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until both workers are at a bag."""
    deadline = time.monotonic() + 60
    while len(list(out.glob('.recording-*/two_room_*/*'))) < 2:
        assert process.poll() is None, process.stderr.read() if process.stderr else ''
        assert time.monotonic() < deadline, 'the workers did not begin to write'
        time.sleep(0.01)


def hold(children: Sequence[int]) -> None:
    """Stop processes for a while; a signal that comes before they stand would be served first."""
    for child in children:
        os.kill(child, signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while not all(status(child, 'State')[0] == 'T' for child in children):
        assert time.monotonic() < deadline, 'a worker does not stand'
        time.sleep(0.01)


def until_one_is_reported_to_end(children: Sequence[int]) -> None:
    """Wait until SIGTERM is pending for one of some processes that are held."""
    deadline = time.monotonic() + 60
    while not any(pending(child) >> (signal.SIGTERM - 1) & 1 for child in children):
        assert time.monotonic() < deadline, 'the parent did not end its workers'
        time.sleep(0.01)


def pending(process: int) -> int:
    """Return the set of signals that wait for a process, as Linux writes it."""
    return int(status(process, 'ShdPnd'), 16)


def status(process: int, name: str) -> str:
    """Return what Linux tells of a process."""
    reported = Path(f'/proc/{process}/status').read_text()
    return re.search(rf'^{name}:\s*(.+)$', reported, re.MULTILINE)[1]  # type: ignore[index]


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the children that record."""
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    return [
        int(child)
        for child in children
        if b'spawn_main' in Path(f'/proc/{child}/cmdline').read_bytes()
    ]


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait until a collection ends; return its exit code and what it said."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def test_a_killed_worker_is_named_and_its_bag_is_made_by_another(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / 'bags'
    process = start(out, *WORDS)
    until_both_write(process, out)
    os.kill(workers(process)[0], signal.SIGKILL)
    code, errors = end(process)
    assert code == 0, errors
    named = r'two_room_000\d \(episodes \d+ to \d+\)'
    assert re.search(rf'{named}.* process .*was killed by SIGKILL \(out of memory\?\)', errors)
    assert 'Traceback' not in errors
    assert contents(out) == whole


@pytest.fixture
def saboteur(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the arena fails as SABOTAGE says, once or always."""
    (tmp_path / 'lib').mkdir()
    (tmp_path / 'lib' / 'sitecustomize.py').write_text("""
import os, sys
from smwm_ros.arenas import two_room
step, count = two_room.TwoRoom.step, 0
def failing(self, action):
    global count
    count += 1
    if count == 50:
        try:
            os.close(os.open(os.environ['MARK'], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            if os.environ['OFTEN'] == 'once':
                return step(self, action)
        exec(os.environ['SABOTAGE'])
    return step(self, action)
two_room.TwoRoom.step = failing
""")
    return {'PYTHONPATH': str(tmp_path / 'lib'), 'MARK': str(tmp_path / 'mark')}


@pytest.mark.parametrize(
    ('sabotage', 'reported'),
    [
        ('raise MemoryError', 'ran out of memory (MemoryError)'),
        ('os._exit(7)', 'ended with exit code 7'),
    ],
)
def test_a_worker_that_fails_once_costs_nothing(
    tmp_path: Path, whole: dict[str, bytes], saboteur: dict[str, str], sabotage: str, reported: str
) -> None:
    environment = {**saboteur, 'SABOTAGE': sabotage, 'OFTEN': 'once'}
    code, errors = end(start(tmp_path / 'bags', *WORDS, environment=environment))
    assert code == 0, errors
    assert errors.count(f'{reported}; another process starts it again') == 1
    assert contents(tmp_path / 'bags') == whole


@pytest.mark.parametrize(
    ('sabotage', 'code', 'reported'),
    [
        (
            'raise MemoryError',
            2,
            'ran out of memory (MemoryError), 3 times; run it again to resume',
        ),
        ('raise ValueError(3)', 1, 'failed (ValueError: 3), 3 times'),
    ],
)
def test_workers_that_always_fail_end_it(
    tmp_path: Path, saboteur: dict[str, str], sabotage: str, code: int, reported: str
) -> None:
    environment = {**saboteur, 'SABOTAGE': sabotage, 'OFTEN': 'always'}
    found, errors = end(start(tmp_path / 'bags', *WORDS, environment=environment))
    assert found == code, errors
    assert reported in errors
    assert ('line' in errors and 'Traceback' in errors) == (code == 1)
    assert set(contents(tmp_path / 'bags')) == {'collect.json'}


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk_is_one_clear_line_and_leaves_no_half_bag(
    tmp_path: Path, storage: str
) -> None:
    out = tmp_path / 'bags'
    process = start(out, *WORDS, f'--storage={storage}', largest=50_000)
    code, errors = end(process)
    assert code == 2, errors
    assert 'two_room_000' in errors
    assert 'cannot be written: ' in errors
    assert 'Traceback' not in errors
    assert set(contents(out)) == {'collect.json'}


def test_an_interrupted_run_says_so_and_goes_on_from_whole_bags(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / 'bags'
    process = start(out, *WORDS)
    until_both_write(process, out)
    processes = workers(process)
    hold(processes)  # so that they cannot be done before the parent reacts
    process.send_signal(signal.SIGINT)
    until_one_is_reported_to_end(processes)
    for child in processes:
        os.kill(child, signal.SIGCONT)
    code, errors = end(process)
    assert code == 130
    assert 'interrupted; run it again to resume' in errors
    assert 'Traceback' not in errors
    assert not list(out.glob('.recording-*'))
    assert main(['collect', f'--out={out}', '--jobs=1', *WORDS]) == 0
    assert contents(out) == whole


def test_workers_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    out = tmp_path / 'bags'
    process = start(out, 'arena.episodes=4000', *SMALL)
    until_both_write(process, out)
    processes = workers(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f'/proc/{child}').exists() for child in processes):
        assert time.monotonic() < deadline, 'they go on for nobody'
        time.sleep(0.05)
    assert not list(out.glob('.recording-*'))
