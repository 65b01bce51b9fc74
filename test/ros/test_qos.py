# SPDX-License-Identifier: Apache-2.0
"""What waits in a queue is old: an image or a command that was overtaken is never delivered."""

import time

from harness import picture, wait_until, world
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from smwm_ros.config import Node
from smwm_ros.nodes.messages import camera_qos, COMMAND, LATCHED, VOLATILE

BURST = 10  # messages that come while nobody listens


@pytest.fixture
def node():
    rclpy.init()
    made = rclpy.create_node('listener')
    yield made
    made.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize('reliability', ['best_effort', 'reliable'])
def test_after_a_pause_only_the_newest_image_is_received(node, reliability):
    heard = list[Image]()
    camera = node.create_publisher(Image, '/camera', QoSProfile(depth=2 * BURST))
    node.create_subscription(Image, '/camera', heard.append, camera_qos(reliability))
    wait_until(lambda: camera.get_subscription_count(), 'a subscription')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    for grey in range(BURST):
        camera.publish(picture(grey))
    time.sleep(0.3)  # a planner holds the executor up

    def came():
        executor.spin_once(timeout_sec=0.05)
        return heard and heard[-1].data[0] == BURST - 1

    wait_until(came, 'the newest image')
    executor.shutdown()
    # One more might have come between the first look and the last image.
    assert len(heard) <= 2, [message.data[0] for message in heard]


def test_a_node_keeps_one_image_of_every_camera_and_one_command(checkpoint):
    with world(checkpoint) as here:
        cameras = here.active.cameras.subscriber.subscriptions
        assert [item.qos_profile.depth for item in cameras] == [1]
        assert cameras[0].qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        assert cameras[0].qos_profile.durability == DurabilityPolicy.VOLATILE
        (commands,) = (item for item in here.plan.publishers if item.topic_name == '/cmd_vel')
        assert commands.qos_profile.depth == 1
        assert commands.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        # A robot that comes later must not begin with a command of the past.
        assert commands.qos_profile.durability == DurabilityPolicy.VOLATILE


def test_the_qualities_of_service_are_as_documented():
    assert Node().camera_reliability == 'best_effort'
    for qos in (COMMAND, LATCHED, camera_qos('reliable')):
        assert (qos.depth, qos.history) == (1, HistoryPolicy.KEEP_LAST)
        assert qos.reliability == ReliabilityPolicy.RELIABLE
    assert LATCHED.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert VOLATILE.depth > 1, 'goals that come in a row are all heard'
