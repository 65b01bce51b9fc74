# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/subscriber.py: each message once and in order, though two subscriptions hear."""

from collections.abc import Mapping
import importlib
from itertools import combinations
import sys
from types import SimpleNamespace
from typing import Any

from harness import wait_until
import pytest
from rclpy.event_handler import SubscriptionEventCallbacks
from smwm_ros.config import Node
from smwm_ros.control.controller import Controller
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import ActionSpec
from smwm_ros.nodes import rclpy_versions
from smwm_ros.nodes.clocks import WallClock
from smwm_ros.nodes.rclpy_versions import with_info
from smwm_ros.nodes.subscriber import PendingMessage, SubscribedTopic, Subscriber
from std_msgs.msg import String

SECOND = 10**9
# Data, and whether by the transient local subscription. The same goal may be published again.
UNSTAMPED = [(b'a', True), (b'b', True), (b'a', False), (b'c', False), (b'b', False), (b'a', True)]


def topic(limit=100):
    return SubscribedTopic('/goal/name', String, limit, lambda message: None)


def hear(made, kept, number, now=0.0):
    return made.is_new(b'%d' % number, {'source_timestamp': number * SECOND}, kept, now)


def test_however_two_subscriptions_interleave_the_last_message_is_the_last_that_is_taken():
    # One keeps all messages, the other the last two; each has its own in order.
    volatile, kept = [1, 2, 3, 4], [3, 4]
    for places in combinations(range(6), 2):
        made, taken = topic(), []
        first, second = iter(volatile), iter(kept)
        for place in range(6):
            by_kept = place in places
            number = next(second if by_kept else first)
            if hear(made, by_kept, number):
                taken.append(number)
        assert taken[-1] == 4
        assert taken == sorted(set(taken)), 'once, and in order'


def test_what_only_one_of_them_receives_is_taken():
    made = topic()
    assert hear(made, True, 5), 'published before'
    assert hear(made, False, 6, now=0.5)
    assert hear(made, False, 7, now=0.6), 'of a volatile publisher'


def test_the_clock_of_another_publisher_may_be_far_behind():
    made = topic()
    assert hear(made, True, 5000)
    assert hear(made, False, 7, now=2.0)


def test_without_stamps_the_data_tell_a_message_from_others():
    made = topic()
    heard = [made.is_new(data, {}, kept, 0.0) for data, kept in UNSTAMPED]
    assert heard == [True, True, False, True, False, True]


def test_subscriptions_of_humble_pass_no_info(monkeypatch):
    heard = list[Any]()

    def on_data(data: bytes, info: Mapping[str, Any]) -> None:
        heard.append((data, info))

    assert with_info(on_data) is on_data, 'rclpy passes both'
    monkeypatch.setattr(rclpy_versions, 'Subscription', type('Subscription', (), {}))
    with_info(on_data)(b'data')
    assert heard == [(b'data', {})]


def test_event_callbacks_of_humble_are_in_another_module(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'rclpy.event_handler', None)
        old = SimpleNamespace(PublisherEventCallbacks=1, SubscriptionEventCallbacks=2)
        patch.setitem(sys.modules, 'rclpy.qos_event', old)
        importlib.reload(rclpy_versions)
        assert rclpy_versions.SubscriptionEventCallbacks == 2
    importlib.reload(rclpy_versions)
    assert rclpy_versions.SubscriptionEventCallbacks is SubscriptionEventCallbacks


def test_a_message_that_is_too_large_is_not_read():
    message = PendingMessage(topic(), 1, None, 101, 0.0, 0)
    with pytest.raises(CodecError, match=r'/goal/name: .* 101 bytes, expected at most 100'):
        message.read()


def test_of_messages_that_wait_the_newest_of_each_topic_is_read():
    read = list[Any]()
    controller = Controller(ActionSpec(('a',), (-1.0,), (1.0,), 0.1), 'zero', Node())
    reader = Subscriber(None, WallClock(), controller, read.append, 'reader')
    heard = lambda message: read.append((message.topic.name, message.data))  # noqa: E731
    camera, goal = (SubscribedTopic(name, String, 9, heard) for name in ('camera', 'goal'))
    for topic, data in ((camera, b'1'), (goal, b'2'), (camera, b'3'), (camera, b'4')):
        reader.receive(topic, data)
    assert (camera.count, camera.skipped, goal.skipped) == (3, 2, 0)
    reader.start()
    wait_until(lambda: len(read) == 2, 'two messages')
    assert reader.close()
    assert read == [('goal', b'2'), ('camera', b'4')]
