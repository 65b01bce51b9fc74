# SPDX-License-Identifier: Apache-2.0
"""Tests of the tool that draws attempts which missed their goals."""

from pathlib import Path
import runpy

import cv2
import pytest
from smwm_ros.share import shipped

TOOL = runpy.run_path(str(Path(__file__).parents[1] / 'tools' / 'failures.py'))
MODEL = str(shipped('models', 'two_room'))
FEW = ('evaluate.pairs=12', 'evaluate.lanes=4')


def test_each_attempt_that_failed_is_a_row(tmp_path, capsys):
    file = tmp_path / 'failures.jpg'
    TOOL['main'](MODEL, 'two_room', str(file), *FEW, 'evaluate.budget=1')
    said = capsys.readouterr().out
    picture = cv2.imread(str(file))
    assert picture is not None
    rows, rest = divmod(picture.shape[0], TOOL['SIZE'])
    assert (rest, picture.shape[1]) == (0, 8 * TOOL['SIZE'] + TOOL['GAP'])
    assert f'{rows} of ' in said
    assert rows == TOOL['MOST'], 'no goal is reached in one step, and eight are shown'


def test_a_run_that_reaches_all_goals_has_nothing_to_show(tmp_path):
    file = tmp_path / 'failures.jpg'
    with pytest.raises(SystemExit, match='reached all of 1 goals'):
        TOOL['main'](
            MODEL, 'two_room', str(file), 'evaluate.pairs=1', 'evaluate.offset=1', 'planner.seed=1'
        )
    assert not file.exists()
