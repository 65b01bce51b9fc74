# SPDX-License-Identifier: Apache-2.0
"""
Subscribe to the cameras, and give the newest image to the controller and the planner.

Where only camera/image_raw/compressed is published, and not camera/image_raw, or the other way
round, it is found and used (image_transport).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from smwm_ros import config
from smwm_ros.codec.video import SkippedPacketError
from smwm_ros.control.controller import Controller
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.image_reader import DuplicateDetector, ImageReader
from smwm_ros.nodes.latency import LatencyCompensation
from smwm_ros.nodes.messages import camera_qos, message_class
from smwm_ros.nodes.packet_reader import PacketReader
from smwm_ros.nodes.planner_thread import CameraImage, PlannerThread
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.subscriber import (
    IMAGE_BYTES,
    OnMessage,
    PendingMessage,
    SubscribedTopic,
    Subscriber,
)
from smwm_ros.nodes.topic_monitor import TopicType, TransportFinder
from smwm_ros.planning.image_history import history_of
from smwm_ros.text import line

_REMEDY = 'set node.camera_reliability to best_effort'


class Cameras:
    """Receives camera images, checks them, and passes them on."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        knobs: config.Node,
        clock: WallClock | RosClock,
        latency: LatencyCompensation,
        controller: Controller,
        planner_thread: PlannerThread,
        warn: Callable[[str], None],
    ) -> None:
        self._clock, self._latency = clock, latency
        self._controller, self._planner_thread, self._warn = controller, planner_thread, warn
        self._shadow = knobs.shadow
        self._reader = ImageReader(node, setup, knobs)
        self._packets = PacketReader()
        self._duplicates = DuplicateDetector()
        model, block = setup.checkpoint.model_config, setup.checkpoint.action_block
        self._history = history_of(model, block, setup.robot.dt)
        self.bad = 0  # images that were not used
        self.newest: tuple[Array, float] | None = None  # image (S, S, 3), and receive time [s]
        self.subscriber = Subscriber(node, clock, controller, warn, 'cameras')
        self._node, self._reliability = node, knobs.camera_reliability
        self._names = setup.robot.camera.topics  # as they are configured
        self._transport = TransportFinder(node, setup.robot.camera)
        self._topics = self._subscribe()

    @property
    def count(self) -> int:
        """Return how many images of the first camera were received."""
        return self._topics[0].count

    @property
    def lost(self) -> int:
        """Return how many images of the first camera were lost by the middleware."""
        return self._topics[0].lost

    @property
    def types(self) -> list[TopicType]:
        """Return the topics that are subscribed to."""
        remedy = 'set robot.camera.type, or robot.camera.topic'
        camera = self._transport.camera
        return [TopicType(name, camera.type, remedy, True) for name in camera.topics]

    def find_transport(self) -> None:
        """Subscribe to the transport that is published; only from the executor's thread."""
        received = any(topic.count for topic in self._topics)
        if text := self._transport.update(received, 'used'):
            self.subscriber.destroy()
            self._topics = self._subscribe()
            self._node.get_logger().warning(line(text))

    def _subscribe(self) -> list[SubscribedTopic]:
        """Subscribe to the cameras."""
        camera = self._transport.camera
        qos = camera_qos(self._reliability, camera.type)
        kind = message_class(camera.type)
        callbacks: list[OnMessage] = [self._on_image]
        for number, name in enumerate(self._names[1:], 1):
            callbacks.append(partial(self._on_other_image, name, number))
        return [
            self.subscriber.subscribe(kind, topic, callback, qos, IMAGE_BYTES, _REMEDY)
            for topic, callback in zip(camera.topics, callbacks, strict=True)
        ]

    def configure(self, knobs: config.Node) -> None:
        """Set changed node parameters."""
        self._reader.knobs = knobs

    def image(self) -> Array:
        """Return the newest image (S, S, 3), or raise if it is too old."""
        limit = self._reader.knobs.image_timeout
        if self.newest is None or self._clock.now() - self.newest[1] > limit:
            raise CodecError(f'no camera image was received in the last {limit:g} s')
        return self.newest[0]

    def values(self) -> dict[str, float | int | bool]:
        """Return the values for /diagnostics."""
        return {
            'frames': self.count,
            'frames_bad': self.bad,
            'frames_lost': self.lost,
            'frames_same': self._duplicates.count,
            'frames_skipped': self._topics[0].skipped,
            **self._packets.values(),
        }

    def problems(self) -> list[str]:
        """Return warnings for /diagnostics."""
        return self._packets.problems()

    def _on_image(self, received: PendingMessage) -> None:
        """Pass an image of the first camera on."""
        try:
            message = self._read(received)
            pixels = self._reader.read(message, received.time)
        except SkippedPacketError:
            return
        except Exception as error:  # no received message may end the node
            self.bad += 1
            self._warn(f'image not used: {error}')
            return
        self.newest = pixels, received.time
        image_time = self._latency.image_time(message, received.time)
        observation = self._history.add(pixels, image_time)
        frame_id = message.header.frame_id
        image = CameraImage(pixels, observation, image_time, received.era, frame_id)
        same = self._duplicates.is_same(message)
        # In shadow mode another driver may keep the robot at rest, where images may be equal.
        self._controller.on_image(received.time, same and not self._shadow, received.era)
        self._planner_thread.set_image(image)

    def _read(self, received: PendingMessage) -> Any:
        """Return an image message, or the picture of a packet of video; raise if it has none."""
        return self._packets.picture(received.topic, received.number, received.read())

    def _on_other_image(self, topic: str, number: int, received: PendingMessage) -> None:
        """Store the newest image of another camera."""
        try:
            message = self._read(received)
            self._reader.read_other(message, received.time, topic, number)
        except SkippedPacketError:
            return
        except Exception as error:  # as above
            self.bad += 1
            self._warn(f'image of {received.topic.name} not used: {error}')
