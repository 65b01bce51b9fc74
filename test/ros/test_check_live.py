# SPDX-License-Identifier: Apache-2.0
"""`smwm check --live` listens to a running robot, publishes nothing, and says what is wrong."""

from contextlib import contextmanager
from pathlib import Path
import threading
import time

from geometry_msgs.msg import Twist, TwistStamped
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from remote import arena
from sensor_msgs.msg import CompressedImage, Image
from smwm_ros.cli import main as smwm
from smwm_ros.codec.images import fill_image
from smwm_ros.verbs import options

SHIPPED = Path(__file__).resolve().parents[2] / 'models' / 'two_room'
RELIABLE = QoSProfile(depth=5)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def check(*words):
    """Return the exit code of a check."""
    return smwm(['check', str(SHIPPED), '--live', *words])


@contextmanager
def robot(
    image=Image,
    camera='/camera/image_raw',
    qos=RELIABLE,
    driver=TwistStamped,
    heard=RELIABLE,
    silent=False,
):
    """Run a node that publishes images, and perhaps subscribes to commands."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('driver', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    commands = list[TwistStamped]()
    publisher = node.create_publisher(image, camera, qos)
    if driver:
        node.create_subscription(driver, '/cmd_vel', commands.append, heard)

    def publish():
        message = image()
        if image is Image:
            fill_image(message, np.zeros((64, 64, 3), np.uint8))
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    if not silent:
        node.create_timer(0.1, publish)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield commands
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        context.try_shutdown()


def test_a_robot_that_fits_is_go_and_receives_no_command(capsys):
    with arena('arena.image_size:=64', 'sim.real_time_factor:=1.0') as remote:
        end = time.monotonic() + 60
        random, done = np.random.default_rng(0), threading.Event()

        def drive():
            while not done.wait(0.1) and time.monotonic() < end:
                remote.send(random.uniform(-0.5, 0.5, 2))

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            code = check('8')  # enough even if the first commands come late
        finally:
            done.set()
            thread.join()
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert 'topics: published: /camera/image_raw, /cmd_vel, with the configured types' in shown
    assert 'driver: 1 node subscribes to /cmd_vel' in shown
    assert (
        'publishes commands on /cmd_vel\n       -> end it, unless that is the plan node' in shown
    )
    for name in ('camera', 'rate', 'latency', 'qos', 'images', 'commands', 'delay'):
        assert f'go     {name}: ' in shown
    assert shown.endswith('\ngo\n')


def test_a_robot_that_nobody_drives_is_sent_nothing(capsys):
    with robot() as commands:
        check('2')
    assert commands == []
    shown = capsys.readouterr().out
    assert 'go     commands: none, so nothing was checked' in shown
    assert '-> drive the robot by hand meanwhile' in shown
    assert 'commander' not in shown


def test_a_camera_that_publishes_compressed_images_alone_is_found(capsys):
    with robot(image=CompressedImage, camera='/camera/image_raw/compressed'):
        check('2')
    shown = capsys.readouterr().out
    assert 'go     topics: published: /camera/image_raw/compressed, ' in shown
    assert 'go     qos: /camera/image_raw/compressed: ' in shown


@pytest.mark.parametrize(
    ('made', 'words'),
    [
        (
            {'image': CompressedImage},
            'NO-GO  topics: /camera/image_raw is of type sensor_msgs/msg/CompressedImage, '
            'expected sensor_msgs/msg/Image',
        ),
        (
            {'camera': '/camera/image_rwa'},
            "no topic '/camera/image_raw' (robot.camera.topic); of type sensor_msgs/msg/Image: "
            "did you mean '/camera/image_rwa'",
        ),
        ({'silent': True}, 'NO-GO  camera: no image came on /camera/image_raw in 1 second'),
        (
            {'driver': Twist},
            'NO-GO  driver: no node subscribes to /cmd_vel with geometry_msgs/msg/TwistStamped, '
            'but /driver (geometry_msgs/msg/Twist)',
        ),
        ({'driver': None}, 'NO-GO  driver: no node subscribes to /cmd_vel'),
        (
            {'heard': LATCHED},
            'NO-GO  driver: /cmd_vel: QoS of /driver: published volatile, but subscribed '
            'transient local',
        ),
    ],
)
def test_what_a_running_robot_lacks_is_named(made, words, capsys):
    with robot(**made):
        assert check('1') == 1
    shown = capsys.readouterr().out
    assert words in shown
    for line, remedy in zip(*[shown.splitlines()[k:] for k in (0, 1)], strict=False):
        assert not line.startswith('NO-GO') or remedy.startswith('       -> ')


def test_a_camera_whose_qos_does_not_reach_the_plan_node_is_named(tmp_path, capsys):
    file = tmp_path / 'robot.yaml'
    file.write_text('node: {camera_reliability: reliable}\n')
    with robot(qos=BEST_EFFORT):
        assert check('1', '--robot', str(file)) == 1
    shown = capsys.readouterr().out
    assert 'NO-GO  qos: /camera/image_raw: QoS of /driver: published best effort' in shown
    assert 'node.camera_reliability=best_effort' in shown


def test_without_ros_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(options, 'find_spec', lambda name: None)
    assert check('1') == 2
    assert "--live needs the extra 'ros' of this package" in capsys.readouterr().err


def test_a_type_that_is_not_installed_is_an_error(tmp_path, capsys):
    file = tmp_path / 'robot.yaml'
    file.write_text('robot: {command: {type: nowhere_msgs/msg/Order}}\n')
    assert check('1', '--robot', str(file)) == 2
    assert "'nowhere_msgs/msg/Order'" in capsys.readouterr().err
