# SPDX-License-Identifier: Apache-2.0
"""What a planner would have done in the place of whoever drove a recording."""

from __future__ import annotations

from pathlib import Path
import re

import numpy as np
import pytest
from smwm_ros.cli import main
from smwm_ros.core.interfaces import Array
from smwm_ros.core.pilot import PilotPlan
from smwm_ros.core.replay import agree, chance, replay
from smwm_ros.errors import DatasetError
from worlds import dot_dataset

ROOT = Path(__file__).resolve().parent.parent


class Double:
    """A pilot that knows what was driven at every image, and does that, or the opposite."""

    def __init__(self, images: Array, actions: Array, sign: float = 1.0) -> None:
        self._known = {image.tobytes(): sign * action for image, action in zip(images, actions)}  # noqa: B905
        self.goals: Array = np.zeros(0)
        self.elapsed: list[int] = []

    def set_goals(self, pixels: Array) -> None:
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


def test_the_sample_bag_is_replayed_far_better_than_by_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / 'replay.html'
    bag, run = str(ROOT / 'bags' / 'two_room'), str(ROOT / 'models' / 'two_room')
    assert main(['replay', bag, run, '--out', str(page)]) == 0
    said = capsys.readouterr().out
    close, floor = (int(n) for n in re.findall(r'(\d+)% are close \(chance (\d+)%\)', said)[0])
    assert close > floor + 10
    text = page.read_text()
    assert text.count('<svg') >= 3
    assert text.count('data:image/png') >= 4
    assert main(['replay', bag, run, '--leg', '500', '--out', str(page)]) == 2
    assert main(['replay', bag, run, '--name', 'nowhere', '--out', str(page)]) == 2
    assert "no goal 'nowhere'" in capsys.readouterr().err
