# SPDX-License-Identifier: Apache-2.0
"""Read camera messages into the image that the model was trained on, from one or more cameras."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.codec.octets import octets
from smwm_ros.codec.stamps import in_seconds
from smwm_ros.errors import CodecError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.robot_setup import Setup

_STRIDE = 101  # compare one in this many bytes first: two images mostly differ there


class ImageReader:
    """Reads the images of the first camera, and adds the newest ones of the other cameras."""

    def __init__(self, node: Node, setup: Setup, knobs: config.Node) -> None:
        self._node, self._setup, self.knobs = node, setup, knobs
        self._others: dict[str, tuple[Array, float]] = {}  # topic: view and receive time [s]

    def read(self, message: Any, received: float) -> Array:
        """Return the image (S, S, 3) of all cameras, or raise if one of them is too old."""
        self._check_stamp(message)
        views = [self._setup.view(message, 0), *self._other_views(received)]
        return self._setup.compose(views)

    def read_other(self, message: Any, received: float, topic: str, number: int) -> None:
        """Store the view of another camera, by its topic and number."""
        self._others[topic] = self._setup.view(message, number), received

    def _check_stamp(self, message: Any) -> None:
        """Raise if the stamp differs from now by more than node.stamp_timeout."""
        limit = self.knobs.stamp_timeout
        if not limit:
            return
        now = self._node.get_clock().now().nanoseconds * 1e-9
        age = now - in_seconds(message.header.stamp)
        if abs(age) > limit:
            raise CodecError(
                f'its stamp is {age:.3f} s old, expected at most {limit:g} s '
                '(node.stamp_timeout); check that the clocks of the camera and of this machine '
                'agree'
            )

    def _other_views(self, now: float) -> list[Array]:
        """Return the views of the other cameras, or raise if one is older than in training."""
        limit = self._setup.checkpoint.dataset.max_frame_age
        topics = self._setup.robot.camera.topics[1:]
        for topic in topics:
            if topic not in self._others or now - self._others[topic][1] > limit:
                name = self._node.resolve_topic_name(topic)
                raise CodecError(f'no image was received on {name} in the last {limit:g} s')
        return [self._others[topic][0] for topic in topics]


class DuplicateDetector:
    """Compares each image with the one before, byte for byte; camera noise makes them differ."""

    def __init__(self) -> None:
        self._data: Array = np.zeros(0, np.uint8)
        self.count = 0  # duplicates

    def is_same(self, message: Any) -> bool:
        """Return whether an image message has the same data as the one before."""
        new = octets(message.data)
        old, self._data = self._data, new
        if new.size != old.size or not np.array_equal(new[::_STRIDE], old[::_STRIDE]):
            return False
        same = np.array_equal(new, old)
        self.count += same
        return same
