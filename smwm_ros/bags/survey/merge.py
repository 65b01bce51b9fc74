# SPDX-License-Identifier: Apache-2.0
"""Merge the configurations proposed for several bags of one robot into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from smwm_ros.errors import BagError

_MAX_NAMED = 3  # bags listed in a remark


def merge(found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return config sections for all surveyed bags, with limits that include all, and remarks."""
    with_camera = [item for item in found if 'camera' in item['robot']]
    if not with_camera:
        raise BagError('no configuration can be proposed: no bag has a camera topic')
    whole = [item for item in with_camera if 'command' in item['robot']] or with_camera
    topics = Counter(_topics(item) for item in whole)
    chosen = topics.most_common(1)[0][0]
    mine = [item for item in whole if _topics(item) == chosen]
    remarks = list(dict.fromkeys(remark for item in mine for remark in item['remarks']))
    robot, dataset = dict(mine[0]['robot']), _dataset(mine)
    unlabelled = []
    if 'command' in robot:
        robot['command'] = _command([item['robot']['command'] for item in mine])
        unlabelled = [item for item in with_camera if _lacks_only_commands(item, robot)]
    if unlabelled:
        dataset['after_hold'] = 'unknown'
        listed = _listed([item['path'] for item in unlabelled])
        remarks.append(f'dataset.after_hold=unknown: there are no commands in {listed}')
    others = [item['path'] for item in found if item not in [*mine, *unlabelled]]
    if others:
        remarks.insert(0, f'this configuration does not fit {_listed(others)}: the topics differ')
    states = [item['robot']['state'] for item in mine if 'state' in item['robot']]
    robot.pop('state', None)
    if states:
        same = [state for state in states if state['topic'] == states[0]['topic']]
        robot['state'] = {**states[0], 'fields': _names(same)}
    return {'robot': {**robot, 'dt': mine[0]['robot']['dt']}, 'dataset': dataset}, remarks


def _listed(paths: Sequence[str]) -> str:
    return ', '.join(paths[:_MAX_NAMED]) + (', ...' if len(paths) > _MAX_NAMED else '')


def _lacks_only_commands(item: Mapping[str, Any], robot: Mapping[str, Any]) -> bool:
    """Return whether a recording has the camera of a robot, and no commands."""
    same = item['kind'] == 'video' or item['robot']['camera'] == robot['camera']
    return same and 'command' not in item['robot']


def _topics(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the topics and types that the bags of one robot have in common."""
    robot, dataset = item['robot'], item['dataset']
    used = [robot[part] for part in ('camera', 'command') if part in robot]
    parts = [part[key] for part in used for key in ('topic', 'type')]
    return (*parts, dataset.get('action'))


def _command(commands: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a command section with the fields of all bags, and the widest limits."""
    low, high = dict[str, float](), dict[str, float]()
    for command in commands:
        for name, least, most in zip(
            command['fields'], command['low'], command['high'], strict=True
        ):
            low[name], high[name] = (
                min(low.get(name, least), least),
                max(high.get(name, most), most),
            )
    fields = _names(commands)
    # Commands that are all zeros in one bag are velocities, also in bags without such a message.
    stop = 'zero' if any(command['stop'] == 'zero' for command in commands) else 'hold'
    limits = {'low': [low[name] for name in fields], 'high': [high[name] for name in fields]}
    return {**commands[0], 'fields': fields, **limits, 'stop': stop}


def _names(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fields of all sections: those of the longest first, in its order."""
    longest = sorted(sections, key=lambda section: -len(section['fields']))
    return list(dict.fromkeys(name for section in longest for name in section['fields']))


def _dataset(mine: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a dataset section with the largest age limits and the median delay."""
    sections = [item['dataset'] for item in mine]
    dataset = dict(sections[0])
    for knob in ('max_frame_age', 'hold'):
        if values := [section[knob] for section in sections if knob in section]:
            dataset[knob] = max(values)
    dataset.pop('command_delay', None)
    if delays := [section['command_delay'] for section in sections if 'command_delay' in section]:
        dataset['command_delay'] = round(median(delays), 2)
    return dataset
