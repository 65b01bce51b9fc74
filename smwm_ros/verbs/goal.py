# SPDX-License-Identifier: Apache-2.0
"""
Send a goal to a running plan node: an image, a stored name, the current camera image, a route.

Several stored names are alternatives: the robot heads for the nearest, and any of them counts.
`state` takes FIELD=VALUE for fields of robot.state, such as x=0.4; the rest of the state stays
open. With `--mask` or `--box` only a part of an image counts: the object, and not where the robot
ends. Numbers alone set the goal of an arena node, one for each of robot.state.fields.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import math
from pathlib import Path

from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_mask, add_namespace, masked, plan_node

EXAMPLE = 'smwm goal name dock --namespace robot_1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    kinds = parser.add_subparsers(dest='what', metavar='KIND', required=True, help='kind of goal')
    image = kinds.add_parser('image', help='an image file that shows the goal')
    image.add_argument('file', type=Path, help='PNG or JPEG')
    add_mask(image)
    name = kinds.add_parser('name', help='a stored goal or route, see smwm goals')
    name.add_argument(
        'name', nargs='+', help='as smwm goals lists it; several: any of them counts'
    )
    kinds.add_parser('capture', help='the current camera image, which is stored')
    route = kinds.add_parser('route', help='record a drive as a route: start, then stop')
    route.add_argument('step', choices=('start', 'stop'), help='begin or end the recording')
    state = kinds.add_parser('state', help='a measured state')
    state.add_argument(
        'values',
        nargs='*',
        metavar='FIELD=VALUE',
        help='values of some fields, for the plan node; or a number for each field, for the arena '
        'node',
    )
    state.set_defaults(settings=())  # where the command line puts most words of this form
    for kind in kinds.choices.values():
        add_namespace(kind)


def run(args: argparse.Namespace) -> int:
    """Send the goal, and print what was accepted."""
    from smwm_ros.codec.image_files import read_file

    picture = masked(read_file(args.file), args, args.file) if args.what == 'image' else None
    fields, numbers = _state([*args.settings, *args.values]) if args.what == 'state' else ({}, [])
    with plan_node(args) as client:
        if args.what == 'capture':
            echo(f'goal: {client.capture()}')
        elif args.what == 'route':
            echo(f'route: {client.record(args.step == "start")}')
        elif numbers:
            client.set_goal_state(numbers)
            echo('sent to the arena node; see its log if the state is refused')
        else:
            if fields:
                accepted = client.set_goal_fields(fields)
            elif picture is None:
                accepted = client.set_goal_name(*args.name)
            else:
                accepted = client.set_goal_picture(picture)
            any_of = len(accepted.get('alternatives', ()))
            what = count_of(accepted['subgoals'], 'subgoal')
            what = f'any of {count_of(any_of, "goal")}' if any_of else what
            what += f', {accepted["masked"]:.1%} of it counts' if 'masked' in accepted else ''
            echo(f'goal {accepted["number"]}: {accepted["source"]}, {what}')
    return 0


def _state(words: Sequence[str]) -> tuple[dict[str, float], list[float]]:
    """Return the named values, or the numbers without names, of a state."""
    if not words:
        raise ConfigError('state: expected FIELD=VALUE, such as x=0.4')
    fields, numbers = dict[str, float](), list[float]()
    for word in words:
        name, equals, text = word.rpartition('=')
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (equals and not name):
            raise ConfigError(
                f"'{word}': expected FIELD=VALUE with a finite number, such as x=0.4, or numbers "
                'alone for the arena node'
            )
        if name in fields:
            raise ConfigError(f'{name}: named twice')
        if equals:
            fields[name] = value
        else:
            numbers.append(value)
    if fields and numbers:
        raise ConfigError(
            f'{count_of(len(numbers), "number")} without a field beside FIELD=VALUE; name every '
            'value, or none'
        )
    return fields, numbers
