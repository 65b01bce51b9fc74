# SPDX-License-Identifier: Apache-2.0
"""Camera images as the planner sees them: read, checked, put together from several cameras."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.latency import LatencyCompensation
from smwm_ros.nodes.messages import camera_qos
from smwm_ros.nodes.planner_thread import CameraView, PlannerThread
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.subscriber import IMAGE_BYTES, Message, Subscriber

_STRIDE = 101  # images that differ mostly do so in one of so many bytes
_REMEDY = 'set node.camera_reliability to best_effort'


class Cameras:
    """Hears the cameras, and offers the newest image to the planner."""

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
        self._node, self._setup, self.knobs, self._clock = node, setup, knobs, clock
        self._latency, self._controller, self._planner_thread = latency, controller, planner_thread
        self._warn = warn
        self.bad = self.same = 0
        self._data: Array = np.zeros(0, np.uint8)  # of the last usable image, as it came
        self.newest: tuple[Array, float] | None = None  # usable image, and when it came
        self._views: dict[str, tuple[Array, float]] = {}  # of further cameras, and when seen
        self.subscriber = Subscriber(node, clock, controller, warn, 'cameras')
        first, *others = setup.robot.camera.topics
        hear = {first: self._on_image}
        for number, topic in enumerate(others, 1):
            hear[topic] = partial(self._on_view, topic, number)
        qos = camera_qos(knobs.camera_reliability)
        self._first, *_ = (
            self.subscriber.subscribe(setup.camera_type, topic, heard, qos, IMAGE_BYTES, _REMEDY)
            for topic, heard in hear.items()
        )

    @property
    def count(self) -> int:
        """Return how many images of the first camera came."""
        return self._first.count

    @property
    def lost(self) -> int:
        """Return how many did not."""
        return self._first.lost

    def view(self) -> Array:
        """Return what the camera shows (S, S, 3), or raise when that was long ago."""
        limit = self.knobs.image_timeout
        if self.newest is None or self._clock.now() - self.newest[1] > limit:
            raise CodecError(f'no camera image came in the last {limit:g} s')
        return self.newest[0]

    def values(self) -> dict[str, float | int | bool]:
        """Return what diagnostics say of images."""
        return {
            'frames': self.count,
            'frames_bad': self.bad,
            'frames_lost': self.lost,
            'frames_same': self.same,
            'frames_skipped': self._first.skipped,
        }

    def _on_image(self, heard: Message) -> None:
        """Look at a camera image."""
        came = heard.time
        try:
            message = heard.read()
            self._check_stamp(message)
            views = [self._setup.view(message, 0), *self._other_views(came)]
            pixels = self._setup.compose(views)
        except Exception as error:  # no message from outside may end the node
            self.bad += 1
            self._warn(f'image not used: {error}')
            return
        self.newest = pixels, came
        taken = self._latency.taken(message, came)
        view = CameraView(pixels, taken, heard.era, message.header.frame_id)
        same = self._is_same(message)
        # In the shadow it is not we who drive, and a robot at rest shows the same for long.
        self._controller.saw_image(came, same and not self.knobs.shadow, heard.era)
        self._planner_thread.see(view)

    def _on_view(self, topic: str, number: int, heard: Message) -> None:
        """Keep the newest view of a further camera."""
        try:
            self._views[topic] = self._setup.view(heard.read(), number), heard.time
        except Exception as error:  # as above
            self.bad += 1
            self._warn(f'image of {self._node.resolve_topic_name(topic)} not used: {error}')

    def _check_stamp(self, message: Any) -> None:
        """Refuse an image that was not taken about now, where stamps are to be trusted."""
        limit = self.knobs.stamp_timeout
        if not limit:
            return
        stamp = message.header.stamp
        now = self._node.get_clock().now().nanoseconds * 1e-9
        age = now - (stamp.sec + 1e-9 * stamp.nanosec)
        if abs(age) > limit:
            raise CodecError(
                f'its stamp is {age:.3f} s old, node.stamp_timeout allows {limit:g} s; are the '
                'clocks of the camera and of this machine the same?'
            )

    def _is_same(self, message: Any) -> bool:
        """Say whether an image is the one before again, byte for byte, which noise forbids."""
        new = np.frombuffer(message.data, np.uint8)
        old, self._data = self._data, new
        if new.size != old.size or not np.array_equal(new[::_STRIDE], old[::_STRIDE]):
            return False
        same = np.array_equal(new, old)
        self.same += same
        return same

    def _other_views(self, now: float) -> list[Array]:
        """Return the views of the further cameras, none of them older than in training."""
        limit = self._setup.checkpoint.dataset.max_frame_age
        for topic in self._setup.robot.camera.topics[1:]:
            if topic not in self._views or now - self._views[topic][1] > limit:
                name = self._node.resolve_topic_name(topic)
                raise CodecError(f'no image of {name} came in the last {limit:g} s')
        return [self._views[topic][0] for topic in self._setup.robot.camera.topics[1:]]
