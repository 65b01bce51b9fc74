# SPDX-License-Identifier: Apache-2.0
"""One configuration for several bags of one robot, from what is proposed for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from smwm_ros.errors import BagError

_NAMED = 3  # bags


def merge(found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return sections for all bags that were surveyed, with limits that hold all, and remarks."""
    whole = [item for item in found if {'camera', 'command'} <= item['robot'].keys()]
    if not whole:
        raise BagError('no bag holds both a camera and a command topic that could be proposed')
    topics = Counter(_topics(item) for item in whole)
    chosen = topics.most_common(1)[0][0]
    mine = [item for item in whole if _topics(item) == chosen]
    remarks = list(dict.fromkeys(remark for item in mine for remark in item['remarks']))
    others = [item['path'] for item in found if item not in mine]
    if others:
        more = ', ...' if len(others) > _NAMED else ''
        remarks.insert(0, f'not for {", ".join(others[:_NAMED])}{more}: other topics are there')
    robot = {**mine[0]['robot'], 'command': _command([item['robot']['command'] for item in mine])}
    states = [item['robot']['state'] for item in mine if 'state' in item['robot']]
    robot.pop('state', None)
    if states:
        same = [state for state in states if state['topic'] == states[0]['topic']]
        robot['state'] = {**states[0], 'fields': _names(same)}
    return {'robot': {**robot, 'dt': mine[0]['robot']['dt']}, 'dataset': _dataset(mine)}, remarks


def _topics(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what the bags of one robot have in common."""
    robot, dataset = item['robot'], item['dataset']
    parts = [robot[part][key] for part in ('camera', 'command') for key in ('topic', 'type')]
    return (*parts, dataset.get('action'))


def _command(commands: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one command section: every field that varies somewhere, between all limits."""
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
    # Commands that rest at zero in one bag are velocities, also where they never rest in others.
    stop = 'zero' if any(command['stop'] == 'zero' for command in commands) else 'hold'
    limits = {'low': [low[name] for name in fields], 'high': [high[name] for name in fields]}
    return {**commands[0], 'fields': fields, **limits, 'stop': stop}


def _names(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fields of all sections: in the order of the one that has most, then the rest."""
    longest = sorted(sections, key=lambda section: -len(section['fields']))
    return list(dict.fromkeys(name for section in longest for name in section['fields']))


def _dataset(mine: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the dataset section: what is widest, and the delay that is in the middle."""
    sections = [item['dataset'] for item in mine]
    dataset = dict(sections[0])
    for knob in ('max_frame_age', 'hold'):
        if values := [section[knob] for section in sections if knob in section]:
            dataset[knob] = max(values)
    dataset.pop('command_delay', None)
    if delays := [section['command_delay'] for section in sections if 'command_delay' in section]:
        dataset['command_delay'] = round(median(delays), 2)
    return dataset
