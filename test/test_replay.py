# SPDX-License-Identifier: Apache-2.0
"""What a planner would have done in the place of whoever drove a recording."""

from __future__ import annotations

import json
from pathlib import Path
import re

import numpy as np
import pytest
from recordings import made, TinyBag
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.replay import agree, chance, Leg, replay
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import save
from smwm_ros.model.info import Info
from smwm_ros.pages.replay import page
from smwm_ros.pages.replay_stretch import HELD_OUT, LEARNT, STRANGE, Stretches, UNKNOWN
from smwm_ros.planning.pilot import PilotPlan
from worlds import dot_dataset, hide_actions, tiny_checkpoint

FIGURES = {'compared': 9.0, 'close': 0.5, 'direction': 0.5, 'difference': 0.1}
ROOT = Path(__file__).resolve().parent.parent


class Double:
    """A pilot that knows what was driven at every image, and does that, or the opposite."""

    stack, past_steps, action_block = 1, 0, 1

    def __init__(self, images: Array, actions: Array, sign: float = 1.0) -> None:
        self._known = {image.tobytes(): sign * action for image, action in zip(images, actions)}  # noqa: B905
        self.goals: Array = np.zeros(0)
        self.elapsed: list[int] = []

    def set_goals(self, pixels: Array, metrics: Array | None = None) -> None:
        self.goals = pixels

    def plan_many(self, pixels: Array, elapsed: int) -> list[PilotPlan]:
        self.elapsed.append(elapsed)
        assert len(pixels) == len(self.goals)
        return [
            PilotPlan(np.stack([self._known[one.tobytes()]] * 3), 0.0, 0.0, 1.0) for one in pixels
        ]


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_a_driver_is_compared_with_what_was_driven_at_the_same_image(
    tmp_path: Path, sign: float
) -> None:
    data = dot_dataset(tmp_path, episodes=5)
    rows = np.arange(len(data))
    double = Double(data.pixels(rows), data.actions(rows), sign)
    legs = replay(double, data, 10)  # type: ignore[arg-type]
    assert len(legs) == 5 * 2  # of 30 rows, the last of a leg is the first of the next
    for leg in legs:
        assert np.array_equal(leg.theirs, data.actions(leg.start + np.arange(10)))
        assert np.allclose(leg.ours, sign * leg.theirs)
    figures = agree(legs, data.info.spec).figures()
    assert figures['direction'] == pytest.approx(sign)
    assert abs(chance(legs, data.info.spec).figures()['direction']) < 0.3
    assert double.elapsed == [0, *[1] * 9]


def test_legs_with_an_unknown_command_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = dot_dataset(tmp_path, episodes=5)
    rows = np.arange(len(whole))
    double = Double(whole.pixels(rows), whole.actions(rows))
    hide_actions(whole.folder / 'shards' / 'dots', np.array([3, 119]))
    legs = replay(double, TransitionDataset.open(tmp_path), 10)  # type: ignore[arg-type]
    assert [leg.start for leg in legs] == [10, 30, 40, 60, 70, 90, 100, 120, 130]
    assert '1 leg left out, because a recorded command is missing' in caplog.text
    hide_actions(whole.folder / 'shards' / 'dots', rows[::9])
    with pytest.raises(DatasetError, match=r'no leg of 10 .* \(19 ticks have none\); record'):
        replay(double, TransitionDataset.open(tmp_path), 10)  # type: ignore[arg-type]


def test_the_goal_of_a_leg_is_its_last_frame_unless_one_is_given(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path, episodes=2)
    rows = np.arange(len(data))
    double = Double(data.pixels(rows), data.actions(rows))
    legs = replay(double, data, 29)  # type: ignore[arg-type]
    starts = np.array([leg.start for leg in legs])
    assert np.array_equal(double.goals, data.pixels(starts + 29))
    goal = data.pixels(rows[:1])[0]
    replay(double, data, 29, goal)  # type: ignore[arg-type]
    assert all(np.array_equal(one, goal) for one in double.goals)


def test_a_recording_without_so_long_a_drive_is_refused(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path, episodes=2)
    with pytest.raises(
        DatasetError, match=r'no drive of 30 control periods .* the longest has 29'
    ):
        replay(Double(np.zeros(0), np.zeros(0)), data, 30)  # type: ignore[arg-type]


def legs_of(data: TransitionDataset, length: int) -> list[Leg]:
    """Return what a driver who does as was driven says of a recording."""
    rows = np.arange(len(data))
    double = Double(data.pixels(rows), data.actions(rows))
    return replay(double, data, length)  # type: ignore[arg-type]


def recorded(tmp_path: Path, name: str, ticks: int, first: int = 0) -> Path:
    bag = TinyBag(tmp_path / name)
    for tick in range(first, first + ticks):
        bag.frame(tick)
        bag.command(tick, 0.1 * (tick % 4))
    return bag.close()


def test_a_replay_says_which_stretch_it_shows_and_whether_it_was_held_out(tmp_path: Path) -> None:
    monday = recorded(tmp_path, 'monday', 200)
    trained = made(tmp_path, monday, 'dataset.val_share=0.3', out='data')
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'meta.json').write_text(json.dumps({'info': {'data': '../data'}}))
    checkpoint = tiny_checkpoint()._replace(info=Info(dataset=trained.fingerprint))
    again = made(tmp_path, monday, out='again')
    found = Stretches(again, run, checkpoint)
    legs = legs_of(again, 10)
    val = [e for e in trained.episodes if e.split == 'val']
    for leg in legs:
        inside = any(e.start <= leg.start and leg.start + 10 <= e.stop for e in val)
        assert (found.split(leg) == HELD_OUT) == inside
    splits = {found.split(leg) for leg in legs}
    assert {HELD_OUT, LEARNT} <= splits
    assert found.where(30, 50) == 'monday, 3.0 to 5.0 s'
    assert found.seconds(legs[2])[[0, -1]].tolist() == pytest.approx([2.0, 2.9])
    stretches = found.all(legs)
    assert sum(one.legs for one in stretches) == len(legs)
    assert [one.split for one in stretches[1:]] != [one.split for one in stretches[:-1]]

    text = page('a', again, legs, None, found, FIGURES, FIGURES)
    assert text.index('The run was trained on ') < text.index('class="tiles"')
    assert f'monday, 0 to 1.0 s, {found.split(legs[0])}' in text
    assert 'class="film"' in text

    tuesday = made(tmp_path, recorded(tmp_path, 'tuesday', 40, 7), out='tuesday_data')
    assert {Stretches(tuesday, run, checkpoint).split(leg) for leg in legs_of(tuesday, 10)} == {
        STRANGE
    }
    other = checkpoint._replace(info=Info(dataset='changed since'))
    assert Stretches(again, run, other).split(legs[0]) == UNKNOWN


def test_a_page_of_what_the_run_never_saw_has_no_warnings(tmp_path: Path) -> None:
    data = made(tmp_path, recorded(tmp_path, 'monday', 40), out='data')
    save(tmp_path, tiny_checkpoint())
    found = Stretches(data, tmp_path, tiny_checkpoint())
    text = page('a', data, legs_of(data, 10), None, found, FIGURES, FIGURES)
    shown = text.partition('class="warnings"')[2].partition('</ul>')[0]
    assert re.findall(r'<li>(.*?):', shown) == ['monday'], 'only that of its grey images'
    assert 'the dataset of the run was moved or' in text


def test_the_sample_bag_is_replayed_far_better_than_by_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'replay.html'
    bag, run = str(ROOT / 'bags' / 'two_room'), str(ROOT / 'models' / 'two_room')
    assert main(['replay', bag, run, '--out', str(out)]) == 0
    said = capsys.readouterr().out
    close, floor = (int(n) for n in re.findall(r'(\d+)% are close \(chance (\d+)%\)', said)[0])
    assert close > floor + 10
    assert 'two_room_0000, 0 to 5.0 s (2 legs, held out or not: unknown)' in said
    text = out.read_text()
    assert 'two_room_0000, 0 to 5.0 s' in text
    assert text.count('<svg') >= 3
    assert text.count('data:image/png') >= 4
    assert main(['replay', bag, run, '--leg', '500', '--out', str(out)]) == 2
    assert main(['replay', bag, run, '--name', 'nowhere', '--out', str(out)]) == 2
    assert "no goal 'nowhere'" in capsys.readouterr().err
