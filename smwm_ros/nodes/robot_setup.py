# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint, the robot and the planner's knobs make together, checked before use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name
from smwm_ros import config
from smwm_ros.codec.fields import FieldCodec
from smwm_ros.codec.image_files import read_picture
from smwm_ros.codec.images import compose, read_image, read_view, tiles
from smwm_ros.control.guard import check_contract
from smwm_ros.errors import CheckpointError, CodecError, ConfigError, SmwmError
from smwm_ros.evaluation.verdict import require_fit
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.nodes.messages import blank_message, message_class
from smwm_ros.nodes.parameters import read_knobs
from smwm_ros.planning.pilot import planning_device
from smwm_ros.share import shipped
from smwm_ros.text import count_of, line


class Setup:
    """A checkpoint that fits the robot, and the message types that join them."""

    def __init__(self, checkpoint: Checkpoint, robot: config.Robot, planner: config.Planner):
        self._trained = checkpoint
        check_contract(checkpoint.robot, robot)
        for section in ('camera', 'command'):
            check_topic(f'robot.{section}.topic', getattr(robot, section).topic)
        for topic in robot.camera.topics[1:]:
            check_topic('robot.camera.others', topic)
        if checkpoint.dataset.action == 'next_state_delta':
            raise CheckpointError(
                'the model was trained on changes of a measured state (dataset.action='
                'next_state_delta); it can be evaluated, but no topic takes these as commands'
            )
        # The planner works within the robot's own limits, which may be narrower.
        device = planning_device(planner, checkpoint.model_config)
        self.checkpoint = checkpoint._replace(robot=robot).on(device)  # pilot and display share it
        self.robot = robot
        self.planner = planner
        self.codec = FieldCodec(self.checkpoint.spec)
        camera = robot.camera
        self._tiles = tiles(len(camera.topics), self.checkpoint.image_size, camera.tiles)
        self.camera_type = message_class(robot.camera.type)
        self.command_type = message_class(robot.command.type)
        # A field that the command does not have is found now, not when the robot moves.
        self.codec.encode(self.command([0.0] * self.codec.spec.size))

    def limited(self, robot: config.Robot) -> Setup:
        """Return a setup for the same robot with other limits."""
        return Setup(self._trained, robot, self.planner)

    def check_delay(self, knobs: config.Node, planner: config.Planner) -> None:
        """Refuse delays that are known and reach beyond the end of a plan."""
        if not knobs.compensate:
            return
        actuation = knobs.actuation_delay
        if actuation < 0:
            actuation = self.checkpoint.dataset.command_delay
        delay = max(knobs.camera_delay, 0.0) + max(actuation, 0.0)
        length = planner.horizon * self.checkpoint.action_block * self.robot.dt
        if delay >= length - self.robot.dt / 2:
            raise ConfigError(
                f'node.camera_delay and the delay of the motors are {delay:g} s together, and a '
                f'plan looks {length:g} s ahead (planner.horizon {planner.horizon} x '
                f'{count_of(self.checkpoint.action_block, "period")} of {self.robot.dt:g} s); '
                'expected a longer plan'
            )

    def in_words(self, node: Node) -> str:
        """Say which topics a node joins, as they are after remapping, and within what limits."""
        robot, spec = self.robot, self.codec.spec
        fields = ', '.join(
            f'{field} {low:g} to {high:g}'
            for field, low, high in zip(spec.fields, spec.low, spec.high, strict=True)
        )
        cameras = ', '.join(node.resolve_topic_name(topic) for topic in robot.camera.topics)
        command = node.resolve_topic_name(robot.command.topic)
        return f'{cameras} -> {command} at {1 / spec.dt:g} Hz: {fields}'

    def command(self, action: Any) -> Any:
        """Return a command message that carries an action (A,)."""
        spec = self.codec.spec
        return self.codec.decode(action, blank_message(self.command_type, spec.fields, spec.dt))

    def pixels(self, message: Any) -> Array:
        """Read an image message as the model wants it, (S, S, 3) RGB."""
        return read_image(message, self.checkpoint.image_size, self.checkpoint.dataset.resize)

    def view(self, message: Any, number: int) -> Array:
        """Read an image message of one of the cameras at the size of its tile."""
        tile = self._tiles[number]
        how = self.checkpoint.dataset.resize
        return read_view(message, tile.height, tile.width, how)

    def compose(self, views: Sequence[Array]) -> Array:
        """Make of the views of all cameras what the model sees, (S, S, 3) RGB."""
        return compose(views, self.checkpoint.image_size, self.robot.camera.tiles)

    def picture(self, path: Path) -> Array:
        """Read an image file as the model wants it, (S, S, 3) RGB."""
        try:
            return read_picture(path, self.checkpoint.image_size, self.checkpoint.dataset.resize)
        except SmwmError as error:
            raise CodecError(f'goal_image: {error}') from None


def check_topic(path: str, topic: str) -> None:
    """Refuse what is no topic name, in words of the parameter it came from."""
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f"{path}: '{topic}' is no topic name: {reason}") from None


def set_up(
    node: Node,
    folder: str,
    changed: Callable[[str], Mapping[str, Any]] = lambda section: {},
    accept_unfit: bool = False,
) -> Setup:
    """
    Load a checkpoint, '' for the one that comes with the package, under ROS parameters.

    changed(section) returns what was set since the node started.
    """
    path = Path(folder) if folder else shipped('models', 'two_room')
    if path is None:
        raise CheckpointError('checkpoint: none given, and none came with the package')
    checkpoint = load(path)
    if warning := require_fit(checkpoint.info, str(path), accept_unfit):
        node.get_logger().warning(line(warning))
    robot = read_knobs(node, 'robot', config.Robot, checkpoint.robot, changed('robot'))
    planner = read_knobs(node, 'planner', config.Planner, checkpoint.planner, changed('planner'))
    return Setup(checkpoint, robot, planner)
