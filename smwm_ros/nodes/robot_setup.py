# SPDX-License-Identifier: Apache-2.0
"""Check that a checkpoint, the robot and the planner parameters fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name
from smwm_ros import config
from smwm_ros.codec.bridge import check_decoder, installed
from smwm_ros.codec.fields import FieldCodec
from smwm_ros.codec.goal_masks import mask_of_file
from smwm_ros.codec.image_files import read_picture
from smwm_ros.codec.images import compose, read_image, read_view, tiles
from smwm_ros.codec.nal_units import H264
from smwm_ros.codec.video import open_decoder
from smwm_ros.config import VIDEO_TYPES
from smwm_ros.control.guard import check_contract
from smwm_ros.errors import CheckpointError, CodecError, ConfigError, SmwmError
from smwm_ros.evaluation.verdict import require_fit
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.model.device import planning_device
from smwm_ros.nodes.messages import blank_message, message_class
from smwm_ros.nodes.parameters import read_knobs
from smwm_ros.share import shipped
from smwm_ros.text import count_of, line


class Setup:
    """A checkpoint that fits the robot, with the message types of its topics."""

    def __init__(self, checkpoint: Checkpoint, robot: config.Robot, planner: config.Planner):
        check_contract(checkpoint.robot, robot)
        installed()  # import cv_bridge now, and not while the robot moves
        check_decoder(robot.camera.decoder)
        for section in ('camera', 'command'):
            check_topic(f'robot.{section}.topic', getattr(robot, section).topic)
        for topic in robot.camera.topics[1:]:
            check_topic('robot.camera.others', topic)
        if checkpoint.dataset.action == 'next_state_delta':
            raise CheckpointError(
                'dataset.action: next_state_delta, expected a command topic; the model was '
                'trained on changes of a measured state, which cannot be published as commands'
            )
        # Moved once: pilot, display and setups with other limits share the model.
        self._trained = checkpoint.on(planning_device(planner, checkpoint.model_config))
        # The planner uses the robot's limits, which may be narrower than those of training.
        self.checkpoint = self._trained._replace(robot=robot)
        self.robot = robot
        self.planner = planner
        self.codec = FieldCodec(self.checkpoint.spec)
        camera = robot.camera
        self._tiles = tiles(len(camera.topics), self.checkpoint.image_size, camera.tiles)
        message_class(camera.type)  # raise now if its package is missing
        if camera.type in VIDEO_TYPES:
            open_decoder(H264)  # raise now if there is none
        self.command_type = message_class(robot.command.type)
        # Raise for a field that the command does not have now, not when the robot moves.
        self.codec.encode(self.command([0.0] * self.codec.spec.size))

    def with_limits(self, robot: config.Robot) -> Setup:
        """Return a setup for the same robot with other limits."""
        return Setup(self._trained, robot, self.planner)

    def with_model(self, checkpoint: Checkpoint) -> Setup:
        """Return a setup for the same robot with the model of another checkpoint."""
        return Setup(self._trained._replace(model=checkpoint.model), self.robot, self.planner)

    def check_delay(self, knobs: config.Node, planner: config.Planner) -> None:
        """Raise if the known delays are longer than a plan."""
        if not knobs.compensate:
            return
        actuation = knobs.actuation_delay
        if actuation < 0:
            actuation = self.checkpoint.dataset.command_delay
        delay = max(knobs.camera_delay, 0.0) + max(actuation, 0.0)
        length = planner.horizon * self.checkpoint.action_block * self.robot.dt
        if delay >= length - self.robot.dt / 2:
            raise ConfigError(
                f'node.camera_delay and node.actuation_delay: {delay:g} s together, expected '
                f'less than a plan of {length:g} s (planner.horizon {planner.horizon} x '
                f'{count_of(self.checkpoint.action_block, "period")} of {self.robot.dt:g} s); '
                'increase planner.horizon'
            )

    def describe(self, node: Node) -> str:
        """Return the topics after remapping, the rate, and the limits of the command fields."""
        robot, spec = self.robot, self.codec.spec
        fields = ', '.join(
            f'{field} {low:g} to {high:g}'
            for field, low, high in zip(spec.fields, spec.low, spec.high, strict=True)
        )
        cameras = ', '.join(node.resolve_topic_name(topic) for topic in robot.camera.topics)
        command = node.resolve_topic_name(robot.command.topic)
        return f'{cameras} -> {command} at {1 / spec.dt:g} Hz: {fields}'

    def command(self, action: Any) -> Any:
        """Return a command message for an action (A,)."""
        spec = self.codec.spec
        return self.codec.decode(action, blank_message(self.command_type, spec.fields, spec.dt))

    def pixels(self, message: Any) -> Array:
        """Read an image message at the size of the model, (S, S, 3) uint8 RGB."""
        how = self.checkpoint.dataset.resize
        return read_image(message, self.checkpoint.image_size, how, self.robot.camera.decoder)

    def view(self, message: Any, number: int) -> Array:
        """Read an image message of a camera at the size of its tile, (H, W, 3) uint8 RGB."""
        tile = self._tiles[number]
        how = self.checkpoint.dataset.resize
        return read_view(message, tile.height, tile.width, how, self.robot.camera.decoder)

    def compose(self, views: Sequence[Array]) -> Array:
        """Join the views of all cameras in the image of the model, (S, S, 3) uint8 RGB."""
        return compose(views, self.checkpoint.image_size, self.robot.camera.tiles)

    def picture(self, path: Path) -> Array:
        """Read an image file at the size of the model, (S, S, 3) uint8 RGB."""
        try:
            return read_picture(path, self.checkpoint.image_size, self.checkpoint.dataset.resize)
        except SmwmError as error:
            raise CodecError(f'goal_image: {error}') from None

    def mask(self, path: Path) -> Array | None:
        """Read the mask of an image file at the size of the model, (S, S) bool, if it has one."""
        return mask_of_file(path, self.checkpoint.image_size, self.checkpoint.dataset.resize)


def check_topic(path: str, topic: str) -> None:
    """Raise unless a parameter holds a valid topic name."""
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f"{path}: '{topic}' is not a topic name: {reason}") from None


def set_up(
    node: Node,
    folder: str,
    changes: Callable[[str], Mapping[str, Any]] = lambda section: {},
    accept_unfit: bool = False,
) -> Setup:
    """
    Load a checkpoint, '' for the one that comes with the package, and apply the ROS parameters.

    changes(section) returns the values that were set since the node started.
    """
    path = Path(folder) if folder else shipped('models', 'two_room')
    if path is None:
        raise CheckpointError('checkpoint: not given, and the package has none')
    checkpoint = load(path)
    if warning := require_fit(checkpoint.info, str(path), accept_unfit):
        node.get_logger().warning(line(warning))
    robot = read_knobs(node, 'robot', config.Robot, checkpoint.robot, changes('robot'))
    planner = read_knobs(node, 'planner', config.Planner, checkpoint.planner, changes('planner'))
    return Setup(checkpoint, robot, planner)
