# SPDX-License-Identifier: Apache-2.0
"""Goals and routes in latent space: what is next, what is reached, and what is left again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros.control.route import GoalTolerance, Route, RouteRecorder
from smwm_ros.planning.pilot import Pilot
from worlds import draw_dot, tiny_checkpoint

REACH = GoalTolerance(near=1.0, far=2.0, settle=3)


def at(*places: float) -> np.ndarray:
    return np.array([[place, 0.0] for place in places])


def events(goal_route: Route, *places: float) -> list[str]:
    return [goal_route.update(z).name for z in at(*places)]


def test_a_goal_is_reached_when_it_was_near_for_some_images() -> None:
    goal_route = Route(at(0), REACH)
    assert events(goal_route, 5, 0.5, -0.5) == ['NOTHING'] * 3
    assert events(goal_route, 0.9) == ['REACHED']
    assert goal_route.reached
    assert events(goal_route, 0.0, 0.0) == ['NOTHING'] * 2, 'it is said once'


def test_an_image_in_between_neither_counts_nor_undoes_what_was_counted() -> None:
    assert events(Route(at(0), REACH), 0.5, 1.5, 0.5, 1.5, 0.5)[-1] == 'REACHED'


def test_an_image_from_afar_begins_the_count_anew() -> None:
    assert set(events(Route(at(0), REACH), 0.5, 0.5, 2.1, 0.5, 0.5)) == {'NOTHING'}


def test_a_goal_is_left_only_beyond_the_far_distance() -> None:
    goal_route = Route(at(0), REACH)
    events(goal_route, 0, 0, 0)
    assert events(goal_route, 1.9, 1.9, 1.9) == ['NOTHING'] * 3
    assert events(goal_route, 2.1) == ['LEFT']
    assert events(goal_route, 0, 0, 0) == ['NOTHING', 'NOTHING', 'REACHED']


def test_where_the_time_to_the_goal_is_known_it_decides_with_thresholds_of_its_own() -> None:
    timed = REACH._replace(near_time=0.5, far_time=1.0)
    goal_route = Route(at(0), timed)
    far, here = np.array([9.0, 0.0]), np.array([0.0, 0.0])
    found = [goal_route.update(far, seconds) for seconds in (0.4, 0.9, 0.5, 0.9, 0.5)]
    assert [event.name for event in found] == ['NOTHING'] * 4 + ['REACHED']
    assert [goal_route.update(far, seconds).name for seconds in (1.0, 1.1)] == ['NOTHING', 'LEFT']
    assert {goal_route.update(here, 0.6).name for _ in range(5)} == {'NOTHING'}
    assert [goal_route.update(here).name for _ in range(3)][-1] == 'REACHED', 'no time is known'


def test_without_a_threshold_of_time_the_distance_decides() -> None:
    goal_route = Route(at(0), REACH)
    assert {goal_route.update(np.array([5.0, 0.0]), 0.0).name for _ in range(5)} == {'NOTHING'}
    assert [goal_route.update(np.zeros(2), 9.0).name for _ in range(3)][-1] == 'REACHED'


@given(st.lists(st.floats(1.01, 1.99), max_size=50))
def test_noise_between_near_and_far_changes_nothing(noise: list[float]) -> None:
    assert set(events(Route(at(0), REACH), *noise)) <= {'NOTHING'}


def test_a_route_goes_on_from_each_subgoal_and_ends_at_the_last() -> None:
    goal_route = Route(at(0, 10, 20), REACH)
    assert goal_route.target.tolist() == [0, 0]
    assert events(goal_route, -5, -1.5, -0.9) == ['NOTHING', 'NOTHING', 'PASSED']
    assert goal_route.target.tolist() == [10, 0]
    assert events(goal_route, 5, 8.5, 9.5) == ['NOTHING', 'NOTHING', 'PASSED']
    assert goal_route.at == 2
    assert not goal_route.reached
    assert events(goal_route, 18.5, 19.5, 20, 20.5) == ['NOTHING'] * 3 + ['REACHED']


def test_a_subgoal_that_was_missed_is_left_out_when_the_next_is_near() -> None:
    goal_route = Route(at(0, 10, 20), REACH)
    assert events(goal_route, 10.5) == ['PASSED']
    assert goal_route.at == 2


def test_a_place_where_the_route_turns_back_is_not_left_out() -> None:
    goal_route = Route(at(0, 10, 0, -10), REACH)
    assert events(goal_route, 0, 0, 0) == ['PASSED', 'NOTHING', 'NOTHING']
    assert events(goal_route, 9.5, 5) == ['PASSED', 'NOTHING']
    assert goal_route.at == 2


def shifted(*places: float) -> np.ndarray:
    """Return latents of places in another light, which shifts all of them alike."""
    return at(*places) + np.array([0.0, 7.0])


def test_in_another_light_a_route_is_repeated_though_no_picture_is_near() -> None:
    goal_route = Route(at(0, 10, 20, 30), REACH)
    begun = [goal_route.update(z).name for z in shifted(*[0.5] * 12)]
    assert begun.count('PASSED') == 1, 'the first subgoal is passed when the robot gets no nearer'
    passed = [goal_route.update(z).name for z in shifted(3, 6, 9.5, 12, 15, 19.5, 22)]
    assert passed == ['NOTHING'] * 2 + ['PASSED'] + ['NOTHING'] * 2 + ['PASSED', 'NOTHING']
    assert [goal_route.update(z).name for z in shifted(26, 28.5, *[28.5] * 30)] == ['NOTHING'] * 32
    ended = [goal_route.update(z).name for z in shifted(*[29.5] * 30)]
    assert ended.count('REACHED') == 1
    assert set(ended) == {'NOTHING', 'REACHED'}, 'the shift is no reason to leave the goal'


def test_a_robot_that_is_blocked_before_a_subgoal_passes_no_subgoal() -> None:
    goal_route = Route(at(0, 10, 20), REACH)
    events(goal_route, 0)
    assert set(events(goal_route, *[6.0] * 100)) == {'NOTHING'}


def test_a_subgoal_that_a_robot_passes_beside_counts_once_it_gets_no_nearer() -> None:
    goal_route = Route(at(0, 10, 20), REACH)
    events(goal_route, 0)
    beside = np.array([10.0, 1.5])
    assert [goal_route.update(beside).name for _ in range(11)] == ['NOTHING'] * 10 + ['PASSED']


def test_a_route_without_an_end_passes_its_subgoals_and_ends_never() -> None:
    goal_route = Route(at(0, 10), REACH._replace(near=-1.0))
    assert events(goal_route, 0) == ['PASSED']
    assert set(events(goal_route, *[10.0] * 30)) == {'NOTHING'}


def test_passing_the_goal_early_ends_no_route_that_leads_by_it_twice() -> None:
    goal_route = Route(at(0, 10, 20, 0), REACH)
    assert events(goal_route, 0, 0, 0, 0) == ['PASSED', *['NOTHING'] * 3]
    assert goal_route.at == 1


def test_without_calibration_a_goal_is_never_reached_and_a_route_is_refused() -> None:
    assert set(events(Route(at(0), None), 0, 0, 0, 0)) == {'NOTHING'}
    with pytest.raises(ValueError, match='a route of several subgoals requires a goal tolerance'):
        Route(at(0, 1), None)
    with pytest.raises(ValueError, match=r'expected latents \(N, D\), found \(0, 2\)'):
        Route(np.zeros((0, 2)), REACH)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=60), st.floats(0.5, 5))
def test_landmarks_are_apart_in_order_and_end_where_the_drive_ended(
    steps: list[float], spacing: float
) -> None:
    drive = at(*np.cumsum(steps))
    recorder = RouteRecorder(spacing)
    for number, z in enumerate(drive):
        recorder.add(z, np.array(number))
    chosen = [int(picture) for picture in recorder.route()]
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, len(drive) - 1)
    gaps = np.linalg.norm(np.diff(drive[chosen], axis=0), axis=1)
    assert (gaps[:-1] > spacing / 2).all()
    for number in range(len(drive)):  # nothing of the drive is far from all landmarks
        away = np.linalg.norm(drive[chosen] - drive[number], axis=1)
        assert away.min() <= 1.5 * spacing


def test_the_place_where_a_drive_turns_back_is_a_subgoal() -> None:
    recorder, drive = RouteRecorder(1.0), [0, 0.4, 0.8, 1.2, 1.6, 2.0, 1.6, 1.2, 0.8]
    for place in drive:
        recorder.add(np.array([place, 0.0]), np.array(place))
    assert [float(place) for place in recorder.route()] == pytest.approx([0, 1.2, 2.0, 0.8])


def test_a_drive_without_images_makes_no_route() -> None:
    assert RouteRecorder(1.0).route() == []


def test_a_goal_that_is_aimed_at_again_is_reached_again() -> None:
    goal_route = Route(at(0), REACH)
    events(goal_route, 0, 0, 0)
    goal_route.restart()
    assert not goal_route.reached
    assert events(goal_route, 0, 0, 0)[-1] == 'REACHED'


def test_the_pilot_aims_at_latents_as_at_the_images_they_come_from() -> None:
    here, there = draw_dot(np.array([-0.5, 0.0])), draw_dot(np.array([0.5, 0.2]))
    by_image, by_latent = Pilot(tiny_checkpoint()), Pilot(tiny_checkpoint())
    by_image.set_goal(there)
    by_latent.aim(by_latent.encode(there[None])[0])
    one, other = by_image.plan(here, 0), by_latent.plan(here, 0)
    assert one.actions == pytest.approx(other.actions)
    assert one.latent == pytest.approx(by_latent.encode(here[None])[0])
    with pytest.raises(ValueError, match=r'expected 4 numbers, found \(5,\)'):
        by_latent.aim(np.zeros(5))
