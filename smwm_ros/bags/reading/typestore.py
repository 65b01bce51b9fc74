# SPDX-License-Identifier: Apache-2.0
"""The message definitions of a bag: those stored in it, else those of ROS and of video."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
import re
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat, Nodetype
from rosbags.typesys import (
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
    Stores,
    TypesysError,
)
from rosbags.typesys.store import Typestore
from smwm_ros.errors import BagError

_DIRECTIVE = re.compile(r'^[ \t]*#.*$', re.MULTILINE)  # #include, which rosbags does not parse
_VIDEO = {
    'foxglove_msgs/msg/CompressedVideo': (
        'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n'
    ),
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': (
        'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n'
        'uint8 flags\nbool is_bigendian\nuint8[] data\n'
    ),
}
_MAX_DEFINITION = 1 << 20  # bytes; those of ROS have some thousand


def typestore(
    connections: Iterable[Connection], is_ros1: bool, msgs: Collection[Path] = ()
) -> Typestore:
    """
    Return the types of these topics only: registering all of ROS takes a tenth of a second.

    msgs: folders of .msg files that define the types which the bag does not define.
    """
    types = definitions(msgs)
    wanted = set()
    for connection in connections:
        wanted.add(normal_type(connection.msgtype))
        with suppress(Exception):  # a damaged definition, which may raise anything, is ignored
            if len(connection.msgdef.data) <= _MAX_DEFINITION:
                types.update(_definitions(connection))
    if not wanted <= types.keys():
        common = Stores.ROS1_NOETIC if is_ros1 else Stores.LATEST
        types = {**get_typestore(common).fielddefs, **video_types(), **types}
    store = get_typestore(Stores.EMPTY)
    store.register({name: types[name] for name in _closure(wanted, types)})
    return store


@cache
def video_types() -> dict[str, Any]:
    """Return the message types of video, which are not part of ROS."""
    types: dict[str, Any] = {}
    for kind, text in _VIDEO.items():
        types |= get_types_from_msg(text, kind)
    return types


def definitions(folders: Collection[Path]) -> dict[str, Any]:
    """Read the .msg files in folders: PACKAGE/msg/NAME.msg, or PACKAGE/NAME.msg."""
    types: dict[str, Any] = {}
    for folder in folders:
        files = sorted(folder.resolve().rglob('*.msg'))
        if not files:
            raise BagError(f'{folder}: no .msg files found, expected PACKAGE/msg/NAME.msg')
        for file in files:
            owner = file.parent.parent if file.parent.name == 'msg' else file.parent
            try:
                types |= get_types_from_msg(file.read_text(), f'{owner.name}/msg/{file.stem}')
            except (OSError, ValueError, TypesysError) as error:
                reason = ' '.join(str(error).split())
                raise BagError(f'{file}: not a message definition: {reason}') from error
    return types


def undefined(kind: str, store: Typestore) -> list[str]:
    """Return the types without definition among a type and the types of its fields."""
    if kind not in store.fielddefs:
        return [kind]
    missing: list[str] = []
    for _, field in store.fielddefs[kind][1]:
        if (name := _inner(field)) is not None:
            missing += [other for other in undefined(name, store) if other not in missing]
    return missing


def normal_type(kind: str) -> str:
    """Return a message type as ROS 2 spells it: sensor_msgs/Image -> sensor_msgs/msg/Image."""
    package, _, name = kind.partition('/')
    return kind if '/' in name else f'{package}/msg/{name}'


def _definitions(connection: Connection) -> dict[str, Any]:
    """Return the types in the message definition that a bag stores for a topic."""
    form, text = connection.msgdef.format, connection.msgdef.data
    if form == MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(text, normal_type(connection.msgtype)))
    types: dict[str, Any] = {}
    if form == MessageDefinitionFormat.IDL:
        for part in text.split('=' * 80 + '\n'):
            body = part.partition('\n')[2] if part.startswith('IDL: ') else part
            body = _DIRECTIVE.sub('', body)  # included files follow in the same text
            types.update(get_types_from_idl(body) if body.strip() else {})
    return types


def _closure(wanted: Collection[str], types: Mapping[str, Any]) -> set[str]:
    """Return the wanted types that are known, with the types of their fields."""
    found: set[str] = set()
    ahead = [name for name in wanted if name in types]
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        found.add(name)
        inner = [_inner(field) for _, field in types[name][1]]
        ahead += [kind for kind in inner if kind is not None and kind in types]
    return found


def _inner(field: Any) -> str | None:
    """Return the message type of a field or its elements, None for numbers and strings."""
    node, detail = field
    inner = detail if node == Nodetype.NAME else detail[0]
    if isinstance(inner, tuple):  # the element of an array or sequence
        inner = inner[1] if inner[0] == Nodetype.NAME else None
    return inner if node in (Nodetype.NAME, Nodetype.ARRAY, Nodetype.SEQUENCE) else None
