# SPDX-License-Identifier: Apache-2.0
"""Of several goals the nearest is the target, and any of them counts."""

from __future__ import annotations

import numpy as np
from smwm_ros.control.alternatives import Alternatives
from smwm_ros.control.route import GoalTolerance

REACH = GoalTolerance(near=1.0, far=2.0, settle=2)
TIMED = REACH._replace(near_time=0.5, far_time=1.0)


def at(*places: float) -> np.ndarray:
    return np.array([[place, 0.0] for place in places])


def events(goals: Alternatives, *places: float) -> list[str]:
    return [goals.update(z).name for z in at(*places)]


def test_the_nearest_goal_is_the_target_at_first() -> None:
    goals = Alternatives(at(-10, 4, 20), REACH)
    goals.begin(at(3)[0])
    assert goals.target.tolist() == [4, 0]
    goals.begin(at(3)[0], np.array([1.0, 9.0, 0.5]))
    assert goals.target.tolist() == [20, 0], 'times count, where they are known'


def test_another_goal_becomes_the_target_only_when_it_is_clearly_nearer() -> None:
    goals = Alternatives(at(0, 10), REACH)
    assert events(goals, 4.9, 5.1, 5.5) == ['NOTHING'] * 3
    assert events(goals, 5.6) == ['PASSED']
    assert events(goals, 5.0, 4.9, 4.5) == ['NOTHING'] * 3
    assert goals.at == 1
    assert events(goals, 4.4) == ['PASSED']
    assert goals.at == 0


def test_times_choose_the_target_where_they_are_known() -> None:
    goals = Alternatives(at(0, 10), REACH)
    behind_a_wall = np.array([9.0, 2.0])
    assert goals.update(at(2)[0], behind_a_wall).name == 'PASSED'
    assert goals.at == 1


def test_any_goal_is_reached_even_if_another_one_is_the_target() -> None:
    goals = Alternatives(np.array([[0.0, 0.0], [0.0, 1.9]]), REACH)
    near_the_second = np.array([0.4, 1.0])  # not clearly nearer to it
    assert [goals.update(near_the_second).name for _ in range(2)] == ['NOTHING', 'REACHED']
    assert (goals.at, goals.reached) == (1, True)


def test_each_goal_has_the_time_that_belongs_to_it() -> None:
    goals = Alternatives(at(0, 10), TIMED)
    found = [goals.update(at(5)[0], np.array([0.6, 0.5])).name for _ in range(2)]
    assert found == ['NOTHING', 'REACHED']
    assert goals.target.tolist() == [10, 0]


def test_a_goal_that_is_reached_stays_the_target_until_it_is_left() -> None:
    goals = Alternatives(at(0, 3), REACH)
    assert events(goals, 0.5, 0.5) == ['NOTHING', 'REACHED']
    assert events(goals, 1.9, 1.9) == ['NOTHING', 'NOTHING'], 'the other one is nearer'
    assert goals.at == 0
    assert events(goals, 2.1) == ['LEFT']
    assert not goals.reached
    assert events(goals, 2.2)[-1] == 'REACHED', 'it was near the other one all the time'
    assert goals.at == 1


def test_after_an_engagement_a_goal_is_reached_anew() -> None:
    goals = Alternatives(at(0, 10), REACH)
    events(goals, 9.5, 9.5)
    goals.restart()
    assert (goals.at, goals.reached) == (1, False)
    assert events(goals, 9.5, 9.5) == ['NOTHING', 'REACHED']


def test_without_a_tolerance_none_is_reached() -> None:
    goals = Alternatives(at(0, 10), None)
    assert set(events(goals, 0, 0, 0)) == {'NOTHING'}
    assert events(goals, 10) == ['PASSED']
    goals.tolerance = REACH
    assert events(goals, 10, 10)[-1] == 'REACHED'
