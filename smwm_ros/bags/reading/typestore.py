# SPDX-License-Identifier: Apache-2.0
"""The message types of a bag: as the bag itself defines them, else as ROS does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
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
_LONGEST = 1 << 20  # bytes of a definition; those of ROS have some thousand


def typestore(
    connections: Iterable[Connection], is_ros1: bool, msgs: Collection[Path] = ()
) -> Typestore:
    """
    Gather the types of these topics, and no others: making all takes a tenth of a second.

    Folders of .msg files define what the bag does not.
    """
    types = definitions(msgs)
    wanted = set()
    for connection in connections:
        wanted.add(normal_type(connection.msgtype))
        with suppress(Exception):  # a damaged text may raise anything; it is as if it were missing
            if len(connection.msgdef.data) <= _LONGEST:
                types.update(_definitions(connection))
    if not wanted <= types.keys():
        common = Stores.ROS1_NOETIC if is_ros1 else Stores.LATEST
        types = {**get_typestore(common).fielddefs, **types}
    store = get_typestore(Stores.EMPTY)
    store.register({name: types[name] for name in _closure(wanted, types)})
    return store


def definitions(folders: Collection[Path]) -> dict[str, Any]:
    """Read the .msg files in folders: PACKAGE/msg/NAME.msg, or PACKAGE/NAME.msg."""
    types: dict[str, Any] = {}
    for folder in folders:
        files = sorted(folder.resolve().rglob('*.msg'))
        if not files:
            raise BagError(f'{folder}: no .msg files there; expected PACKAGE/msg/NAME.msg')
        for file in files:
            owner = file.parent.parent if file.parent.name == 'msg' else file.parent
            try:
                types |= get_types_from_msg(file.read_text(), f'{owner.name}/msg/{file.stem}')
            except (OSError, ValueError, TypesysError) as error:
                reason = ' '.join(str(error).split())
                raise BagError(f'{file}: no definition of a message: {reason}') from error
    return types


def undefined(kind: str, store: Typestore) -> list[str]:
    """Return the types that nobody defines, of those that a type is made of."""
    if kind not in store.fielddefs:
        return [kind]
    missing: list[str] = []
    for _, field in store.fielddefs[kind][1]:
        if (name := _inner(field)) is not None:
            missing += [other for other in undefined(name, store) if other not in missing]
    return missing


def normal_type(kind: str) -> str:
    """Name a message type as ROS 2 does since Dashing: sensor_msgs/Image gets its /msg/."""
    package, _, name = kind.partition('/')
    return kind if '/' in name else f'{package}/msg/{name}'


def _definitions(connection: Connection) -> dict[str, Any]:
    """Return the message types that a bag defines beside a topic."""
    form, text = connection.msgdef.format, connection.msgdef.data
    if form == MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(text, normal_type(connection.msgtype)))
    types: dict[str, Any] = {}
    if form == MessageDefinitionFormat.IDL:
        for part in text.split('=' * 80 + '\n'):
            body = part.partition('\n')[2] if part.startswith('IDL: ') else part
            body = _DIRECTIVE.sub('', body)  # of what it includes, all follows
            types.update(get_types_from_idl(body) if body.strip() else {})
    return types


def _closure(wanted: Collection[str], types: Mapping[str, Any]) -> set[str]:
    """Return the wanted types that are known, and those that they are made of."""
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
    """Return the type of message that a field is made of, None for one of numbers or texts."""
    node, detail = field
    inner = detail if node == Nodetype.NAME else detail[0]
    if isinstance(inner, tuple):  # the element of an array or sequence
        inner = inner[1] if inner[0] == Nodetype.NAME else None
    return inner if node in (Nodetype.NAME, Nodetype.ARRAY, Nodetype.SEQUENCE) else None
