# SPDX-License-Identifier: Apache-2.0
"""Who else is on the topics of the plan node: other publishers, other types, other robots."""

from contextlib import contextmanager, ExitStack
from itertools import count
import json
import os
import threading

from geometry_msgs.msg import Twist, TwistStamped
from harness import picture, png, wait_until, world
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import Float32, String


@pytest.mark.parametrize('qos', [QoSProfile(depth=10), LATCHED], ids=['default', 'latched'])
def test_goals_are_received_from_every_kind_of_publisher_and_each_counts_once(
    checkpoint, tmp_path, qos
):
    GoalLibrary(tmp_path).save('dock', [np.full((8, 8, 3), 77, np.uint8)])
    with world(checkpoint, f'goal.folder:={tmp_path}') as here:
        here.camera_on = True
        here.wait_for('NO_GOAL')
        name = here.robot.create_publisher(String, '/goal/name', qos)
        image = here.robot.create_publisher(Image, '/goal/image', qos)
        wait_until(lambda: name.get_subscription_count() + image.get_subscription_count(), 'ears')
        heard = 2 if qos is LATCHED else 1  # of the two subscriptions
        wait_until(lambda: name.get_subscription_count() == heard, 'all ears')
        name.publish(String(data='dock'))
        wait_until(lambda: here.pilot.goals == [77], 'the named goal')
        image.publish(picture(50))
        wait_until(lambda: here.pilot.goals[-1] == 50, 'the shown goal')
        here.wait_for('RUNNING')
        here.frames_more(20)
        assert [json.loads(text)['number'] for text in here.accepted] == [1, 2]


def test_a_name_that_is_published_again_and_again_leaves_the_robot_driving(checkpoint, tmp_path):
    GoalLibrary(tmp_path).save('dock', [np.full((8, 8, 3), 77, np.uint8)])
    with world(checkpoint, f'goal.folder:={tmp_path}') as here:
        here.camera_on = True
        name = here.robot.create_publisher(String, '/goal/name', 10)
        here.robot.create_timer(0.02, lambda: name.publish(String(data='dock')))
        here.wait_for('RUNNING')
        here.frames_more(30)
        assert len(here.accepted) == 1
        assert here.statuses[here.statuses.index('RUNNING') :] == ['RUNNING']


def test_a_goal_of_many_megabytes_is_not_looked_at(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        name = here.robot.create_publisher(String, '/goal/name', 10)
        wait_until(name.get_subscription_count, 'an ear')
        name.publish(String(data='x' * 5_000_000))
        here.wait_for_log('/goal/name: a message of 5')
        assert here.status == 'RUNNING'


CASES = {
    'camera': ('/camera/image_raw', CompressedImage, True, 'set robot.camera.type'),
    'goal': (
        '/goal/image',
        CompressedImage,
        True,
        'this node subscribes to sensor_msgs/msg/Image; publish that type',
    ),
    'command': ('/cmd_vel', Twist, False, 'set robot.command.type'),
}


@contextmanager
def stranger():
    """Make a node that is, to the middleware, a process of its own."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node('stranger', context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


@pytest.mark.parametrize('case', CASES)
def test_a_node_of_another_type_is_named_in_log_and_diagnostics(checkpoint, case):
    topic, kind, publishes, remedy = CASES[case]
    full = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
    with world(checkpoint) as here:
        with stranger() as node:
            if publishes:
                node.create_publisher(kind, topic, 1)
            else:
                node.create_subscription(kind, topic, lambda message: None, 1)
            here.wait_for_log(f'{topic}: /stranger ')
            assert any(full in line and remedy in line for line in here.log)
            wait_until(lambda: full in here.health.get('message', ''), 'diagnostics')
            assert here.health['level'] >= b'\x01'
        wait_until(lambda: full not in here.health.get('message', ''), 'the end of it')


def test_a_camera_that_publishes_compressed_images_alone_is_found(checkpoint):
    with world(checkpoint, 'robot.camera.topic:=/eye') as here:
        grey = count(60)
        small = here.robot.create_publisher(CompressedImage, '/eye/compressed', 1)
        here.robot.create_timer(0.02, lambda: small.publish(png(next(grey) % 200)))
        here.aim()
        here.wait_for_log('/eye: no publisher, so the images of /eye/compressed are used')
        here.wait_for('RUNNING')
        assert here.pilot.seen[0] >= 60
        # Raw images that come later are not used beside them.
        raw = here.robot.create_publisher(Image, '/eye', 1)
        here.frames_more(100)
        assert not raw.get_subscription_count()
        assert here.status == 'RUNNING'
    assert not any('its images come as' in line for line in here.log)


def test_a_camera_that_has_sent_images_keeps_its_topic(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        here.camera_on = False
        here.restart_camera(None)
        here.robot.create_publisher(CompressedImage, '/camera/image_raw/compressed', 1)
        other = '/camera/image_raw/compressed: set '
        here.wait_for_log(f'/camera/image_raw: no publisher, but its images come as {other}')
        assert any('robot.camera.type=sensor_msgs/msg/CompressedImage' in x for x in here.log)
        assert not any('/goal/image: no publisher' in line for line in here.log)
        assert here.frames
        assert not any('are used' in line for line in here.log)


def test_commands_without_a_subscriber_are_reported(checkpoint):
    with world(checkpoint, 'robot.command.topic:=/elsewhere') as here:
        here.wait_for_log('/elsewhere: no subscriber for the commands')
        wait_until(lambda: 'no subscriber' in here.health.get('message', ''), 'diagnostics')
        here.robot.create_subscription(TwistStamped, '/elsewhere', lambda message: None, 1)
        wait_until(lambda: 'no subscriber' not in here.health['message'], 'the end of it')


def test_numbers_of_plans_are_plain_topics_too(checkpoint):
    with world(checkpoint) as here:
        heard = {}
        names = ('plan_ms', 'image_age_ms', 'cost', 'spread', 'distance')
        for name in names:
            here.robot.create_subscription(
                Float32, f'/plan/stats/{name}', lambda m, n=name: heard.update({n: m.data}), 10
            )
        here.drive()
        wait_until(lambda: len(heard) == len(names), 'all numbers')
        assert heard['cost'] == 1.0
        assert heard['distance'] == 2.0


@contextmanager
def listener():
    """Hear the status of two robots."""
    rclpy.init()
    node = rclpy.create_node('listener')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    statuses: dict[str, list[str]] = {name: [] for name in ('left', 'right')}
    for name, heard in statuses.items():
        node.create_subscription(
            String, f'/{name}/plan/status', lambda m, h=heard: h.append(m.data), LATCHED
        )
    try:
        yield statuses
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown()


def test_two_robots_drive_side_by_side_in_namespaces_of_their_own(tmp_path):
    with listener() as statuses, ExitStack() as children:
        for name in statuses:
            words = ['-r', f'__ns:=/{name}']
            for module, knobs in (
                ('arena', {'arena': {'image_size': 64}, 'sim': {'auto_next': 1.0}}),
                ('plan', {'node': {'frozen_timeout': 0.0}}),
            ):
                folder = tmp_path / name
                child = ChildProcess(f'smwm_ros.nodes.{module}', knobs, folder, os.environ, words)
                children.enter_context(child)
        for name, heard in statuses.items():
            wait_until(lambda h=heard: h.count('RUNNING') >= 1, f'{name} to drive')
            assert 'CONTESTED' not in heard
        for name in statuses:
            log = (tmp_path / name / 'plan.log').read_text()
            assert f'/{name}/camera/image_raw -> /{name}/cmd_vel' in log, 'as they are in the end'
