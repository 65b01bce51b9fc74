# SPDX-License-Identifier: Apache-2.0
"""Subscribe to goals: images, names, latents and measured states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from smwm_ros.codec.goal_masks import mask_of_message
from smwm_ros.errors import ConfigError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.nodes.current_goal import CurrentGoal
from smwm_ros.nodes.goal_planner import GoalInput, GoalMask
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
from smwm_ros.planning.goal_states import GoalStates, load
from smwm_ros.planning.masked_goals import load as load_masked
from smwm_ros.planning.masked_goals import MaskedGoals, NEAR, require_distance
from smwm_ros.text import count_of
from smwm_ros.training.latent_scale import distance_of
from std_msgs.msg import Float32MultiArray, String

TOPIC = 'goal'  # below it: image, name, latent, state
SEPARATOR = ','  # between the names of alternative goals
POSE = 'goal_pose'  # where RViz publishes a 2D goal pose
_REMEDY = 'publish the goal with reliable QoS'


class GoalTopics:
    """Sets the current goal from the messages on goal/image, name, latent, state and goal_pose."""

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
        self._states: GoalStates | None = None  # read when they are first used
        self._masked: MaskedGoals | None = None  # likewise
        self._fields = expand(setup.robot.state.fields)
        self._planar = planar_poses(self._fields)
        self.types: list[TopicType] = []
        topics: list[tuple[str, Any, Callable[[Any, str], None], int]] = [
            (f'{TOPIC}/image', Image, self._on_image, IMAGE_BYTES),
            (f'{TOPIC}/name', String, self._on_name, TEXT_BYTES),
            (f'{TOPIC}/latent', Float32MultiArray, self._on_latent, LATENT_BYTES),
            (f'{TOPIC}/state', JointState, self._on_state, LATENT_BYTES),
        ]
        if len(self._planar) == 1:
            topics.append((POSE, PoseStamped, self._on_pose, TEXT_BYTES))
        for topic, kind, on_goal, limit in topics:
            on_message = partial(self._try, on_goal, node.resolve_topic_name(topic))
            subscriber.subscribe_any_durability(kind, topic, on_message, limit, _REMEDY)
            full = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
            self.types.append(TopicType(topic, full, 'publish that type'))

    def _on_image(self, message: Image, topic: str) -> None:
        """Set a goal image."""
        pixels = self._setup.pixels(message)[None]
        checkpoint = self._setup.checkpoint
        mask = mask_of_message(message, checkpoint.image_size, checkpoint.dataset.resize)
        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        # Ignore a publisher that repeats its message.
        if not self._goal.is_same_image(pixels, mask, stamp):
            self._goal.set(GoalInput(pixels, mask=self.masked_goal(pixels, mask)), topic, stamp)

    def _on_name(self, message: String, topic: str) -> None:
        """Set a goal or route by its name, or alternative goals by several names."""
        checkpoint = self._setup.checkpoint
        names = [name.strip() for name in message.data.split(SEPARATOR)]
        how = checkpoint.image_size, checkpoint.dataset.resize
        found = [self._store.load(name, *how) for name in names]
        masks = [self._store.mask(name, *how) for name in names]
        if len(names) > 1:
            require_alternatives(names, [len(pictures) for pictures in found], masks)
        pictures, name = np.concatenate(found), f'{SEPARATOR} '.join(names)
        # `ros2 topic pub` repeats its message.
        if not self._goal.is_under_way(pictures, name, masks[0]):
            alternatives = tuple(names) if len(names) > 1 else ()
            mask = self.masked_goal(pictures, masks[0])
            self._goal.set(GoalInput(pictures, names=alternatives, mask=mask), name)

    def masked_goal(self, pixels: Array, mask: Array | None) -> GoalMask | None:
        """Return the mask (S, S) of an image (1, S, S, 3) with its metric, None without one."""
        if mask is None:
            return None
        require_distance(self._setup.planner)
        if self._masked is None:  # a run without frames may get them while the node runs
            checkpoint = self._setup.checkpoint
            near = distance_of(checkpoint.info, NEAR)
            self._masked = load_masked(checkpoint, near, 'a goal with a mask')
        return GoalMask(mask, self._masked.metric(pixels[0], mask))

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

    def _on_state(self, message: JointState, topic: str) -> None:
        """Set values of some fields of the measured state."""
        if len(message.name) != len(message.position):
            raise ConfigError(
                f'{topic}: expected a position for each name, found '
                f'{count_of(len(message.name), "name")} and '
                f'{count_of(len(message.position), "position")}'
            )
        wanted = dict(zip(message.name, message.position, strict=True))
        if len(wanted) < len(message.name):
            raise ConfigError(f'{topic}: a field is named twice: {", ".join(message.name)}')
        self._set_state([wanted], topic)

    def _on_pose(self, message: PoseStamped, topic: str) -> None:
        """Set a position, and an orientation if the measured state has one."""
        frame, expected = message.header.frame_id, self._setup.robot.state.frame_id
        self._set_state(state_of(message.pose, self._planar[0], self._fields), topic)
        if frame not in ('', expected):
            self._warn(
                f'{topic}: the pose in the frame {frame} was used as one of {expected}, in which '
                'the measured state was recorded; nothing is transformed'
            )

    def _set_state(self, alternatives: Sequence[Mapping[str, float]], topic: str) -> None:
        """Set the goal state among equivalent ones that is nearest to a recorded one."""
        states = self._states_of(topic)
        goal = GoalInput(state=states.find(min(alternatives, key=states.gap)))
        # `ros2 topic pub` repeats its message.
        if not self._goal.is_under_way(goal.places, topic):
            self._goal.set(goal, topic)

    def _states_of(self, topic: str) -> GoalStates:
        """Return the recorded states; a run without them may get them while the node runs."""
        if self._states is None:
            checkpoint, fields = self._setup.checkpoint, self._setup.robot.state.fields
            self._states = load(checkpoint.folder, checkpoint.action_block, fields, topic)
        return self._states

    def _try(
        self, on_goal: Callable[[Any, str], None], topic: str, received: PendingMessage
    ) -> None:
        """Set a goal; a message that is not valid leaves the goal unchanged."""
        try:
            on_goal(received.read(), topic)
        except Exception as error:  # no received message may end the node
            self._warn(f'goal not used: {error}')


def require_alternatives(
    names: Sequence[str], pictures: Sequence[int], masks: Sequence[Array | None]
) -> None:
    """Raise a ConfigError unless the names are different, and each is one picture, unmasked."""
    for number, (name, count) in enumerate(zip(names, pictures, strict=True)):
        if name in names[:number]:
            raise ConfigError(f'{name} is named twice among alternative goals')
        if masks[number] is not None:
            raise ConfigError(f'{name} has a mask; alternative goals are pictures without one')
        if count > 1:
            raise ConfigError(
                f'{name} is a route of {count_of(count, "subgoal")}; alternative goals are single '
                'pictures'
            )


def planar_poses(fields: Sequence[str]) -> list[str]:
    """Return the paths of the poses whose position x and y are fields, such as pose.pose."""
    heads = [field.rpartition('.')[0] for field in fields if field.endswith('position.x')]
    planar = [head for head in heads if f'{head}.y' in fields]
    return [head.removesuffix('position').rstrip('.') for head in planar]


def state_of(pose: Any, path: str, fields: Sequence[str]) -> list[dict[str, float]]:
    """Return the fields of a pose; an orientation is two quaternions of opposite signs."""
    head = f'{path}.' if path else ''
    position = {f'{head}position.{axis}': float(getattr(pose.position, axis)) for axis in 'xy'}
    turn = {
        name: float(getattr(pose.orientation, axis))
        for axis in 'xyzw'
        if (name := f'{head}orientation.{axis}') in fields
    }
    return [{**position, **{name: sign * turn[name] for name in turn}} for sign in (1, -1)]
