# SPDX-License-Identifier: Apache-2.0
"""
Give a goal to a plan node that runs: a picture, a name, what its camera shows, a drive.

A state is a goal of the arena node: its numbers in the order of robot.state.fields.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import count_of, tell
from smwm_ros.verbs.options import add_namespace, plan_node

EXAMPLE = 'smwm goal name dock --namespace robot_1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    kinds = parser.add_subparsers(dest='what', metavar='KIND', required=True, help='kind of goal')
    image = kinds.add_parser('image', help='an image file that shows the goal')
    image.add_argument('file', type=Path, help='PNG or JPEG')
    name = kinds.add_parser('name', help='a goal or route that is kept, see smwm goals')
    name.add_argument('name', help='as smwm goals lists it')
    kinds.add_parser('capture', help='what the camera shows now, which is kept')
    route = kinds.add_parser('route', help='watch a drive (start), and keep it (stop)')
    route.add_argument('step', choices=('start', 'stop'), help='of the drive')
    state = kinds.add_parser('state', help='a measured state, for the arena node')
    state.add_argument('numbers', type=float, nargs='+', help='one for each field')
    for kind in kinds.choices.values():
        add_namespace(kind)


def run(args: argparse.Namespace) -> int:
    """Give the goal, and say what was accepted."""
    from smwm_ros.codec.image_files import read_file

    picture = read_file(args.file) if args.what == 'image' else None
    with plan_node(args) as client:
        if args.what == 'capture':
            tell(f'goal: {client.capture()}')
        elif args.what == 'route':
            tell(f'route: {client.record(args.step == "start")}')
        elif args.what == 'state':
            client.aim_at_state(args.numbers)
            tell('sent to the arena; its log says when it does not fit')
        else:
            accepted = (
                client.aim_at_name(args.name)
                if picture is None
                else client.aim_at_picture(picture)
            )
            number, source = accepted['number'], accepted['source']
            tell(f'goal {number}: {source}, {count_of(accepted["subgoals"], "subgoal")}')
    return 0
