# SPDX-License-Identifier: Apache-2.0
"""
Send a goal to a running plan node: an image, a stored name, the current camera image, a route.

`state` sets the goal of an arena node: one number for each of robot.state.fields.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_namespace, plan_node

EXAMPLE = 'smwm goal name dock --namespace robot_1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    kinds = parser.add_subparsers(dest='what', metavar='KIND', required=True, help='kind of goal')
    image = kinds.add_parser('image', help='an image file that shows the goal')
    image.add_argument('file', type=Path, help='PNG or JPEG')
    name = kinds.add_parser('name', help='a stored goal or route, see smwm goals')
    name.add_argument('name', help='as smwm goals lists it')
    kinds.add_parser('capture', help='the current camera image, which is stored')
    route = kinds.add_parser('route', help='record a drive as a route: start, then stop')
    route.add_argument('step', choices=('start', 'stop'), help='begin or end the recording')
    state = kinds.add_parser('state', help='a measured state, for the arena node')
    state.add_argument('numbers', type=float, nargs='+', help='one for each field')
    for kind in kinds.choices.values():
        add_namespace(kind)


def run(args: argparse.Namespace) -> int:
    """Send the goal, and print what was accepted."""
    from smwm_ros.codec.image_files import read_file

    picture = read_file(args.file) if args.what == 'image' else None
    with plan_node(args) as client:
        if args.what == 'capture':
            echo(f'goal: {client.capture()}')
        elif args.what == 'route':
            echo(f'route: {client.record(args.step == "start")}')
        elif args.what == 'state':
            client.set_goal_state(args.numbers)
            echo('sent to the arena node; see its log if the state is refused')
        else:
            accepted = (
                client.set_goal_name(args.name)
                if picture is None
                else client.set_goal_picture(picture)
            )
            number, source = accepted['number'], accepted['source']
            echo(f'goal {number}: {source}, {count_of(accepted["subgoals"], "subgoal")}')
    return 0
