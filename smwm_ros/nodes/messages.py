# SPDX-License-Identifier: Apache-2.0
"""Find message and action classes by name, and define the quality of service of topics."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
import re
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    qos_policy_name_from_kind,
    QoSProfile,
    ReliabilityPolicy,
)
from smwm_ros.config import IMAGE_TYPES
from smwm_ros.errors import CodecError, did_you_mean
from smwm_ros.fieldpath import parse_path
from smwm_ros.nodes.rclpy_versions import PublisherEventCallbacks
from smwm_ros.text import line

# Later subscribers get the last message.
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# The default of publishers, such as `ros2 topic pub`.
VOLATILE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
PACKETS = 60  # of video that may wait: two seconds at 30 Hz
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


def camera_qos(reliability: str, kind: str = IMAGE_TYPES[0]) -> QoSProfile:
    """Return the QoS of camera topics of a type, which keeps only the newest image."""
    # Of other types each message may be a packet of video, which the next ones depend on.
    depth = 1 if kind == IMAGE_TYPES[0] else PACKETS
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])


def command_publisher(node: LifecycleNode, kind: Any, topic: str) -> Publisher:
    """Create a publisher of commands, and warn of subscribers with incompatible QoS."""
    name = node.resolve_topic_name(topic)

    def on_incompatible_qos(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        text = (
            f'{name}: a subscriber has incompatible QoS ({policy}); commands are published '
            'volatile and reliable'
        )
        node.get_logger().warning(line(text))

    events = PublisherEventCallbacks(incompatible_qos=on_incompatible_qos)
    return node.create_lifecycle_publisher(kind, topic, COMMAND, event_callbacks=events)


def message_class(name: str) -> Any:
    """Return the class of a type such as 'geometry_msgs/msg/TwistStamped'."""
    package, _, kind = name.partition('/msg/')
    if not kind:
        raise CodecError(
            f"'{name}' is not a message type; expected one such as sensor_msgs/msg/Image"
        )
    try:
        module = import_module(f'{package}.msg')
    except ModuleNotFoundError:
        raise CodecError(
            f"'{name}': the package {package} is not installed; install it with "
            f'apt install ros-$ROS_DISTRO-{package.replace("_", "-")}, and source ROS 2'
        ) from None
    found = getattr(module, kind, None)
    if found is None:
        names = [item for item in dir(module) if item[0].isupper()]
        raise CodecError(f"'{name}': {package} has no message {kind}; {did_you_mean(kind, names)}")
    return found


def action_class(package: str, kind: str) -> Any:
    """Return the class of an action, None if its package is not built or not sourced."""
    try:
        module = import_module(f'{package}.action')
    except ModuleNotFoundError:
        return None
    # In a clone of this repository, the folder of the source is a package without content.
    return getattr(module, kind, None)


_BASES = {'double': 'float64', 'float': 'float32', 'boolean': 'bool', 'octet': 'byte'}


def definitions(name: str) -> dict[str, str]:
    """
    Return the definitions of a type and of the types of its fields, as in .msg files.

    They are those of the installed package, which may differ from those of another distribution.
    Constants and default values are not in them.
    """
    texts: dict[str, str] = {}
    ahead = [name]
    while ahead:
        kind = ahead.pop()
        if kind in texts:
            continue
        types = message_class(kind).get_fields_and_field_types()
        texts[kind] = ''.join(f'{_as_in_msg(type_)} {field}\n' for field, type_ in types.items())
        inner = re.findall(r'(\w+)/(\w+)', ' '.join(types.values()))
        ahead += [f'{package}/msg/{message}' for package, message in inner]
    return texts


def _as_in_msg(text: str) -> str:
    """Return the type of a field as in a .msg file: sequence<double, 3> is float64[<=3]."""
    if found := re.fullmatch(r'sequence<(.+?)(?:, (\d+))?>', text):
        bound = f'<={found[2]}' if found[2] else ''
        return f'{_as_in_msg(found[1])}[{bound}]'
    if found := re.fullmatch(r'(.+)\[(\d+)\]', text):
        return f'{_as_in_msg(found[1])}[{found[2]}]'
    if found := re.fullmatch(r'(w?string)<(\d+)>', text):
        return f'{found[1]}<={found[2]}'
    return _BASES.get(text, text)


def blank_message(kind: Any, paths: Sequence[str], period: float) -> Any:
    """
    Return a message with elements for all fields that will be written into it.

    A new trajectory has no points: 'points[0].positions[0:6]' gets one, due after one period.
    """
    message = kind()
    for path in paths:
        owner = message
        for step in parse_path(path)[:-1]:
            part = getattr(owner, step.name, None)
            if part is None:  # no such field: the codec raises a better error
                break
            if isinstance(step.at, int):
                while len(part) <= step.at:
                    part.append(_element(owner, step.name, (len(part) + 1) * period))
                part = part[step.at]
            owner = part
    return message


def _element(owner: Any, field: str, due: float) -> Any:
    """Return a new element for a field that is a list of messages."""
    text = owner.get_fields_and_field_types()[field]  # sequence<trajectory_msgs/JointTra...Point>
    found = re.search(r'([A-Za-z]\w*)/(\w+)', text)
    if found is None:
        raise CodecError(f"'{field}': expected a list of messages, found {text}")
    element = message_class(f'{found[1]}/msg/{found[2]}')()
    if hasattr(element, 'time_from_start'):
        element.time_from_start.sec = int(due)
        element.time_from_start.nanosec = round(due % 1 * 1e9)
    return element
