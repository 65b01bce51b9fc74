# SPDX-License-Identifier: Apache-2.0
"""Make default messages, of zeros and empty strings, of any type of ROS 2 Jazzy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_typestore, Stores
from rosbags.typesys.store import Typestore
from smwm_ros.config import BODY_FRAME
from smwm_ros.errors import BagError, did_you_mean
from smwm_ros.fieldpath import parse_path


@cache
def jazzy() -> Typestore:
    """Return the message types of ROS 2 Jazzy, cached with their compiled serialisers."""
    return get_typestore(Stores.ROS2_JAZZY)


def new_message(store: Typestore, kind: str) -> Any:
    """Return a message of zeros and empty strings."""
    if kind not in store.fielddefs:
        known = [name for name in store.fielddefs if name.split('/')[0] == kind.split('/')[0]]
        raise BagError(
            f"'{kind}': no such message type in ROS 2 Jazzy; {did_you_mean(kind, known)}"
        )
    values = {name: _default(store, field) for name, field in store.fielddefs[kind][1]}
    if kind == 'geometry_msgs/msg/Quaternion':
        values['w'] = 1.0  # four zeros are not a rotation
    if kind == 'nav_msgs/msg/Odometry':
        values['child_frame_id'] = BODY_FRAME
    return store.types[kind](**values)


def make_room(store: Typestore, msg: Any, paths: Sequence[str]) -> None:
    """Extend arrays of messages until the field paths exist, such as points[0].positions."""
    for path in paths:
        owner = msg
        for step in parse_path(path)[:-1]:
            field = dict(store.fielddefs[owner.__msgtype__][1]).get(step.name)
            if field is None:
                return  # the codec raises an error that lists the fields
            nodetype, detail = field
            owner = getattr(owner, step.name)
            if nodetype == Nodetype.SEQUENCE and isinstance(step.at, int):
                while len(owner) <= step.at:
                    owner.append(_default(store, detail[0]))
            if isinstance(step.at, int):
                owner = owner[step.at]


def _default(store: Typestore, field: Any) -> Any:
    """Return the default value of a field, given as rosbags describes fields."""
    nodetype, detail = field
    if nodetype == Nodetype.NAME:
        return new_message(store, detail)
    if nodetype == Nodetype.BASE:
        return '' if detail[0] == 'string' else _dtype(detail[0]).type().item()
    element, count = detail
    length = count if nodetype == Nodetype.ARRAY else 0
    if element[0] == Nodetype.BASE and element[1][0] != 'string':
        return np.zeros(length, _dtype(element[1][0]))
    return [_default(store, element) for _ in range(length)]


def _dtype(base: str) -> np.dtype[Any]:
    """Return the NumPy type of a base type."""
    return np.dtype('uint8' if base == 'char' else base)
