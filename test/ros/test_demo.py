# SPDX-License-Identifier: Apache-2.0
"""The demo in small: all of its steps for real, with a model that has learnt next to nothing."""

from __future__ import annotations

from contextlib import redirect_stdout
import io
from pathlib import Path
from typing import NamedTuple

import pytest
from smwm_ros import cli

SMALL = ('arena.episodes=8', 'arena.length=40', 'train.steps=3', 'train.batch=8')


def demo(folder: Path, *words: str) -> tuple[int, str]:
    """Run the demo with a budget too small for any goal; return its exit code and its words."""
    return run('--out', str(folder), *words)


def run(*words: str) -> tuple[int, str]:
    """Run it, wherever its folder is."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = cli.main(['demo', '--pairs', '2', *SMALL, 'evaluate.budget=3', *words])
    return code, out.getvalue()


class Done(NamedTuple):
    """A demo that has run once."""

    folder: Path
    code: int
    out: str


@pytest.fixture(scope='module')
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp('demo') / 'runs' / 'demo'
    return Done(folder, *demo(folder))


def test_a_planner_that_reaches_too_few_goals_fails_the_demo_and_says_so(done: Done) -> None:
    assert done.code == 1
    assert 'FAILED: the planner reached 0% of its goals; at least 80%' in done.out
    assert '$ smwm collect two_room' in done.out
    assert 'random    reached' in done.out
    assert 'Hz of 10 Hz requested' in done.out


def test_its_report_needs_nothing_beside_itself(done: Done) -> None:
    report = (done.folder / 'report.html').read_text()
    assert report.count('not reached') >= 2
    assert '<svg' in report
    assert 'http://' not in report
    assert 'https://' not in report
    assert (done.folder / 'demo.gif').read_bytes().startswith(b'GIF8')


def test_run_again_it_reuses_what_is_done(done: Done) -> None:
    weights = done.folder / 'run' / 'model.safetensors'
    made = weights.stat().st_mtime_ns
    code, out = demo(done.folder)
    assert code == 1
    assert 'holds the result of this checkpoint and protocol' in out
    assert weights.stat().st_mtime_ns == made


def test_other_settings_in_the_same_folder_are_refused(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = demo(done.folder, 'model.latent=16')
    assert code == 2
    assert 'model.latent is 32 there and 16 now' in capsys.readouterr().err


def test_an_arena_of_another_robot_gets_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out = run('--arena', 'reacher')
    assert code == 1
    assert '$ smwm collect reacher' in out
    assert 'Hz of 10 Hz requested' in out
    assert (tmp_path / 'runs' / 'demo_reacher' / 'report.html').is_file()


def test_an_unknown_arena_lists_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(['demo', '--arena', 'two_rooms', '--out', str(tmp_path / 'demo')]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'two_room'?" in error
    assert not (tmp_path / 'demo').exists()


def test_bags_without_commands_are_labelled_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A model of three steps has learnt nothing, so its labels would be refused.
    monkeypatch.setattr('smwm_ros.labelling.pseudo_actions.LEAST_R2', float('-inf'))
    monkeypatch.setattr('smwm_ros.labelling.latent_reading.MIN_STD', 0.0)
    code, out = demo(tmp_path / 'demo', '--mode', 'video', 'evaluate.repeats=1')
    assert code == 1
    assert 'FAILED: the planner reached' in out
    assert 'record.commands=false' in out
    assert 'ticks labelled by' in out
    compared = (tmp_path / 'demo' / 'evaluate.html').read_text()
    for name in ('smwm', 'labels_only', 'all_labels', 'random', 'expert'):
        assert name in compared
    labels = list((tmp_path / 'demo' / 'dataset' / 'shards').glob('*/labels/labels.json'))
    assert labels, 'only bags without commands have labels'
    assert len(labels) < len(list((tmp_path / 'demo' / 'dataset' / 'shards').iterdir()))
