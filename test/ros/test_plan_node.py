# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/plan.py in the company of a robot, with a pilot of known behaviour."""

from array import array
import threading

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
from harness import picture, wait_until, world
import numpy as np
import pytest
from sensor_msgs.msg import Image
from smwm_ros.control.reasons import Reason
from smwm_ros.nodes.diagnostics import level_of


def test_images_become_commands_that_are_stamped_framed_and_within_limits(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        wait_until(lambda: len(here.commands) >= 5, 'five commands')
        for command in here.commands:
            assert (command.twist.linear.x, command.twist.linear.y) == (0.3, -0.2)
            assert command.header.frame_id == 'base_link'
            assert command.header.stamp.sec > 0
        assert here.pilot.warm


def test_what_the_pilot_asks_beyond_the_limits_is_clipped_and_counted(checkpoint):
    with world(checkpoint) as here:
        wait_until(lambda: here.pilots, 'a pilot')
        here.pilot.action = (9.0, -9.0)
        here.drive()
        assert here.last() == (0.5, -0.4)
        wait_until(lambda: here.values()['guard_hits'] > 0, 'guard hits')


def test_without_a_goal_nothing_is_commanded(checkpoint):
    with world(checkpoint) as here:
        here.camera_on = True
        here.wait_for('NO_GOAL')
        wait_until(lambda: here.frames >= 10, 'ten images')
        assert here.commands == []
        assert here.pilot.seen == []


def test_without_images_a_goal_moves_nothing(checkpoint):
    with world(checkpoint) as here:
        here.aim()
        here.wait_for('NO_IMAGE')
        assert here.commands == []


def test_a_camera_that_stops_stops_the_robot_and_its_return_goes_on(checkpoint):
    with world(checkpoint, 'node.image_timeout:=0.2') as here:
        here.drive()
        here.camera_on = False
        here.wait_for('STALE_IMAGE')
        here.wait_for_rest()
        here.camera_on = True
        here.wait_for('RUNNING')
        here.wait_for_motion()


def test_the_stop_command_falls_silent_after_its_duration(checkpoint):
    with world(checkpoint, 'node.stop_duration:=0.2') as here:
        here.drive()
        here.stop()
        here.wait_for_rest()
        quiet = threading.Event()
        count = -1
        while count != len(here.commands):  # grows while stop commands still come
            count = len(here.commands)
            quiet.wait(0.5)
        assert here.last() == (0.0, 0.0)
        assert here.status == 'STOPPED'


def garbage():
    """Yield images that are none."""
    yield Image()
    short = picture(10)
    short.data = array('B', [1] * 30)
    yield short
    unknown = picture(10)
    unknown.encoding = 'sepia'
    yield unknown
    huge = picture(10)
    huge.width = huge.height = 2**31
    yield huge
    rng = np.random.default_rng(0)
    for _ in range(50):
        fuzz = Image(encoding=str(rng.choice(['rgb8', 'mono16', 'nv12', 'bayer_rggb8', ''])))
        fuzz.height, fuzz.width, fuzz.step = (int(n) for n in rng.integers(0, 40, 3))
        fuzz.data = array('B', rng.bytes(int(rng.integers(0, 200))))
        yield fuzz


def test_malformed_images_are_counted_and_survived(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        for message in garbage():
            heard = here.frames
            here.show(message)
            wait_until(lambda heard=heard: here.frames > heard, 'the image to be heard')
        wait_until(lambda: here.values()['frames_bad'] >= 4, 'bad images')
        here.drive()
        assert here.last() == (0.3, -0.2)


def test_only_bad_images_count_as_no_images(checkpoint):
    with world(checkpoint, 'node.image_timeout:=0.2') as here:
        here.drive()
        here.camera_on = False
        short = picture(10)
        short.data = array('B', [1] * 30)

        def stale():
            here.show(short)
            return here.status == 'STALE_IMAGE'

        wait_until(stale, 'a stop in spite of bad images')
        here.wait_for_rest()


@pytest.mark.parametrize('number', [np.nan, np.inf])
def test_a_plan_that_is_not_finite_stops_the_robot_until_a_good_one(checkpoint, number):
    with world(checkpoint) as here:
        here.drive()
        here.pilot.action = (number, 0.0)
        here.wait_for('BAD_PLAN')
        here.wait_for_rest()
        here.pilot.action = (0.1, 0.1)
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert all(np.isfinite(command.twist.linear.x) for command in here.commands)


def test_a_planner_that_raises_stops_the_robot_until_it_recovers(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        here.pilot.error = RuntimeError('out of memory')
        here.wait_for('PLANNER_ERROR')
        here.wait_for_rest()
        here.pilot.error = None
        here.wait_for('RUNNING')
        wait_until(lambda: here.values()['planner_errors'] > 0, 'the count of errors')


def test_a_planner_that_hangs_stops_the_robot_after_coasting(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        here.pilot.hang = threading.Event()
        here.wait_for('PLANNER_LATE')
        here.wait_for_rest()
        here.pilot.hang.set()
        here.wait_for('RUNNING')


def test_a_slow_planner_gets_the_newest_image_and_skips_the_others(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        here.pilot.hang = threading.Event()
        wait_until(lambda: here.status == 'PLANNER_LATE', 'the planner to be late')
        shown = here.grey
        wait_until(lambda: (here.grey - shown) % 250 > 20, 'twenty images more')
        count, shown = len(here.pilot.seen), shown + 15  # the last ones may be on their way
        hang, here.pilot.hang = here.pilot.hang, None
        hang.set()
        wait_until(lambda: len(here.pilot.seen) > count, 'the next plan')
        assert (here.pilot.seen[count] - shown) % 250 < 125  # that one or a later one


def test_stop_and_engage(checkpoint):
    with world(checkpoint, 'node.engage:=false') as here:
        here.camera_on = True
        here.aim()
        here.wait_for('NOT_ENGAGED')
        assert here.engage().success
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert here.stop().success
        here.wait_for('STOPPED')
        here.wait_for_rest()
        here.engage()
        here.wait_for('RUNNING')
        here.engage(False)
        here.wait_for('NOT_ENGAGED')


def test_engaging_a_node_that_is_not_active_is_refused(checkpoint):
    with world(checkpoint, 'node.autostart:=false') as here:
        answer = here.engage()
        assert not answer.success
        assert 'not active' in answer.message


def test_a_new_goal_replaces_the_old_one_and_the_same_one_does_not(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        here.aim(200)  # the same picture, the same stamp
        here.aim(77)
        wait_until(lambda: here.pilot.goals[-1] == 77, 'the new goal')
        assert here.pilot.goals == [200, 77]
        wait_until(lambda: len(here.accepted) == 2, 'word of both goals')
        here.wait_for('RUNNING')


def test_a_goal_may_be_a_picture_file(checkpoint, tmp_path):
    file = tmp_path / 'goal.png'
    cv2.imwrite(str(file), np.full((30, 40, 3), (1, 2, 123), np.uint8))  # blue, green, red
    with world(checkpoint, f'goal_image:={file}') as here:
        here.camera_on = True
        here.wait_for('RUNNING')
        assert here.pilot.goals == [123]


def test_a_goal_file_that_is_none_refuses_to_configure(checkpoint, tmp_path):
    with world(checkpoint, f'goal_image:={tmp_path}/none.png', 'node.autostart:=false') as here:
        assert not here.transition('configure')
        assert here.state() == 'unconfigured'


def test_a_dry_run_plans_and_reports_but_commands_nothing(checkpoint):
    with world(checkpoint, 'node.dry_run:=true') as here:
        here.camera_on = True
        here.aim()
        here.wait_for('RUNNING')
        wait_until(lambda: len(here.pilot.seen) >= 5, 'five plans')
        wait_until(lambda: 'dry run' in here.health.get('message', ''), 'a warning')
        assert here.commands == []


def test_diagnostics_have_rates_times_and_counts(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        wait_until(lambda: int(here.health.get('commands', 0)) > 10, 'numbers')
        assert here.health['reason'] == 'RUNNING'
        assert here.health['level'] == b'\x00'
        assert float(here.health['rate_hz']) > 0
        assert float(here.health['plan_ms_p50']) <= float(here.health['plan_ms_p99'])
        assert int(here.health['frames']) >= int(here.health['plans'])
        here.camera_on = False
        here.wait_for('STALE_IMAGE')
        wait_until(lambda: here.health['level'] == b'\x02', 'an error level')


def test_a_real_pilot_drives_within_limits(checkpoint):
    from smwm_ros.planning.pilot import Pilot

    with world(checkpoint, make_pilot=Pilot) as here:
        here.drive()
        wait_until(lambda: len(here.commands) >= 5, 'five commands')
        for command in here.commands:
            assert abs(command.twist.linear.x) <= 0.5
            assert abs(command.twist.linear.y) <= 0.4


@pytest.mark.parametrize(
    ('to_go', 'in_stats', 'in_health'),
    [(7.5, 7.5, 7.5), (float('inf'), 'no way known', float('inf'))],
)
def test_the_distance_along_a_roadmap_is_published(checkpoint, to_go, in_stats, in_health):
    with world(checkpoint) as here:
        wait_until(lambda: here.pilots, 'a pilot')
        here.pilot.to_go = to_go
        here.drive()
        wait_until(lambda: here.values().get('to_go') == in_health, 'the way that is left')
        assert here.stats[-1]['to_go'] == in_stats


def test_a_plan_of_an_image_that_is_old_by_now_is_not_followed(checkpoint):
    with world(checkpoint, 'node.coast:=100', 'node.image_timeout:=0.2') as here:
        here.drive()
        here.pilot.hang = threading.Event()  # images go on, and the plan would, too
        here.wait_for('STALE_PLAN')
        here.wait_for_rest()
        assert level_of(Reason.STALE_PLAN) == DiagnosticStatus.ERROR
        here.pilot.hang.set()
        here.pilot.hang = None
        here.wait_for('RUNNING')


def test_a_planner_slower_than_its_plans_stops_the_robot_and_logs_the_reason(
    checkpoint,
):
    with world(checkpoint, 'node.coast:=100', 'node.image_timeout:=5.0') as here:
        here.drive()
        here.pilot.delay = 0.7  # of plans of 0.5 s
        here.wait_for('STALE_PLAN')
        here.wait_for_log('check node.camera_delay, node.actuation_delay and planner.horizon')
        here.pilot.delay = 0.0
        here.wait_for('RUNNING')
