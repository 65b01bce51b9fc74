# SPDX-License-Identifier: Apache-2.0
"""Subscribe to goals: images, names and latents."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from smwm_ros.errors import ConfigError
from smwm_ros.nodes.current_goal import CurrentGoal
from smwm_ros.nodes.goal_planner import GoalInput
from smwm_ros.nodes.goal_store import GoalStore
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.subscriber import (
    IMAGE_BYTES,
    LATENT_BYTES,
    PendingMessage,
    Subscriber,
    TEXT_BYTES,
)
from smwm_ros.nodes.topic_monitor import TopicType
from std_msgs.msg import Float32MultiArray, String

TOPIC = 'goal'  # below it: image, name, latent
_REMEDY = 'publish the goal with reliable QoS'


class GoalTopics:
    """Sets the current goal from the messages on goal/image, goal/name and goal/latent."""

    def __init__(
        self,
        node: Node,
        setup: Setup,
        goal: CurrentGoal,
        store: GoalStore,
        subscriber: Subscriber,
        warn: Callable[[str], None],
    ) -> None:
        self._setup, self._goal, self._store, self._warn = setup, goal, store, warn
        self.types: list[TopicType] = []
        for name, kind, on_goal, limit in (
            ('image', Image, self._on_image, IMAGE_BYTES),
            ('name', String, self._on_name, TEXT_BYTES),
            ('latent', Float32MultiArray, self._on_latent, LATENT_BYTES),
        ):
            topic = f'{TOPIC}/{name}'
            on_message = partial(self._try, on_goal, node.resolve_topic_name(topic))
            subscriber.subscribe_any_durability(kind, topic, on_message, limit, _REMEDY)
            full = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
            self.types.append(TopicType(topic, full, 'publish that type'))

    def _on_image(self, message: Image, topic: str) -> None:
        """Set a goal image."""
        pixels = self._setup.pixels(message)[None]
        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        # Ignore a publisher that repeats its message.
        if not self._goal.is_same_image(pixels, stamp):
            self._goal.set(GoalInput(pixels), topic, stamp)

    def _on_name(self, message: String, topic: str) -> None:
        """Set a goal or route by its name."""
        name, checkpoint = message.data, self._setup.checkpoint
        pictures = self._store.load(name, checkpoint.image_size, checkpoint.dataset.resize)
        # `ros2 topic pub` repeats its message.
        if not self._goal.is_under_way(pictures, name):
            self._goal.set(GoalInput(pictures), name)

    def _on_latent(self, message: Float32MultiArray, topic: str) -> None:
        """Set a latent, or several in a row for a route."""
        size = self._setup.checkpoint.model.latent
        numbers = np.array(message.data, np.float32)
        if not numbers.size or numbers.size % size or not np.isfinite(numbers).all():
            raise ConfigError(
                f'expected {size} finite numbers, or a multiple of that for a route, '
                f'found {numbers.size}'
            )
        self._goal.set(GoalInput(latents=numbers.reshape(-1, size)), topic)

    def _try(
        self, on_goal: Callable[[Any, str], None], topic: str, received: PendingMessage
    ) -> None:
        """Set a goal; a message that is not valid leaves the goal unchanged."""
        try:
            on_goal(received.read(), topic)
        except Exception as error:  # no received message may end the node
            self._warn(f'goal not used: {error}')
