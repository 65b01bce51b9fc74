# SPDX-License-Identifier: Apache-2.0
"""Training takes the processors that are idle, and says why."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path

import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.processors import allowed_processors, idle_processors
from smwm_ros.training import threads as module
from smwm_ros.training.threads import Threads, threads
from smwm_ros.training.train import train
import torch
from worlds import dot_dataset


@pytest.fixture(autouse=True)
def _four_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2, 5})
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock, and processors that are as idle as a test sets them."""

    def __init__(self, idle: float | None) -> None:
        self.now, self.idle, self.reported = 0.0, idle, list[str]()

    def threads(self, wanted: int = 0) -> Threads:
        return Threads(wanted, self.reported.append, lambda: self.now, lambda: self.idle)

    def steps(self, chosen: Threads, count: int, seconds: float | dict[int, float]) -> None:
        for _ in range(count):
            number = torch.get_num_threads()
            self.now += seconds[number] if isinstance(seconds, dict) else seconds
            chosen.step()


@pytest.mark.parametrize(('idle', 'found'), [(4.0, '4.0'), (3.8, '3.8'), (None, '?')])
def test_all_processors_are_taken_where_they_are_idle(idle: float | None, found: str) -> None:
    machine = Machine(idle)
    machine.steps(machine.threads(), 100, 0.1)
    assert torch.get_num_threads() == 4
    assert machine.reported == [f'4 threads: {found} of 4 processors idle (train.threads is 0)']


@pytest.mark.parametrize(('idle', 'fewer'), [(3.5, 3), (1.9, 2), (0.9, 1), (0.0, 1)])
@pytest.mark.parametrize('together', [0.2, 0.4])
def test_beside_others_the_faster_of_two_numbers_is_kept(
    idle: float, fewer: int, together: float
) -> None:
    machine = Machine(idle)
    chosen = machine.threads()
    begin = f'{idle:.1f} of 4 processors idle (train.threads is 0)'
    assert machine.reported == [f'{begin}: trying {fewer} and 4 threads']
    machine.steps(chosen, 100, {fewer: 0.3, 4: together})
    word = 'thread' if fewer == 1 else 'threads'
    if together == 0.2:
        assert chosen.number == torch.get_num_threads() == 4
        assert machine.reported[1:] == [f'4 threads: a step takes 0.2 s, and 0.3 s with {fewer}']
    else:
        assert chosen.number == torch.get_num_threads() == fewer
        assert machine.reported[1:] == [f'{fewer} {word}: a step takes 0.3 s, and 0.4 s with 4']


def test_threads_that_wait_for_each_other_are_not_tried_for_long() -> None:
    machine = Machine(0.0)
    chosen = machine.threads()
    machine.steps(chosen, 4, {1: 0.5, 4: 15.0})
    assert chosen.number == 1
    assert machine.reported[1:] == ['1 thread: a step takes 0.5 s, and 15 s with 4']


def test_a_number_that_was_asked_for_stays() -> None:
    machine = Machine(0.0)
    chosen = machine.threads(wanted=3)
    machine.steps(chosen, 20, 0.1)
    machine.steps(chosen, 200, 9.0)
    assert torch.get_num_threads() == 3
    assert not machine.reported


def test_a_process_that_was_given_one_thread_keeps_it_silently() -> None:
    torch.set_num_threads(1)
    machine = Machine(4.0)
    machine.steps(machine.threads(), 200, 9.0)
    assert torch.get_num_threads() == 1
    assert not machine.reported


def test_steps_that_become_far_slower_have_the_processors_looked_at_again() -> None:
    machine = Machine(4.0)
    chosen = machine.threads()
    machine.steps(chosen, 100, 0.2)
    machine.idle = 1.1
    machine.steps(chosen, 1, 30.0)  # a single one, in which a checkpoint was written
    machine.steps(chosen, 10, 0.4)  # twice as long is nothing
    assert len(machine.reported) == 1
    machine.steps(chosen, 20, {1: 0.5, 4: 1.0})
    assert chosen.number == torch.get_num_threads() == 1
    assert machine.reported[1:] == [
        '1.1 of 4 processors idle (steps take 1 s instead of 0.2 s): trying 1 and 4 threads',
        '1 thread: a step takes 0.5 s, and 1 s with 4',
    ]


def test_threads_come_back_when_others_are_gone() -> None:
    machine = Machine(0.0)
    chosen = machine.threads()
    machine.steps(chosen, 300, {1: 0.5, 4: 1.0})  # two minutes
    assert chosen.number == 1
    assert len(machine.reported) == 2, 'nothing new was found'
    machine.idle = 3.9
    machine.steps(chosen, 150, {1: 0.5, 4: 0.2})
    assert chosen.number == 4
    assert machine.reported[2:] == ['4 threads: 3.9 of 4 processors idle (checked again)']


def stat(path: Path, *rows: tuple[int, int]) -> None:
    """Write /proc/stat: busy and idle ticks of each processor."""
    lines = ['cpu 1 2 3 4 5 6 7 8 9 10']
    lines += [f'cpu{n} {busy} 0 0 {idle} 0 0 0 0 0 0' for n, (busy, idle) in enumerate(rows)]
    path.write_text('\n'.join([*lines, 'intr 7', '']))


def test_idle_processors_are_read_off_proc_stat(tmp_path: Path) -> None:
    path = tmp_path / 'stat'
    stat(path, *[(100, 100)] * 6)

    def passes(seconds: float) -> None:
        # Free, busy, half of each; the next two belong to others; standing still.
        stat(path, (100, 130), (130, 100), (115, 115), (130, 100), (100, 130), (100, 100))

    assert idle_processors(path, passes) == pytest.approx(1.0 + 0.0 + 0.5 + 1.0)


@pytest.mark.parametrize('text', ['', 'cpu0 nonsense\n', 'cpu0 1 2\n', None])
def test_where_proc_stat_says_nothing_nothing_is_known(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / 'stat').write_text(text)
    assert idle_processors(tmp_path / 'stat', lambda _: None) is None


def test_the_quota_of_a_container_counts(tmp_path: Path) -> None:
    assert allowed_processors(tmp_path) == 4
    for text, count in (('max 100000', 4), ('150000 100000', 2), ('900000 100000', 4)):
        (tmp_path / 'cpu.max').write_text(text + '\n')
        assert allowed_processors(tmp_path) == count
    old = tmp_path / 'old'
    (old / 'cpu').mkdir(parents=True)
    (old / 'cpu/cpu.cfs_period_us').write_text('100000\n')
    for text, count in (('-1', 4), ('50000', 1)):
        (old / 'cpu/cpu.cfs_quota_us').write_text(text + '\n')
        assert allowed_processors(old) == count


def test_a_quota_of_one_processor_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / 'cpu.max').write_text('100000 100000\n')
    monkeypatch.setattr(module, 'allowed_processors', lambda: allowed_processors(tmp_path))
    machine = Machine(4.0)
    assert machine.threads().number == 1
    assert machine.reported == ['1 thread: this process may use 1 of the processors']


def test_torch_is_left_as_it_was() -> None:
    with threads(2, print):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


def test_training_says_what_it_takes_and_goes_on_with_another_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level('INFO', 'smwm_ros')
    dots = TransitionDataset.open(dot_dataset(tmp_path / 'dots', episodes=4).folder)
    settings = config.Train(steps=2, batch=4, eval_every=1, device='cpu')
    nano = config.Model(latent=4, hidden=8)
    seen = []
    step = Threads.step

    def counted_step(self: Threads) -> None:
        step(self)
        seen.append(torch.get_num_threads())

    monkeypatch.setattr(Threads, 'step', counted_step)
    monkeypatch.setattr(module, 'idle_processors', lambda: 4.0)
    train(dots, tmp_path / 'run', nano, settings, config.Planner())
    assert seen == [4, 4]
    assert '4 threads: 4.0 of 4 processors idle (train.threads is 0)' in caplog.text
    again = config.Train(**{**vars(settings), 'threads': 1})
    train(dots, tmp_path / 'run', nano, again, config.Planner())  # the same run, not another one
    assert torch.get_num_threads() == 4
