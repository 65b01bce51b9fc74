# SPDX-License-Identifier: Apache-2.0
"""A plan node whose camera publishes video sees what the converter made of the same packets."""

from array import array
from functools import partial
from importlib.util import find_spec
from pathlib import Path
import time
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time
from harness import wait_until, world
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from recordings import BEGIN, made, STORE, TICK, TinyBag
from sensor_msgs.msg import CompressedImage
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.config import Node
from smwm_ros.control.controller import Controller
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import ActionSpec
from smwm_ros.model.checkpoint import load
from smwm_ros.nodes.clocks import WallClock
from smwm_ros.nodes.messages import message_class, PACKETS
from smwm_ros.nodes.packet_reader import PacketReader
from smwm_ros.nodes.subscriber import PendingMessage, SubscribedTopic, Subscriber
from smwm_ros.planning.pilot import Pilot
from videos import encoded, H264, H265, moving, outcome

TOPIC = '/camera/video'
PERIOD = 0.1  # of the camera [s]
WORDS = (
    'robot.camera.type:=sensor_msgs/msg/CompressedImage',
    f'robot.camera.topic:={TOPIC}',
    'node.camera_reliability:=reliable',
)


def message(data: bytes, codec: str = H264, tick: int = 0) -> CompressedImage:
    """Return a packet, stamped at a tick."""
    found = CompressedImage(format=codec, data=array('B', data))
    seconds, rest = divmod(BEGIN + tick * TICK, 10**9)
    found.header.stamp = Time(sec=seconds, nanosec=rest)
    return found


def of_bag(tmp_path: Path, packets: list[bytes], codec: str) -> np.ndarray:
    """Return the images of a dataset that was converted from packets."""
    bag = TinyBag(tmp_path / 'bag')
    for tick, data in enumerate(packets):
        bag.command(tick)
        msg = new_message(STORE, 'sensor_msgs/msg/CompressedImage')
        msg.format, msg.data = codec, np.frombuffer(data, np.uint8)
        bag.send(TOPIC, msg, tick)
    kind = 'robot.camera.type=sensor_msgs/msg/CompressedImage'
    found = made(tmp_path, bag.close(), kind, f'robot.camera.topic={TOPIC}')
    return found.pixels(np.arange(len(found)))


def shows(here, image) -> bool:
    """Return whether the newest image of the node equals one."""
    newest = here.active.cameras.newest
    return newest is not None and np.array_equal(newest[0], image)


@pytest.mark.parametrize('codec', [H264, H265])
def test_packets_over_dds_lead_to_the_latents_of_the_same_packets_in_a_bag(
    checkpoint, tmp_path, codec
):
    class Recorder(Pilot):
        """Stores what it planned from, and the latent of it."""

        def plan(self, pixels, *words, **named):
            found = super().plan(pixels, *words, **named)
            if any(np.array_equal(pixels, image) for image in images):  # not to warm up
                latents.append((pixels, found.latent))
            return found

    latents = list[Any]()
    packets = encoded(moving(12), codec, keyframes=5)
    images = of_bag(tmp_path, packets, codec)
    assert len(images) == len(packets)
    with world(checkpoint, *WORDS, make_pilot=Recorder) as here:
        camera = here.robot.create_publisher(CompressedImage, TOPIC, PACKETS)
        here.aim()
        wait_until(lambda: here.accepted, 'the goal')
        wait_until(camera.get_subscription_count, 'the node')
        for number, data in enumerate(packets):
            camera.publish(message(data, codec))
            wait_until(partial(shows, here, images[number]), f'image {number}')
            time.sleep(PERIOD)
        wait_until(lambda: len(latents) >= 3, 'plans')
        values = here.values()
    assert (values['video_packets'], values['video_frames']) == (12, 12)
    assert values['frames_bad'] == 0
    assert not values['video_waiting']
    made = load(checkpoint)
    pilot = Pilot(made, made.planner)
    for pixels, latent in latents:
        (expected,) = pilot.encode(pixels[None])
        assert np.array_equal(latent, expected)


def test_after_a_lost_packet_the_robot_waits_for_the_next_keyframe(checkpoint):
    packets = encoded(moving(20), keyframes=10)
    with world(checkpoint, *WORDS) as here:
        camera = here.robot.create_publisher(CompressedImage, TOPIC, PACKETS)
        here.aim()
        wait_until(camera.get_subscription_count, 'the node')

        def show(numbers):
            count = here.values().get('video_packets', 0) + len(numbers)
            for number in numbers:
                camera.publish(message(packets[number]))
            wait_until(lambda: here.values().get('video_packets', 0) == count, 'packets')

        show(range(3, 5))  # the camera was on before the node: no keyframe yet
        assert here.values()['video_frames'] == here.values()['frames_bad'] == 0
        assert here.values()['video_waiting']
        wait_until(
            lambda: 'no picture until the next keyframe' in here.health.get('message', ''), 'why'
        )
        show(range(10))
        wait_until(lambda: here.values()['video_frames'] == 10, 'the last picture')
        show([10, 12, 13])
        wait_until(lambda: here.values()['video_frames'] == 11, 'the last picture')
        wait_until(lambda: here.values()['frames_bad'] == 2, 'damaged pictures')
        here.wait_for_log('packets are missing: the frame number skips')
        show(range(10, 13))
        wait_until(lambda: here.values()['video_frames'] == 14, 'the last picture')
        assert not here.values()['video_waiting']


def reader_of() -> tuple[SubscribedTopic, list[str], Subscriber]:
    """Return a topic and its subscriber, and what becomes of the packets that it receives."""
    found, packets = list[str](), PacketReader()

    def on_message(got: PendingMessage) -> None:
        found.append(outcome(lambda: packets.picture(got.topic, got.number, got.read())))

    controller = Controller(ActionSpec(('a',), (-1.0,), (1.0,), 0.1), 'zero', Node())
    subscriber = Subscriber(None, WallClock(), controller, found.append, 'reader')
    return SubscribedTopic(TOPIC, CompressedImage, 1 << 20, on_message), found, subscriber


def waiting(subscriber: Subscriber, topic: SubscribedTopic) -> list[bytes]:
    """Return the packets that wait to be read."""
    calls: Any = subscriber._waiting[topic]
    return [call.args[0].data for call in calls]


def test_packets_wait_in_order_and_where_too_many_wait_the_next_keyframe_counts():
    packets = [serialize_message(message(data)) for data in encoded(moving(20), keyframes=10)]
    topic, found, subscriber = reader_of()
    subscriber.receive(topic, packets[0])
    subscriber.start()
    wait_until(lambda: found == ['good'], 'the keyframe')
    assert topic.depth == PACKETS
    assert subscriber.close()
    topic.depth = 6
    for data in packets[1:5]:  # nothing reads them: they wait
        subscriber.receive(topic, data)
    assert topic.skipped == 0
    assert waiting(subscriber, topic) == packets[1:5]
    for data in packets[5:13]:
        subscriber.receive(topic, data)
    assert waiting(subscriber, topic) == packets[7:13]
    assert topic.skipped == 6
    for call in subscriber._waiting[topic]:
        call()
    assert found == ['good', *['damaged'] * 3, *['good'] * 3]


def test_after_packets_that_the_middleware_dropped_the_next_keyframe_counts():
    packets = [serialize_message(message(data)) for data in encoded(moving(10), keyframes=5)]
    topic, found, subscriber = reader_of()
    topic.depth = PACKETS
    for number, data in enumerate(packets):
        topic.lost += number == 2
        subscriber.receive(topic, data)
    for call in subscriber._waiting[topic]:
        call()
    assert found == ['good'] * 2 + ['damaged'] * 3 + ['good'] * 5


def test_a_message_type_that_is_not_installed_is_named_with_its_apt_package():
    for kind, package in (
        ('foxglove_msgs/msg/CompressedVideo', 'foxglove-msgs'),
        ('ffmpeg_image_transport_msgs/msg/FFMPEGPacket', 'ffmpeg-image-transport-msgs'),
    ):
        if find_spec(kind.split('/')[0]) is not None:
            pytest.skip(f'{package} is installed')
        with pytest.raises(CodecError, match=rf'apt install ros-\$ROS_DISTRO-{package}, '):
            message_class(kind)


def test_the_stamp_of_a_message_without_a_header_is_that_of_its_picture():
    (data, *_) = encoded(moving(1))
    video = SimpleNamespace(timestamp=Time(sec=7), frame_id='eye', format=H264, data=data)
    topic, _, _ = reader_of()
    image = PacketReader().picture(topic, 1, video)
    assert (image.header.stamp.sec, image.header.frame_id) == (7, 'eye')
