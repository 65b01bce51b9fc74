# SPDX-License-Identifier: Apache-2.0
"""Faults put into a plan node that drives: it stops, says why, and goes on when they pass."""

from array import array
import multiprocessing
import os
import subprocess
import sys
import threading

from geometry_msgs.msg import TwistStamped
from harness import picture, wait_until, world
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from smwm_ros.planning.pilot import Pilot
from trajectory_msgs.msg import JointTrajectory

UNRELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def short():
    """Return an image of 30 bytes that says it has more."""
    message = picture(10)
    message.data = array('B', [1] * 30)
    return message


def unknown():
    """Return an image in an encoding that nobody knows."""
    message = picture(10)
    message.encoding = 'sepia'
    return message


def larger():
    """Return an image that says it is larger than it is."""
    message = picture(10)
    message.width = message.height = 640
    message.step = 3 * 640
    return message


def endless():
    """Return an image with rows that are longer than memory."""
    message = picture(10)
    message.width = message.height = message.step = 2**31
    return message


@pytest.mark.parametrize('spoil', [short, unknown, larger, endless, Image])
def test_images_that_are_none_stop_a_robot_that_drives_until_good_ones_come(checkpoint, spoil):
    with world(checkpoint, 'node.image_timeout:=0.2') as here:
        here.drive()
        here.spoil = spoil
        here.wait_for('STALE_IMAGE')
        here.wait_for_rest()
        assert here.values()['frames_bad'] > 0
        here.spoil = None
        here.wait_for('RUNNING')
        here.wait_for_motion()


def fuzz(rng, good):
    """Return a thousand messages of nonsense: fields, wire format, and bytes that are nothing."""
    encodings = ['rgb8', 'mono16', 'nv12', 'bayer_rggb8', '32FC1', 'yuv422', '']
    for number in range(1000):
        kind = number % 4
        if kind == 0:
            yield rng.bytes(int(rng.integers(0, 300)))
        elif kind == 1:
            data = bytearray(good)
            for place in rng.integers(4, len(data), 3):
                data[place] = rng.integers(256)
            yield bytes(data)
        else:
            image = Image(encoding=str(rng.choice(encodings)))
            image.height, image.width, image.step = (int(n) for n in rng.integers(0, 40, 3))
            image.is_bigendian = int(rng.integers(256))
            image.data = array('B', rng.bytes(int(rng.integers(0, 200))))
            yield image


def test_a_thousand_messages_of_random_bytes_are_survived(checkpoint):
    rng = np.random.default_rng(0)
    with world(checkpoint) as here:
        here.drive()
        here.camera_on = False
        for message in fuzz(rng, serialize_message(picture(10))):
            heard = here.frames
            here.show(message)
            if isinstance(message, Image):  # what is no message at all reaches nobody
                wait_until(lambda heard=heard: here.frames > heard, 'the image to be heard')
        assert here.values()['frames_bad'] > 300
        here.wait_for('STALE_IMAGE')
        here.camera_on = True
        here.wait_for('RUNNING')
        here.wait_for_motion()


def test_a_camera_that_shows_the_same_again_and_again_stops_the_robot(checkpoint):
    with world(checkpoint, 'node.frozen_timeout:=0.3') as here:
        here.drive()
        here.spoil = lambda: picture(50)
        here.wait_for('FROZEN_IMAGE')
        here.wait_for_rest()
        here.spoil = None
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert here.values()['frames_same'] > 0


def test_images_of_a_camera_that_restarts_as_another_publisher_are_received(checkpoint):
    with world(checkpoint, 'node.image_timeout:=0.2') as here:
        here.drive()
        here.restart_camera(BEST_EFFORT)
        here.camera_on = False
        here.wait_for('STALE_IMAGE')
        here.camera_on = True
        here.wait_for('RUNNING')


def test_images_with_old_stamps_count_as_none_where_stamps_are_trusted(checkpoint):
    with world(checkpoint, 'node.stamp_timeout:=0.5', 'node.image_timeout:=0.2') as here:
        here.age = 0.0
        here.drive()
        here.age = 10.0
        here.wait_for('STALE_IMAGE')
        here.wait_for_rest()
        here.age = 0.0
        here.wait_for('RUNNING')


def test_numbers_that_are_none_from_the_model_stop_the_robot(checkpoint):
    pilots = []

    def make(made, planner):
        pilots.append(Pilot(made, planner))
        return pilots[-1]

    with world(checkpoint, make_pilot=make) as here:
        here.drive()
        weight = next(pilots[-1]._model.parameters()).data
        good = weight.clone()
        weight.fill_(float('nan'))
        here.wait_for('BAD_PLAN')
        here.wait_for_rest()
        weight.copy_(good)
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert all(np.isfinite(command.twist.linear.x) for command in here.commands)


@pytest.mark.parametrize('spoil', [short, unknown, Image])
def test_a_goal_that_cannot_be_read_is_none_and_leaves_the_old_one(checkpoint, spoil):
    with world(checkpoint) as here:
        here.camera_on = True
        here.wait_for('NO_GOAL')
        here.publish_goal(spoil())
        here.wait_for_log('goal not used')
        assert here.status == 'NO_GOAL'
        here.aim(30)
        here.wait_for('RUNNING')
        here.publish_goal(spoil())
        wait_until(lambda: here.frames, 'life')
        assert here.pilot.goals == [30]


def test_another_commander_stops_the_robot_until_it_is_gone(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        other = here.robot.create_publisher(TwistStamped, '/cmd_vel', 1)
        here.wait_for('CONTESTED')
        here.wait_for_rest()
        assert here.set(Parameter('node.exclusive', value=False)) == [(True, '')]
        here.wait_for('RUNNING')
        assert here.set(Parameter('node.exclusive', value=True)) == [(True, '')]
        here.wait_for('CONTESTED')
        here.robot.destroy_publisher(other)
        here.wait_for('RUNNING')
        here.wait_for_motion()


def test_a_command_that_cannot_be_published_stops_the_robot_until_it_is_engaged(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        publisher = here.active.output.publisher
        publish, publisher.publish = publisher.publish, lambda message: 1 / 0
        here.wait_for('COMMAND_ERROR')
        publisher.publish = publish
        here.wait_for_rest()
        here.engage()
        here.wait_for('RUNNING')
        here.wait_for_motion()


def burn():
    """Keep one core busy for good."""
    while True:
        pass


def test_on_a_machine_that_is_fully_busy_the_robot_still_stops_and_goes_on(checkpoint):
    burners = [
        multiprocessing.get_context('fork').Process(target=burn, daemon=True)
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    with world(checkpoint) as here:
        here.drive()
        for burner in burners:
            burner.start()
        try:
            count = len(here.commands)
            wait_until(lambda: len(here.commands) > count + 10, 'commands under load')
            here.camera_on = False
            here.wait_for('STALE_IMAGE')
            here.wait_for_rest()
            here.camera_on = True
            here.wait_for('RUNNING')
            here.wait_for_motion()
        finally:
            for burner in burners:
                burner.kill()
                burner.join()


SENDER = """
import numpy as np, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
rclpy.init()
node = rclpy.create_node('camera')
qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
camera = node.create_publisher(Image, '/camera/image_raw', qos)
image = fill_image(Image(), np.zeros((480, 640, 3), np.uint8))
node.create_timer(1 / 30, lambda: camera.publish(image))
rclpy.spin(node)
"""


def test_lost_images_are_counted_and_reported_with_the_remedy(checkpoint):
    environment = dict(os.environ)
    del environment['FASTDDS_DEFAULT_PROFILES_FILE']  # half a megabyte of shared memory
    with world(checkpoint) as here:
        sender = subprocess.Popen([sys.executable, '-c', SENDER], env=environment)
        try:
            here.wait_for('NO_GOAL')
            wait_until(lambda: here.values()['frames_lost'] > 0, 'lost images')
            wait_until(
                lambda: 'lost in the last second' in here.health.get('message', ''), 'a warning'
            )
            assert 'FASTDDS_DEFAULT_PROFILES_FILE' in here.health['message']
            assert here.health['level'] == b'\x01'
        finally:
            sender.kill()
            sender.wait()


def test_incompatible_qos_of_commands_or_goals_is_reported_with_the_remedy(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        here.robot.create_subscription(TwistStamped, '/cmd_vel', lambda message: None, latched)
        here.robot.create_publisher(Image, '/goal/image', UNRELIABLE)
        here.wait_for_log(
            '/cmd_vel: a subscriber has incompatible QoS (durability)',
            '/goal/image: a publisher has incompatible QoS (reliability); publish the goal with '
            'reliable QoS',
        )


@pytest.mark.parametrize('how', ['deactivate', 'stop'])
def test_a_robot_whose_commands_may_not_jump_slows_down_to_its_stop(checkpoint, how):
    with world(checkpoint, 'node.max_rate:=[2.0]') as here:
        here.drive()
        wait_until(lambda: here.last() == (0.3, -0.2), 'full speed')
        if how == 'stop':
            here.stop()
        else:
            assert here.transition('deactivate')
        here.wait_for_rest()
        speeds = np.array([command.twist.linear.x for command in here.commands])
        assert np.abs(np.diff(speeds, prepend=0.0)).max() <= 2.0 * 0.05 + 1e-9
        assert speeds.max() == pytest.approx(0.3)


def test_limits_and_horizon_change_while_the_robot_drives_and_never_beyond_the_model(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        first = here.pilot
        high = Parameter('robot.command.high', value=[0.1, 0.1])
        assert here.set(high) == [(True, '')]
        assert here.pilot is not first
        wait_until(lambda: here.last() == (0.1, -0.2), 'a slower robot')
        here.wait_for('RUNNING')
        ((success, reason),) = here.set(Parameter('robot.command.high', value=[9.0, 9.0]))
        assert not success
        assert 'expected limits within those of training' in reason
        assert here.set(Parameter('robot.command.high', value=[0.5, 0.4])) == [(True, '')]
        assert here.set(Parameter('planner.horizon', value=3)) == [(True, '')]
        assert here.pilot.planner.horizon == 3
        ((success, reason),) = here.set(Parameter('node.max_rate', value=[1.0, 1.0, 1.0]))
        assert not success
        assert 'one for each of twist.linear.x, twist.linear.y' in reason
        assert here.set(Parameter('node.max_rate', value=[1.0])) == [(True, '')]
        wait_until(lambda: here.last() == (0.3, -0.2), 'the first speed')


def test_a_seed_gives_one_first_plan(checkpoint):
    class Recorder(Pilot):
        """Remembers what it planned from the picture of this test."""

        def plan(self, pixels, *words, **named):
            made = super().plan(pixels, *words, **named)
            if (pixels == 90).all():
                plans.append(made.actions)
            return made

    first = []
    for seed in (0, 0, 1):
        plans = list[np.ndarray]()
        words = (f'planner.seed:={seed}', 'node.compensate:=false')
        with world(checkpoint, *words, make_pilot=Recorder) as here:
            here.spoil = lambda: picture(90)
            here.drive()
            first.append(plans[0])
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_waiting_is_a_warning_and_the_cost_of_every_plan_is_published(checkpoint):
    with world(checkpoint) as here:
        here.camera_on = True
        wait_until(lambda: here.health.get('reason') == 'NO_GOAL', 'diagnostics')
        assert here.health['level'] == b'\x01'
        here.drive()
        wait_until(lambda: here.stats, 'stats')
        assert here.stats[0]['cost'] == 1.0
        assert here.stats[0]['shares'] == {'goal': 0.75, 'effort': 0.25}
        wait_until(lambda: here.health.get('cost_effort') == '0.250', 'the share of effort')
        assert here.stats[0]['plan_ms'] >= 0


def test_a_robot_waits_for_its_first_plan_however_long_that_takes(checkpoint):
    with world(checkpoint) as here:
        wait_until(lambda: here.pilots, 'a pilot')
        here.pilot.hang = threading.Event()
        here.camera_on = True
        here.aim()
        here.wait_for('PLANNING')
        assert here.commands == []
        here.pilot.hang.set()
        here.wait_for('RUNNING')


def test_a_trajectory_is_commanded_joint_by_joint_and_held_when_the_robot_stops(checkpoint):
    words = (
        'robot.command.type:=trajectory_msgs/msg/JointTrajectory',
        "robot.command.fields:=['points[0].positions[joint_names=elbow,wrist]']",
        'robot.command.stop:=hold',
    )
    with world(checkpoint, *words, command_type=JointTrajectory) as here:
        here.camera_on = True
        here.aim()
        wait_until(lambda: here.commands, 'a command')
        here.stop()
        here.wait_for('STOPPED')
        count = len(here.commands)
        wait_until(lambda: len(here.commands) > count + 2, 'stop commands')
        for command in here.commands:
            assert list(command.joint_names) == ['elbow', 'wrist']
            (point,) = command.points
            assert list(point.positions) == [0.3, -0.2]
            assert point.time_from_start.nanosec == 50_000_000
