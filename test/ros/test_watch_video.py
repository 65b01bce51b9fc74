# SPDX-License-Identifier: Apache-2.0
"""`smwm watch` shows a camera that publishes video as the plan node decodes it."""

from array import array
from contextlib import contextmanager
import logging
import sys
from threading import Thread
import time
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time
from harness import wait_until, world
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from smwm_ros.codec.images import fill_image
from smwm_ros.config import IMAGE_TYPES, VIDEO_TYPES
from smwm_ros.nodes import watched_messages
from smwm_ros.nodes.inbox import Inbox, InboxTopic, ReceivedMessage
from smwm_ros.nodes.messages import PACKETS
from smwm_ros.nodes.watched_messages import WatchedMessages
from smwm_ros.nodes.watcher import CAMERA, WatchedTopic, Watcher
from videos import bare, encoded, H264, H265, moving

TOPIC = '/camera/video'
WORDS = ('robot.camera.type:=sensor_msgs/msg/CompressedImage', f'robot.camera.topic:={TOPIC}')


class ListingViewer:
    """Lists what a viewer would show of cameras, and its log."""

    def __init__(self):
        self.images, self.lost_at, self.lines = list[Any](), list[int](), list[str]()

    def image(self, name, rgb, stamp):
        """List an image of the camera."""
        if name == CAMERA:
            self.images.append((stamp, rgb))

    def lost(self, name, stamp):
        """List that there is no image."""
        self.lost_at.append(stamp)

    def text(self, line, level, stamp):
        """List a line about the camera."""
        if line.startswith(f'{TOPIC}: '):
            self.lines.append(line)

    def __getattr__(self, name):
        """Do nothing for the rest."""
        return lambda *_: None


def packet(data, tick, codec=H264):
    """Return a packet, stamped with its tick [s]."""
    found = CompressedImage(format=codec, data=array('B', data))
    found.header.stamp = Time(sec=tick)
    return found


def received(messages, topic, *, without=()):
    """Return messages as an inbox gives them, some of which were lost."""
    return [
        ReceivedMessage(topic, number, serialize_message(message), number)
        for number, message in enumerate(messages, 1)
        if number - 1 not in without
    ]


def camera():
    """Return the topic of a camera, what shows its messages, and the viewer."""
    viewer = ListingViewer()
    topic = InboxTopic(TOPIC, CAMERA, CompressedImage, PACKETS)
    return topic, WatchedMessages('/plan', viewer), viewer


def ticks(found):
    """Return the ticks of stamps."""
    return [stamp // 10**9 for stamp in found]


@contextmanager
def watched(viewer):
    """Show the plan node in a viewer."""
    inbox, ended = Inbox(), list[bool]()

    def show(messages):
        while (some := inbox.take()) is not None:
            messages.show(some)

    with Watcher('', inbox) as watcher:
        messages = WatchedMessages(watcher.target, viewer)
        threads = [Thread(target=watcher.run, args=(lambda: bool(ended),))]
        threads += [Thread(target=show, args=(messages,))]
        for thread in threads:
            thread.start()
        try:
            yield watcher
        finally:
            ended.append(True)
            inbox.close()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize('codec', [H264, H265])
def test_packets_over_dds_are_shown_as_a_decoder_shows_them(checkpoint, codec):
    packets = encoded(moving(30), codec, keyframes=10)
    viewer = ListingViewer()
    with world(checkpoint, *WORDS) as here, watched(viewer) as watcher:
        publisher = here.robot.create_publisher(CompressedImage, TOPIC, PACKETS)
        wait_until(lambda: publisher.get_subscription_count() == 2, 'plan node and viewer')
        assert watcher.target == '/plan'
        for number, data in enumerate(packets[5:], 5):  # the camera was on before
            publisher.publish(packet(data, number, codec))
            time.sleep(0.02)
        wait_until(lambda: ticks(stamp for stamp, _ in viewer.images)[-1:] == [29], 'images')
    pictures = bare(packets, codec)
    for stamp, rgb in viewer.images:
        assert np.array_equal(rgb, pictures[stamp // 10**9])
    assert ticks(stamp for stamp, _ in viewer.images)[0] >= 10, 'the first keyframe'
    assert viewer.lines in ([], [f'{TOPIC}: not shown: video packets before the first keyframe'])


def test_all_packets_that_wait_are_decoded_and_the_newest_is_shown():
    packets = encoded(moving(PACKETS), keyframes=PACKETS)
    topic, messages, viewer = camera()
    inbox = Inbox()
    for one in received([packet(data, n) for n, data in enumerate(packets)], topic):
        inbox.put(one)
    assert inbox.dropped == 0
    messages.show(inbox.take())
    ((stamp, rgb),) = viewer.images
    assert ticks([stamp]) == [PACKETS - 1]
    assert np.array_equal(rgb, bare(packets)[-1]), 'it depends on all packets before'
    assert viewer.lines == []


def test_where_too_many_packets_wait_the_next_keyframe_is_shown():
    packets = encoded(moving(20), keyframes=10)
    topic, messages, viewer = camera()
    inbox = Inbox()
    found = received([packet(data, n) for n, data in enumerate(packets)], topic)
    messages.show(found[:1])
    topic.depth = 15
    for one in found[1:]:
        inbox.put(one)
    assert inbox.dropped == 4
    for one in inbox.take() or []:
        messages.show([one])
    assert ticks(stamp for stamp, _ in viewer.images) == [0, *range(10, 20)]


def test_after_a_lost_packet_no_damaged_image_is_shown_and_one_line_says_why():
    packets = encoded(moving(20), keyframes=10)
    topic, messages, viewer = camera()
    for one in received([packet(d, n) for n, d in enumerate(packets)], topic, without=[4]):
        messages.show([one])
    assert ticks(stamp for stamp, _ in viewer.images) == [*range(4), *range(10, 20)]
    assert ticks(viewer.lost_at) == [*range(5, 10)], 'the image before does not stay'
    (line,) = viewer.lines
    assert line.startswith(f'{TOPIC}: not shown: packets are missing: ')


def test_without_pyav_one_line_says_what_to_install(monkeypatch):
    packets = encoded(moving(20), keyframes=5)
    monkeypatch.setitem(sys.modules, 'av', None)
    topic, messages, viewer = camera()
    for one in received([packet(data, n) for n, data in enumerate(packets)], topic):
        messages.show([one])
    assert viewer.images == []
    (line,) = viewer.lines
    assert "needs the extra 'video' of this package" in line
    assert 'pip install av' in line


def test_compressed_images_are_shown_as_before():
    topic, messages, viewer = camera()
    pictures = [np.full((8, 8, 3), 10 * n, np.uint8) for n in range(4)]
    images = [fill_image(CompressedImage(), pixels) for pixels in pictures]
    for one in received(images, topic):
        messages.show([one])
    assert [int(rgb[0, 0, 0]) for _, rgb in viewer.images] == [0, 10, 20, 30]
    assert topic.depth == 1, 'of images, only the newest waits'


@pytest.mark.parametrize('kind', VIDEO_TYPES)
def test_messages_for_video_are_shown_with_their_stamps(monkeypatch, kind):
    def message(data, tick):
        stamp = Time(sec=tick)
        if kind.startswith('foxglove'):
            return SimpleNamespace(timestamp=stamp, frame_id='', format=H264, data=data)
        header = SimpleNamespace(stamp=stamp, frame_id='')
        return SimpleNamespace(header=header, encoding=H264, data=data, pts=tick)

    packets = encoded(moving(6))
    topic, messages, viewer = camera()
    monkeypatch.setattr(watched_messages, 'deserialize_message', lambda data, _: data)
    for number, data in enumerate(packets):
        messages.show([ReceivedMessage(topic, number, message(data, number), 0)])
    assert ticks(stamp for stamp, _ in viewer.images) == [*range(6)]


class ListedNode:
    """A node that finds one subscription of a camera."""

    def __init__(self, kind):
        self._kind = kind

    def get_subscriber_names_and_types_by_node(self, *_):
        return [(TOPIC, [self._kind])]

    def get_publisher_names_and_types_by_node(self, *_):
        return []

    def get_parameter(self, _):
        return SimpleNamespace(value=False)


@pytest.mark.parametrize('kind', IMAGE_TYPES)
def test_cameras_of_each_type_are_found_and_a_type_that_is_missing_is_named(caplog, kind):
    watcher = Watcher('', Inbox())
    watcher._connection = SimpleNamespace(  # type: ignore[assignment]
        node=ListedNode(kind), subscribe=lambda kind, name, receive, qos, **_: qos.depth
    )
    found = set(watcher._topics())
    assert found == {WatchedTopic(TOPIC, CAMERA, kind)}
    with caplog.at_level(logging.WARNING, 'smwm_ros'):
        for _ in range(3):
            watcher._follow(found)
    if kind in IMAGE_TYPES[:2]:
        assert caplog.messages == []
        depth = 1 if kind == IMAGE_TYPES[0] else PACKETS
        assert list(watcher._subscriptions.values()) == [[depth]]
    else:
        (line,) = caplog.messages
        assert line.startswith(f"{TOPIC}: not shown: '{kind}': the package ")
