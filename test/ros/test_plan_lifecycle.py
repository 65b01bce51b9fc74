# SPDX-License-Identifier: Apache-2.0
"""Tests for the transitions of nodes/plan.py, and for its clocks."""

from array import array
import json
from pathlib import Path
import shutil
import threading

from builtin_interfaces.msg import Time
import cv2
from geometry_msgs.msg import Twist
from harness import picture, wait_until, world
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from smwm_ros.model.checkpoint import add_info
from std_msgs.msg import Float64MultiArray


def test_a_bad_checkpoint_fails_to_configure_and_leaves_the_node_alive(checkpoint, tmp_path):
    with world(tmp_path / 'nothing', 'node.autostart:=false') as here:
        assert not here.transition('configure')
        assert here.state() == 'unconfigured'
        here.wait_for('UNCONFIGURED')
        fixed = Parameter('checkpoint', value=str(checkpoint))
        assert here.set(fixed) == [(True, '')]
        assert here.transition('configure')
        assert here.state() == 'inactive'
        here.wait_for('INACTIVE')


def test_autostart_survives_a_bad_checkpoint_too(tmp_path):
    with world(tmp_path / 'nothing') as here:
        assert here.state() == 'unconfigured'


def test_an_unfit_model_is_refused_unless_it_is_accepted(checkpoint, tmp_path):
    unfit = Path(shutil.copytree(checkpoint, tmp_path / 'unfit'))
    add_info(unfit, verdict={'name': 'collapsed', 'why': 'shows nothing', 'advice': ['record']})
    with world(unfit) as here:
        wait_until(lambda: any('not fit' in line for line in here.log), 'the reason')
        (line,) = (line for line in here.log if 'not fit' in line)
        assert line.endswith(
            '(collapsed): shows nothing; record; to use it nevertheless: node.unfit:=accept'
        )
        assert here.state() == 'unconfigured'
    with world(unfit, 'node.unfit:=accept') as here:
        here.drive()
        wait_until(lambda: any('accepted by node.unfit' in line for line in here.log), 'the log')


def test_the_checkpoint_cannot_change_under_a_configured_node(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        ((success, reason),) = here.set(Parameter('checkpoint', value='elsewhere'))
        assert not success
        assert 'read-only while configured' in reason


def test_nothing_is_commanded_before_activation_and_deactivation_stops(checkpoint):
    with world(checkpoint, 'node.autostart:=false') as here:
        assert here.transition('configure')
        here.camera_on = True
        here.aim()
        here.wait_for('INACTIVE')
        assert here.commands == []
        assert here.transition('activate')
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert here.transition('deactivate')
        here.wait_for_rest()
        here.wait_for('INACTIVE')
        threading.Event().wait(0.3)
        assert here.last() == (0.0, 0.0)


def test_a_second_life_begins_like_the_first(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        for _ in range(2):
            assert here.transition('deactivate')
            assert here.transition('cleanup')
            here.wait_for('UNCONFIGURED')
            assert here.transition('configure')
            assert here.transition('activate')
            here.wait_for('RUNNING')  # the goal is latched, and comes again
            here.wait_for_motion()


def test_a_planner_that_hangs_for_good_is_left_behind(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        lost = here.pilot
        lost.hang = threading.Event()
        here.wait_for('PLANNER_LATE')
        assert here.transition('deactivate')
        assert here.transition('activate')
        here.wait_for('RUNNING')
        assert here.pilot is not lost


def test_shutdown_while_active_stops_the_robot(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        assert here.transition('active_shutdown')
        here.wait_for_rest()


def test_an_impossible_transition_is_refused_and_survived(checkpoint):
    with world(checkpoint, 'node.autostart:=false') as here:
        assert not here.transition('activate')
        assert here.state() == 'unconfigured'


def test_a_command_without_a_header_works_as_well(checkpoint):
    words = (
        'robot.command.type:=geometry_msgs/msg/Twist',
        'robot.command.fields:=[linear.x, angular.z]',
    )
    with world(checkpoint, *words, command_type=Twist) as here:
        here.camera_on = True
        here.aim()
        wait_until(lambda: here.commands, 'a command')
        assert (here.commands[0].linear.x, here.commands[0].angular.z) == (0.3, -0.2)


def test_an_array_command_holds_its_position_when_it_stops(checkpoint):
    words = (
        'robot.command.type:=std_msgs/msg/Float64MultiArray',
        "robot.command.fields:=['data[0:2]']",
        'robot.command.stop:=hold',
    )
    with world(checkpoint, *words, command_type=Float64MultiArray) as here:
        here.camera_on = True
        here.aim()
        wait_until(lambda: here.commands, 'a command')
        here.stop()
        here.wait_for('STOPPED')
        count = len(here.commands)
        wait_until(lambda: len(here.commands) > count + 2, 'stop commands')
        assert all(list(command.data) == [0.3, -0.2] for command in here.commands)


def test_a_compressed_camera_is_understood(checkpoint):
    kind = 'robot.camera.type:=sensor_msgs/msg/CompressedImage'
    with world(checkpoint, kind, 'robot.camera.topic:=/camera/compressed') as here:
        publisher = here.robot.create_publisher(CompressedImage, '/camera/compressed', 1)
        _, jpeg = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))
        message = CompressedImage(format='jpeg', data=array('B', jpeg.tobytes()))
        here.aim()

        def driven():
            publisher.publish(message)
            return here.commands

        wait_until(driven, 'a command')
        assert abs(here.pilot.seen[-1] - 90) <= 2


def test_a_publisher_with_incompatible_qos_is_named_with_the_remedy(checkpoint):
    with world(checkpoint, 'node.camera_reliability:=reliable') as here:
        here.wait_for('NO_GOAL')
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image

        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        here.robot.create_publisher(Image, '/camera/image_raw', qos)
        here.wait_for_log('set node.camera_reliability to best_effort')


def test_the_goal_number_and_stamp_are_published(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        goal = picture(5)
        goal.header.stamp = Time(sec=12, nanosec=500_000_000)
        here.publish_goal(goal)
        wait_until(lambda: here.accepted, 'the goal')
        assert json.loads(here.accepted[0]) == {
            'number': 1,
            'source': '/goal/image',
            'stamp': 12.5,
            'subgoals': 1,
        }


class SimulatedTime:
    """Publishes /clock as fast as the wall, from where it is reported."""

    def __init__(self, node):
        self._publisher = node.create_publisher(Clock, '/clock', 1)
        self.time = 100.0
        self.runs = True
        node.create_timer(0.01, self._on_timer)

    def _on_timer(self):
        if self.runs:
            self.time += 0.01
            stamp = Time(sec=int(self.time), nanosec=int(self.time % 1 * 1e9))
            self._publisher.publish(Clock(clock=stamp))


def test_simulated_time_moves_the_robot_and_its_end_stops_it(checkpoint):
    with world(checkpoint, 'use_sim_time:=true') as here:
        here.camera_on = True
        here.aim()
        here.wait_for('NO_CLOCK')
        assert here.commands == []
        clock = SimulatedTime(here.robot)
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert here.commands[-1].header.stamp.sec < 1000
        clock.runs = False
        here.wait_for('NO_CLOCK')
        here.wait_for_rest()
        clock.runs = True
        here.wait_for('RUNNING')
        here.wait_for_motion()
        clock.time -= 50.0
        count = len(here.commands)
        wait_until(lambda: len(here.commands) > count + 5, 'commands after the jump')
        here.wait_for('RUNNING')


@pytest.mark.parametrize('word', ['node.autostart:=true', 'node.autostart:=false'])
def test_the_node_can_be_ended_in_any_state(checkpoint, word):
    with world(checkpoint, word) as here:
        here.wait_for('NO_GOAL' if 'true' in word else 'UNCONFIGURED')
