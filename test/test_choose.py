# SPDX-License-Identifier: Apache-2.0
"""Which arena a run belongs to."""

from pathlib import Path

import pytest
from smwm_ros.arenas import ARENA_NAMES, make_arena
from smwm_ros.arenas.choose import arenas_of, choose_arena, require_robot
from smwm_ros.config import Robot
from smwm_ros.errors import ArenaError
from smwm_ros.load import load_config


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_the_robot_determines_the_arena(name: str) -> None:
    assert arenas_of(load_config(name).robot) == [name]


def test_the_named_arena_precedes_the_configured_one_and_that_precedes_the_robots() -> None:
    cube = load_config('cube').robot
    assert choose_arena('push_t', 'reacher', cube) == 'push_t'
    assert choose_arena(None, 'reacher', cube) == 'reacher'
    assert choose_arena(None, None, cube) == 'cube'


def test_a_configuration_of_ones_own_names_its_arena(tmp_path: Path) -> None:
    (tmp_path / 'mine.yaml').write_text('arena: {name: push_t}\n')
    assert choose_arena(None, str(tmp_path / 'mine.yaml'), Robot()) == 'push_t'


def test_another_robot_is_refused_with_the_arena_that_has_it() -> None:
    robot = load_config('cube').robot
    with pytest.raises(
        ArenaError, match=r'--arena reacher: does not have the robot of runs/a .*--arena cube'
    ):
        require_robot(make_arena('reacher', 16), 'reacher', robot, 'runs/a')
