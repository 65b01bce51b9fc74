# SPDX-License-Identifier: Apache-2.0
"""Subscribe to goals: images, names, latents, measured states and poses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from smwm_ros.nodes.goal_setter import GoalSetter
from smwm_ros.nodes.subscriber import (
    IMAGE_BYTES,
    LATENT_BYTES,
    PendingMessage,
    Subscriber,
    TEXT_BYTES,
)
from smwm_ros.nodes.topic_monitor import TopicType
from std_msgs.msg import Float32MultiArray, String

TOPIC = 'goal'  # below it: image, name, latent, state
POSE = 'goal_pose'  # where RViz publishes a 2D goal pose
_REMEDY = 'publish the goal with reliable QoS'


class GoalTopics:
    """Sets the current goal from the messages on goal/image, name, latent, state and goal_pose."""

    def __init__(
        self, node: Node, setter: GoalSetter, subscriber: Subscriber, warn: Callable[[str], None]
    ) -> None:
        self._warn = warn
        self.types: list[TopicType] = []
        topics: list[tuple[str, Any, Callable[[Any, str], object], int]] = [
            (f'{TOPIC}/image', Image, setter.set_image, IMAGE_BYTES),
            (
                f'{TOPIC}/name',
                String,
                lambda message, _: setter.set_name(message.data),
                TEXT_BYTES,
            ),
            (
                f'{TOPIC}/latent',
                Float32MultiArray,
                lambda m, topic: setter.set_latent(m.data, topic),
                LATENT_BYTES,
            ),
            (f'{TOPIC}/state', JointState, setter.set_state, LATENT_BYTES),
        ]
        if setter.takes_poses:
            topics.append((POSE, PoseStamped, setter.set_pose, TEXT_BYTES))
        for topic, kind, on_goal, limit in topics:
            on_message = partial(self._try, on_goal, node.resolve_topic_name(topic))
            subscriber.subscribe_any_durability(kind, topic, on_message, limit, _REMEDY)
            full = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
            self.types.append(TopicType(topic, full, 'publish that type'))

    def _try(
        self, on_goal: Callable[[Any, str], object], topic: str, received: PendingMessage
    ) -> None:
        """Set a goal; a message that is not valid leaves the goal unchanged."""
        try:
            on_goal(received.read(), topic)
        except Exception as error:  # no received message may end the node
            self._warn(f'goal not used: {error}')
