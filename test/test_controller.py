# SPDX-License-Identifier: Apache-2.0
"""Tests for control/controller.py: what each tick does, with times written out."""

from dataclasses import replace

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.control.caution import Caution
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import MEANING, Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.control.ticks import MARGIN, MAX_SHIFT, Metronome, PlanClock, ticks_between
from smwm_ros.control.timed_plan import TimedPlan
from smwm_ros.interfaces import ActionSpec

DT = 0.1
SPEC = ActionSpec(('x', 'y'), (-1.0, -1.0), (1.0, 1.0), DT)
NODE = config.Node(image_timeout=0.5, coast=3, stop_duration=0.25)
ROWS = np.arange(20).reshape(10, 2) / 20  # row k is (2k, 2k + 1) / 20


def plan(controller, seen=0.0, ready=0.02, actions=ROWS, **words):
    return TimedPlan(actions, seen, ready, words.pop('era', controller.era), **words)


@pytest.fixture
def controller():
    """Return a controller that has a goal, has seen an image at 0 s, and follows its plan."""
    made = Controller(SPEC, 'zero', NODE)
    made.new_goal()
    made.on_image(0.0)
    assert made.accept(plan(made))
    return made


def keep_seeing(controller, time):
    controller.on_image(time)
    return controller.tick(time)


def is_zero(order):
    return order.action is not None and not order.action.any()


def test_each_tick_plays_the_row_that_belongs_to_its_time(controller):
    for tick, time in enumerate([0.05, 0.15, 0.25, 0.35]):
        order = keep_seeing(controller, time)
        assert order.reason is Reason.RUNNING
        assert order.action == pytest.approx(ROWS[tick])
        assert order.age == pytest.approx(time)


def test_a_tick_exactly_on_the_grid_is_not_moved_by_rounding(controller):
    for tick in range(4):
        assert keep_seeing(controller, tick * DT).action == pytest.approx(ROWS[tick])
    assert [ticks_between(0.3, 0.3 + k * DT, DT) for k in range(1000)] == list(range(1000))


def test_a_skipped_tick_skips_its_row(controller):
    assert keep_seeing(controller, 0.05).action == pytest.approx(ROWS[0])
    assert keep_seeing(controller, 0.35).action == pytest.approx(ROWS[3])


@pytest.mark.parametrize('coast', [0, 1, 3])
def test_an_old_plan_plays_on_for_coast_ticks_and_no_longer(controller, coast):
    controller.configure(replace(NODE, coast=coast))
    reasons = [keep_seeing(controller, 0.05 + tick * DT).reason for tick in range(coast + 2)]
    assert reasons == [Reason.RUNNING] * (coast + 1) + [Reason.PLANNER_LATE]


def test_a_plan_that_took_long_may_coast_as_many_ticks_as_a_quick_one(controller):
    controller.configure(replace(NODE, image_timeout=2.0))
    assert controller.accept(plan(controller, seen=0.0, ready=0.25))
    for tick in (2, 3, 4, 5):
        order = keep_seeing(controller, tick * DT + 0.05)
        assert order.action == pytest.approx(ROWS[tick])
    assert keep_seeing(controller, 0.65).reason is Reason.PLANNER_LATE


def test_the_end_of_a_short_plan_stops_the_robot(controller):
    controller.configure(replace(NODE, coast=100, image_timeout=2.0))
    assert keep_seeing(controller, 0.95).reason is Reason.RUNNING
    assert keep_seeing(controller, 1.05).reason is Reason.PLANNER_LATE


def test_a_new_plan_ends_the_coasting(controller):
    keep_seeing(controller, 0.05)
    assert keep_seeing(controller, 0.45).reason is Reason.PLANNER_LATE
    assert controller.accept(plan(controller, seen=0.45, ready=0.5))
    assert keep_seeing(controller, 0.5).action == pytest.approx(ROWS[0])


def test_an_image_older_than_the_timeout_stops_the_robot_by_receive_time(controller):
    controller.configure(replace(NODE, coast=100))
    assert controller.tick(0.5).reason is Reason.RUNNING
    order = controller.tick(0.51)
    assert order.reason is Reason.STALE_IMAGE
    assert is_zero(order)


def test_the_stop_command_is_repeated_for_its_duration_and_then_silence(controller):
    controller.tick(0.05)
    controller.stop()
    orders = [controller.tick(time) for time in (0.1, 0.2, 0.3, 0.35, 0.36, 5.0)]
    assert all(order.reason is Reason.STOPPED for order in orders)
    assert [is_zero(order) for order in orders] == [True] * 4 + [False] * 2
    assert orders[-1].action is None


def test_a_robot_that_never_moved_gets_no_command():
    controller = Controller(SPEC, 'zero', NODE)
    for time in (0.0, 0.1, 0.2):
        order = controller.tick(time)
        assert order.reason is Reason.NO_GOAL
        assert order.action is None
    assert controller.final_stop() is None


def test_reasons_come_in_the_order_in_which_a_start_resolves_them():
    controller = Controller(SPEC, 'zero', replace(NODE, engage=False))
    assert controller.tick(0.0).reason is Reason.NOT_ENGAGED
    controller.engage()
    assert controller.tick(0.0).reason is Reason.NO_GOAL
    controller.new_goal()
    assert controller.tick(0.0).reason is Reason.NO_IMAGE
    controller.on_image(0.0)
    assert controller.tick(0.0).reason is Reason.PLANNING
    controller.accept(plan(controller))
    assert controller.tick(0.05).reason is Reason.RUNNING


def test_plans_are_wanted_only_where_they_would_be_used():
    controller = Controller(SPEC, 'zero', NODE)
    assert not controller.needs_plans
    controller.new_goal()
    assert controller.needs_plans
    controller.stop()
    assert not controller.needs_plans
    controller.engage()
    assert controller.needs_plans


def test_a_new_goal_drops_the_plan_and_every_plan_still_under_way_for_the_old_one(controller):
    under_way = plan(controller)
    controller.new_goal()
    assert not controller.accept(under_way)
    controller.on_image(0.1)
    assert controller.tick(0.1).reason is Reason.PLANNING


def test_engaging_again_waits_for_an_image_that_is_still_to_come(controller):
    controller.stop()
    controller.engage()
    assert controller.tick(0.1).reason is Reason.NO_IMAGE


def test_engaging_a_robot_that_is_engaged_changes_nothing(controller):
    controller.engage()
    assert controller.tick(0.05).reason is Reason.RUNNING


@pytest.mark.parametrize('number', [np.nan, np.inf, -np.inf])
def test_a_plan_with_a_number_that_is_none_stops_the_robot_until_a_good_one(controller, number):
    bad = ROWS.copy()
    bad[7, 1] = number
    controller.tick(0.05)
    assert not controller.accept(plan(controller, seen=0.1, ready=0.1, actions=bad))
    order = keep_seeing(controller, 0.15)
    assert order.reason is Reason.BAD_PLAN
    assert is_zero(order)
    assert controller.accept(plan(controller, seen=0.2, ready=0.2))
    assert keep_seeing(controller, 0.25).reason is Reason.RUNNING


def test_a_plan_that_could_not_be_scored_is_refused(controller):
    assert not controller.accept(plan(controller, cost=float('inf')))
    assert controller.tick(0.05).reason is Reason.BAD_PLAN


def test_a_planner_that_fails_stops_the_robot_until_it_succeeds(controller):
    controller.tick(0.05)
    controller.planner_failed(controller.era)
    order = keep_seeing(controller, 0.15)
    assert order.reason is Reason.PLANNER_ERROR
    assert is_zero(order)
    assert controller.accept(plan(controller, seen=0.2, ready=0.2))
    assert keep_seeing(controller, 0.25).reason is Reason.RUNNING


def test_a_failure_that_belongs_to_an_old_goal_is_no_failure(controller):
    old = controller.era
    controller.new_goal()
    controller.on_image(0.0)
    controller.planner_failed(old)
    assert controller.tick(0.0).reason is Reason.PLANNING


def test_holding_repeats_the_last_position_and_never_zero():
    controller = Controller(SPEC, 'hold', NODE)
    controller.new_goal()
    controller.on_image(0.0)
    controller.accept(plan(controller, actions=ROWS + 0.1))
    moved = controller.tick(0.05).action
    controller.stop()
    assert controller.tick(0.15).action == pytest.approx(moved)
    assert controller.final_stop() == pytest.approx(moved)


def test_the_final_stop_is_due_after_motion_and_during_a_stop_but_not_after_it(controller):
    controller.tick(0.05)
    controller.stop()
    controller.tick(0.1)
    assert is_zero_action(controller.final_stop())
    assert controller.final_stop() is None


def is_zero_action(action):
    return action is not None and not action.any()


def test_a_clock_that_stands_still_stops_the_robot_and_its_return_goes_on(controller):
    controller.tick(0.05)
    order = controller.halt(0.05, Reason.NO_CLOCK)
    assert order.reason is Reason.NO_CLOCK
    assert is_zero(order)
    assert controller.tick(0.15).reason is Reason.RUNNING


def test_a_jump_in_time_forgets_images_and_plans_and_stops_by_the_new_time(controller):
    controller.tick(0.05)
    controller.stop()
    controller.tick(0.1)
    controller.restart()
    assert [is_zero(controller.tick(time)) for time in (-50.0, -49.8, -49.7)] == [
        True,
        True,
        False,
    ]


def test_the_metronome_keeps_its_grid_and_makes_no_missed_tick_up():
    beat = Metronome(DT, 10.0)
    beat.advance(10.03)
    assert beat.deadline == pytest.approx(10.1)
    beat.advance(10.47)  # the ticks of 10.2, 10.3 and 10.4 have passed
    assert beat.deadline == pytest.approx(10.5)
    assert beat.missed == 3
    beat.advance(10.5)
    assert beat.deadline == pytest.approx(10.6)
    assert beat.missed == 3


@pytest.mark.parametrize('phase', [0.0, 0.02, 0.049, 0.051, 0.099])
def test_ticks_lean_until_each_plan_waits_only_the_margin(phase):
    beat = Metronome(DT, 0.0)
    for _ in range(60):
        before = beat.deadline
        waited = (before - phase) % DT  # a plan is ready at every phase + k * DT
        beat.advance(before)
        beat.shift_phase(waited)
        assert beat.deadline - before == pytest.approx(DT, abs=MAX_SHIFT * DT + 1e-9)
    assert (beat.deadline - phase) % DT == pytest.approx(MARGIN * DT)


def test_elapsed_ticks_add_up_even_where_each_step_is_a_fraction():
    clock = PlanClock(DT)
    assert clock.elapsed(5.0) == 0
    assert sum(clock.elapsed(5.0 + k / 30) for k in range(1, 301)) == 100


def test_elapsed_ticks_begin_anew_after_a_reset_and_after_a_jump_back():
    clock = PlanClock(DT)
    clock.elapsed(5.0)
    clock.reset()
    assert clock.elapsed(9.0) == 0
    assert clock.elapsed(2.0) == 0
    assert clock.elapsed(2.1) == 1


def test_every_reason_has_a_meaning():
    assert set(MEANING) == set(Reason)


def test_with_a_rate_limit_a_stop_slows_the_robot_down_and_then_repeats_zero():
    node = replace(NODE, max_rate=(2.0,), stop_duration=0.25)
    controller = Controller(SPEC, 'zero', node)
    controller.new_goal()
    controller.on_image(0.0)
    controller.accept(plan(controller, actions=np.full((10, 2), 0.5)))
    driven = [keep_seeing(controller, 0.05 + k * DT).action[0] for k in range(4)]
    assert driven == pytest.approx([0.2, 0.4, 0.5, 0.5])
    assert not controller.slowed
    controller.stop()
    slowed = [controller.tick(0.45 + k * DT) for k in range(8)]
    first = [None if order.action is None else order.action[0] for order in slowed[:3]]
    assert first == pytest.approx([0.3, 0.1, 0.0])
    assert [order.action is None for order in slowed] == [False] * 4 + [True] * 4
    assert controller.slowed


def test_going_on_from_a_stop_under_way_goes_on_from_the_speed_it_has():
    controller = Controller(SPEC, 'zero', replace(NODE, max_rate=(2.0,)))
    controller.new_goal()
    controller.on_image(0.0)
    controller.accept(plan(controller, actions=np.full((10, 2), 1.0)))
    for tick in range(4):
        keep_seeing(controller, 0.05 + tick * DT)
    assert keep_seeing(controller, 0.45).reason is Reason.PLANNER_LATE
    controller.accept(plan(controller, seen=0.5, ready=0.5, actions=np.full((10, 2), 1.0)))
    assert keep_seeing(controller, 0.55).action == pytest.approx([0.8, 0.8])


def test_a_clock_that_stands_still_leaves_no_time_to_slow_down():
    controller = Controller(SPEC, 'zero', replace(NODE, max_rate=(1.0,)))
    controller.new_goal()
    controller.on_image(0.0)
    controller.accept(plan(controller, actions=np.full((10, 2), 1.0)))
    controller.tick(0.05)
    assert is_zero(controller.halt(0.05, Reason.NO_CLOCK))


def drive_with(controller, same, until, start=0.05):
    """Tick and see an image every period, all like the one before or all different."""
    for tick in range(round((until - start) / DT)):
        time = start + tick * DT
        controller.accept(plan(controller, seen=time, ready=time))
        controller.on_image(time, same)
        order = controller.tick(time)
    return order.reason


def test_a_camera_that_shows_the_same_while_the_robot_drives_is_frozen(controller):
    assert drive_with(controller, same=True, until=2.0) is Reason.RUNNING
    assert drive_with(controller, same=True, until=2.5, start=2.05) is Reason.FROZEN_IMAGE
    assert drive_with(controller, same=True, until=60.0, start=2.55) is Reason.FROZEN_IMAGE
    controller.on_image(60.0, same=False)
    assert controller.tick(60.0).reason is Reason.RUNNING


def test_the_same_image_is_no_fault_where_it_is_allowed_or_the_robot_stands(controller):
    controller.configure(replace(NODE, frozen_timeout=0.0))
    assert drive_with(controller, same=True, until=5.0) is Reason.RUNNING
    controller.configure(NODE)
    controller.stop()
    assert drive_with(controller, same=True, until=10.0, start=5.05) is Reason.STOPPED
    controller.engage()
    assert drive_with(controller, same=True, until=11.5, start=10.05) is Reason.RUNNING
    assert drive_with(controller, same=True, until=13.0, start=11.55) is Reason.FROZEN_IMAGE
    controller.stop()
    controller.engage()  # a person has looked
    assert drive_with(controller, same=True, until=14.0, start=13.05) is Reason.RUNNING


def test_a_second_publisher_of_commands_stops_the_robot_unless_allowed(controller):
    controller.tick(0.05)
    controller.set_contested(True)
    order = keep_seeing(controller, 0.15)
    assert order.reason is Reason.CONTESTED
    assert is_zero(order)
    controller.configure(replace(NODE, exclusive=False))
    assert keep_seeing(controller, 0.25).reason is Reason.RUNNING
    controller.configure(NODE)
    controller.set_contested(False)
    assert keep_seeing(controller, 0.26).reason is Reason.RUNNING


def test_narrower_limits_hold_from_the_next_tick_on(controller):
    controller.set_limits(SPEC._replace(high=(0.01, 0.01)))
    assert controller.tick(0.05).action == pytest.approx([0.0, 0.01])


def test_a_goal_that_is_reached_stops_the_robot_until_the_next_or_until_engaged(
    controller,
):
    for go_on in (controller.new_goal, controller.engage):
        controller.on_image(0.0)
        controller.accept(plan(controller))
        assert controller.tick(0.05).reason is Reason.RUNNING
        controller.set_goal_reached(controller.era, reached=True)
        order = controller.tick(0.1)
        assert order.reason is Reason.GOAL_REACHED
        assert is_zero(order)
        assert not controller.needs_plans
        controller.restart()  # a clock that jumps is no new goal
        assert controller.tick(0.0).reason is Reason.GOAL_REACHED
        go_on()
        assert controller.needs_plans
        assert controller.tick(0.1).reason is Reason.NO_IMAGE


def test_a_goal_that_is_kept_is_monitored_and_driven_to_again_when_it_is_left(controller):
    controller.set_goal_reached(controller.era, reached=True, keep=True)
    assert controller.tick(0.05).reason is Reason.GOAL_REACHED
    assert controller.needs_plans
    controller.set_goal_reached(controller.era, reached=False, keep=True)
    assert controller.tick(0.05).reason is Reason.RUNNING


def test_word_of_a_goal_before_the_last_one_means_nothing(controller):
    before = controller.era
    controller.new_goal()
    controller.set_goal_reached(before, reached=True)
    assert controller.tick(0.0).reason is Reason.NO_IMAGE


def test_a_plan_of_an_old_image_stops_the_robot_however_new_the_newest_image_is(controller):
    controller.configure(replace(NODE, coast=100))
    assert keep_seeing(controller, 0.5).reason is Reason.RUNNING
    order = keep_seeing(controller, 0.51)
    assert order.reason is Reason.STALE_PLAN
    assert is_zero(order)
    assert controller.accept(plan(controller, seen=0.5, ready=0.55))
    assert keep_seeing(controller, 0.55).reason is Reason.RUNNING


def test_a_delay_that_is_known_is_no_age_of_a_plan(controller):
    controller.configure(replace(NODE, coast=100, camera_delay=0.3))
    assert keep_seeing(controller, 0.79).reason is Reason.RUNNING
    assert keep_seeing(controller, 0.81).reason is Reason.STALE_PLAN


def test_where_ticks_are_far_apart_an_image_may_be_older():
    slow = Controller(ActionSpec(('x', 'y'), (-1.0, -1.0), (1.0, 1.0), 0.4), 'zero', NODE)
    slow.new_goal()
    slow.on_image(0.0)
    assert slow.accept(plan(slow))
    assert keep_seeing(slow, 1.1).reason is Reason.RUNNING
    assert keep_seeing(slow, 1.21).reason is Reason.STALE_PLAN


def test_a_stop_outlasts_the_controller_that_received_it():
    latch = StopLatch()
    first = Controller(SPEC, 'zero', NODE, latch)
    first.stop()
    first.end()
    assert first.tick(0.0).reason is Reason.INACTIVE
    assert not first.engage(), 'it has ended'
    second = Controller(SPEC, 'zero', NODE, latch)
    assert second.tick(0.0).reason is Reason.STOPPED
    assert second.engage()
    assert second.tick(0.0).reason is Reason.NO_GOAL


def test_a_stop_that_was_there_before_wins_over_the_wait_for_an_engagement():
    latch = StopLatch()
    latch.set(Reason.STOPPED)
    made = Controller(SPEC, 'zero', replace(NODE, engage=False), latch)
    assert made.tick(0.0).reason is Reason.STOPPED
    assert made.engage()
    assert made.tick(0.0).reason is Reason.NO_GOAL


def test_an_image_that_was_received_before_the_goal_is_none_for_it(controller):
    era = controller.era
    controller.new_goal()
    controller.on_image(0.1, era=era)
    assert controller.tick(0.1).reason is Reason.NO_IMAGE
    controller.on_image(0.2, era=controller.era)
    assert controller.tick(0.2).reason is Reason.PLANNING


SLOW, STUCK, NOVEL = (
    Caution(True),
    Caution(True, Reason.NO_PROGRESS),
    Caution(True, Reason.NOVEL_IMAGE),
)


def test_caution_slows_the_commands_and_what_is_planned_from_them(controller):
    controller.configure(replace(NODE, slow_speed=0.25))
    controller.set_caution(controller.era, SLOW)
    order = keep_seeing(controller, 0.05)
    assert order.reason is Reason.RUNNING
    assert order.action == pytest.approx(0.25 * ROWS[0])
    assert controller.planned_action(0.15) == pytest.approx(0.25 * ROWS[1])
    controller.set_caution(controller.era, Caution())
    assert keep_seeing(controller, 0.15).action == pytest.approx(ROWS[1])


def test_a_robot_that_holds_positions_approaches_them_more_slowly():
    made = Controller(SPEC, 'hold', replace(NODE, slow_speed=0.5))
    made.new_goal()
    made.on_image(0.0)
    made.accept(plan(made))
    assert keep_seeing(made, 0.05).action == pytest.approx(ROWS[0])
    made.set_caution(made.era, SLOW)
    assert keep_seeing(made, 0.15).action == pytest.approx((ROWS[0] + ROWS[1]) / 2)


def test_novel_images_stop_the_robot_which_still_plans_until_they_are_usual(controller):
    keep_seeing(controller, 0.05)
    controller.set_caution(controller.era, NOVEL)
    order = keep_seeing(controller, 0.15)
    assert order.reason is Reason.NOVEL_IMAGE
    assert is_zero(order)
    assert controller.needs_plans
    controller.set_caution(controller.era, Caution())
    assert keep_seeing(controller, 0.25).reason is Reason.RUNNING


def test_a_goal_that_is_dropped_stops_the_robot_until_the_next_one(controller):
    keep_seeing(controller, 0.05)
    controller.new_goal(exists=False)
    assert is_zero(keep_seeing(controller, 0.15))
    assert not controller.needs_plans
    assert controller.tick(0.2).reason is Reason.NO_GOAL
    controller.engage()
    assert not controller.needs_plans
    controller.new_goal()
    assert controller.needs_plans


@pytest.mark.parametrize('begin', ['new_goal', 'engage'])
def test_no_progress_gives_the_goal_up_until_the_next_one_or_an_operator(controller, begin):
    keep_seeing(controller, 0.05)
    controller.set_caution(controller.era, STUCK)
    assert is_zero(keep_seeing(controller, 0.15))
    assert not controller.needs_plans
    assert controller.goal_end is Reason.NO_PROGRESS
    controller.set_caution(controller.era, Caution())
    controller.restart()  # time has jumped back
    assert keep_seeing(controller, 0.25).reason is Reason.NO_PROGRESS
    getattr(controller, begin)()
    assert controller.needs_plans
    controller.on_image(0.3)
    controller.accept(plan(controller, seen=0.3, ready=0.3))
    assert controller.tick(0.3).reason is Reason.RUNNING


def test_no_progress_towards_an_earlier_goal_does_not_end_the_next(controller):
    before = controller.era
    controller.new_goal()
    controller.set_caution(before, STUCK)
    assert controller.needs_plans


def test_engagements_that_allow_motion_again_are_counted(controller):
    controller.engage()
    assert controller.engagements == 0, 'it was engaged'
    controller.stop()
    controller.engage()
    assert controller.engagements == 1
    controller.set_caution(controller.era, Caution(True, Reason.NO_PROGRESS))
    controller.engage()
    assert controller.engagements == 2
