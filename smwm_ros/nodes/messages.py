# SPDX-License-Identifier: Apache-2.0
"""Message classes by name, and the qualities of service that the nodes speak with."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from smwm_ros.errors import CodecError, did_you_mean

# The last one is kept for whoever comes later.
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


def camera_qos(reliability: str) -> QoSProfile:
    """Keep only the newest image, for an old one is worth nothing."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])


def message_class(name: str) -> Any:
    """Find the class of 'geometry_msgs/msg/TwistStamped'."""
    package, _, kind = name.partition('/msg/')
    if not kind:
        raise CodecError(f"'{name}': no message type; expected such as sensor_msgs/msg/Image")
    try:
        module = import_module(f'{package}.msg')
    except ModuleNotFoundError:
        raise CodecError(f"'{name}': the package {package} is not installed") from None
    found = getattr(module, kind, None)
    if found is None:
        names = [item for item in dir(module) if item[0].isupper()]
        raise CodecError(f"'{name}': {package} has no such message; {did_you_mean(kind, names)}")
    return found
