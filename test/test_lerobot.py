# SPDX-License-Identifier: Apache-2.0
"""A dataset goes out as a LeRobotDataset, and the lerobot package gives its rows back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

from exchanged import LENGTHS, ROBOT, write_dataset
import numpy as np
import pytest
from smwm_ros.cli import main
from smwm_ros.config import Robot
from smwm_ros.data.dataset import TransitionDataset
from worlds import hide_actions

LENGTH = [length for lengths in LENGTHS.values() for length in lengths]


def test_lerobot_gives_back_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = pytest.importorskip(
        'lerobot.datasets.lerobot_dataset', reason='lerobot is not installed'
    )
    source, out = write_dataset(tmp_path / 'data'), tmp_path / 'out' / 'mine'
    words = ['export', str(source), '--to', 'lerobot', '--out', str(out), '--task', 'wander']
    assert main(words) == 0
    assert [path.name for path in out.parent.iterdir()] == ['mine']
    assert 'LeRobotDataset(' in capsys.readouterr().out
    data = TransitionDataset.open(source)
    back = theirs.LeRobotDataset('local/mine', root=out)
    assert back.num_episodes == len(LENGTH)
    assert len(back) == sum(LENGTH)
    assert back.fps == 10
    assert theirs.CODEBASE_VERSION.startswith('v3')
    for row in (0, 5, 129, 130, 141, 142, 166):
        item = back[row]
        frame = (item['observation.images.camera'].numpy() * 255).round().transpose(1, 2, 0)
        assert (frame == data.pixels(np.array([row]))[0]).all()
        assert (item['action'].numpy() == data.actions(np.array([row]))[0]).all()
        assert (item['observation.state'].numpy() == data.states(np.array([row]))[0]).all()
        assert item['task'] == 'wander'
        assert int(item['episode_index']) == np.searchsorted(np.cumsum(LENGTH), row, side='right')


def test_without_a_measured_state_there_is_no_such_column(tmp_path: Path) -> None:
    theirs = pytest.importorskip(
        'lerobot.datasets.lerobot_dataset', reason='lerobot is not installed'
    )
    source, out = write_dataset(tmp_path / 'data', Robot()), tmp_path / 'mine'
    (tmp_path / '.mine.part' / 'meta').mkdir(parents=True)  # what a killed export left
    assert main(['export', str(source), '--to', 'lerobot', '--out', str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'mine']
    assert 'observation.state' not in theirs.LeRobotDataset('local/mine', root=out)[0]


def test_a_rate_that_lerobot_cannot_count_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('lerobot', reason='lerobot is not installed')
    source = write_dataset(tmp_path / 'data', replace(ROBOT, dt=0.3))
    assert main(['export', str(source), '--to', 'lerobot', '--out', str(tmp_path / 'out')]) == 2
    assert 'robot.dt must be 1/n' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


class FakeDataset:
    """Keeps what is added, as the writer of lerobot would."""

    made: ClassVar[list[FakeDataset]] = []

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.frames: list[dict[str, Any]] = []
        self.lengths: list[int] = []

    @classmethod
    def create(cls, root: Path, **about: Any) -> FakeDataset:
        """Begin a dataset."""
        root.mkdir()
        cls.made.append(cls(about))
        return cls.made[-1]

    def add_frame(self, frame: dict[str, Any]) -> None:
        """Take a row."""
        self.frames.append(frame)

    def save_episode(self) -> None:
        """End an episode."""
        self.lengths.append(len(self.frames) - sum(self.lengths))

    def finalize(self) -> None:
        """Do nothing."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeDataset]]:
    """Replace the writer of lerobot; return what it will have written."""
    lerobot = SimpleNamespace(LeRobotDataset=FakeDataset)
    monkeypatch.setitem(sys.modules, 'datasets', SimpleNamespace(disable_progress_bars=int))
    for name in ('lerobot', 'lerobot.datasets', 'lerobot.datasets.lerobot_dataset'):
        monkeypatch.setitem(sys.modules, name, lerobot)
    monkeypatch.delitem(sys.modules, 'smwm_ros.exchange.to_lerobot', raising=False)
    monkeypatch.setattr(FakeDataset, 'made', [])
    yield FakeDataset.made
    monkeypatch.delitem(sys.modules, 'smwm_ros.exchange.to_lerobot', raising=False)


def test_episodes_are_cut_at_ticks_without_an_action_or_a_measured_state(
    tmp_path: Path, written: list[FakeDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_dataset(tmp_path / 'data', unmeasured=[0, 60, 61, 141])
    words = ['export', str(source), '--to', 'lerobot', '--out', str(tmp_path / 'mine')]
    assert main(words) == 0
    assert '4 episodes, 163 rows' in capsys.readouterr().out
    (made,) = written
    assert made.lengths == [59, 68, 11, 25]
    assert 'next.success' not in made.about['features']
    assert {frame['task'] for frame in made.frames} == {'play'}
    assert np.isfinite([frame['observation.state'] for frame in made.frames]).all()
    hide_actions(source / 'shards' / 'monday', np.array([100]))
    words[-1] = str(tmp_path / 'again')
    assert main(words) == 0
    assert '5 episodes, 162 rows' in capsys.readouterr().out


def note(source: Path, shard: str, **noted: str) -> None:
    """Store the outcome or the task of a recording."""
    file = source / 'shards' / shard / 'meta.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), **noted}))


def test_the_last_frame_of_a_success_has_next_success_and_frames_have_the_recorded_task(
    tmp_path: Path, written: list[FakeDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_dataset(tmp_path / 'data', unmeasured=[60, 141])
    note(source, 'monday', outcome='success', task='sweep')
    words = ['export', str(source), '--to', 'lerobot', '--task', 'wander', '--out']
    assert main([*words, str(tmp_path / 'one')]) == 0
    said = capsys.readouterr().out
    assert 'left out: next.success, as 1 episode without an outcome' in said
    assert 'next.success' not in written[0].frames[0]
    note(source, 'tuesday', outcome='failure')
    assert main([*words, str(tmp_path / 'two')]) == 0
    assert 'left out' not in capsys.readouterr().out
    feature = {'dtype': 'bool', 'shape': (1,), 'names': None}
    assert written[1].about['features']['next.success'] == feature
    frames = written[1].frames
    assert written[1].lengths == [60, 69, 11, 25]
    successes = [number for number, one in enumerate(frames) if one['next.success'].all()]
    assert successes == [139], 'the end of the recording, not of its pieces'
    assert all(one['next.success'].shape == (1,) for one in frames)
    tasks = [one['task'] for one in frames]
    assert tasks == ['sweep'] * 140 + ['wander'] * 25


def test_without_lerobot_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, 'lerobot', None)
    monkeypatch.delitem(sys.modules, 'smwm_ros.exchange.to_lerobot', raising=False)
    for name in [name for name in sys.modules if name.startswith('lerobot.')]:
        monkeypatch.delitem(sys.modules, name)
    source = write_dataset(tmp_path / 'data')
    assert main(['export', str(source), '--to', 'lerobot', '--out', str(tmp_path / 'out')]) == 2
    assert (
        "the extra 'lerobot' of this package, which is not installed: pip install lerobot"
        in capsys.readouterr().err
    )
    assert not (tmp_path / 'out').exists()
