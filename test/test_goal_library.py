# SPDX-License-Identifier: Apache-2.0
"""Named goals are pictures in a folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.errors import ConfigError, OutputError
from smwm_ros.share import goals_folder, shipped

RED, BLUE = (np.full((8, 8, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))


def test_goals_and_routes_come_back_as_they_were_kept(tmp_path: Path) -> None:
    library = GoalLibrary(tmp_path / 'goals')
    assert library.names() == {}
    library.save('dock', [RED])
    library.save('patrol', [RED, BLUE, RED])
    assert library.names() == {'dock': 1, 'patrol': 3}
    assert np.array_equal(library.load('dock', 8, 'stretch'), [RED])
    assert np.array_equal(library.load('patrol', 8, 'stretch'), [RED, BLUE, RED])
    assert library.load('dock', 4, 'stretch').shape == (1, 4, 4, 3)


@pytest.mark.parametrize('first', [[RED], [RED, RED]])
@pytest.mark.parametrize('second', [[BLUE], [BLUE, BLUE, BLUE]])
def test_keeping_a_name_again_replaces_it(
    tmp_path: Path, first: list[np.ndarray], second: list[np.ndarray]
) -> None:
    library = GoalLibrary(tmp_path)
    library.save('here', first)
    library.save('here', second)
    assert np.array_equal(library.load('here', 8, 'stretch'), second)
    assert len(list(tmp_path.iterdir())) == 1, 'something was left behind'


def test_pictures_put_there_by_hand_are_goals(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'kitchen.JPG'.lower()), RED)
    (tmp_path / 'notes.txt').write_text('not a goal')
    (tmp_path / 'empty').mkdir()
    assert GoalLibrary(tmp_path).names() == {'kitchen': 1}


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    library = GoalLibrary(tmp_path)
    library.save('dock', [RED])
    with pytest.raises(ConfigError, match=r"no goal 'dokc' in .*; did you mean 'dock'"):
        library.load('dokc', 8, 'stretch')
    for name in ('../secret', '', '.hidden', 'a/b', 'x' * 65):
        with pytest.raises(ConfigError, match='is not a valid name of a goal'):
            library.save(name, [RED])
        with pytest.raises(ConfigError, match='no goal'):
            library.load(name, 8, 'stretch')


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='cannot be written'):
        GoalLibrary(tmp_path / 'file').save('dock', [RED])


def test_a_folder_holds_so_many_goals_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('smwm_ros.control.goal_library.MOST', 3)
    library = GoalLibrary(tmp_path)
    for name in ('a', 'b', 'c'):
        library.save(name, [RED])
    with pytest.raises(ConfigError, match='3 goals, expected fewer than 3; remove some'):
        library.save('d', [RED])
    library.save('b', [BLUE])
    assert np.array_equal(library.load('b', 8, 'stretch'), [BLUE])


def test_goals_lie_in_a_run_and_never_in_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shipped('models', 'two_room')
    assert model is not None
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    assert goals_folder(model) == tmp_path / 'state' / 'smwm_ros' / 'goals' / 'two_room'
    assert goals_folder(tmp_path / 'mine') == tmp_path / 'mine' / 'goals'
    monkeypatch.delenv('XDG_STATE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert goals_folder(model) == tmp_path / '.local/state/smwm_ros/goals/two_room'
