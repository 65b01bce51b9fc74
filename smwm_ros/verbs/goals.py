# SPDX-License-Identifier: Apache-2.0
"""
Store named goals of a run: an image, a moment of a bag, or a route along a recorded drive.

Without --name it lists the stored goals. A bag gives a goal with --at, and a route without. Send
one to the plan node by its name on /goal/name. With --mask or --box only a part of the picture
counts: the object, and not where the robot ends. Goals are image files in RUN/goals.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.config import Goal
from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_mask, add_msgs, masked

if TYPE_CHECKING:
    from smwm_ros.control.goal_library import GoalLibrary
    from smwm_ros.interfaces import Array
    from smwm_ros.model.checkpoint import Checkpoint

EXAMPLE = 'smwm goals runs/mine --name dock --bag my_bags/monday --at 12.5'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('checkpoint', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument('--name', help='name of the goal or route to store')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--image', type=Path, metavar='FILE', help='image of the goal')
    source.add_argument('--bag', type=Path, help='bag that shows the goal or the drive')
    add_mask(parser)
    parser.add_argument(
        '--at', type=float, metavar='S', help='time of the goal [s from the start of the bag]'
    )
    parser.add_argument(
        '--start', type=float, default=0.0, metavar='S', help='start of the route [s] (default: 0)'
    )
    parser.add_argument(
        '--stop', type=float, metavar='S', help='end of the route [s] (default: of the bag)'
    )
    parser.add_argument(
        '--spacing',
        type=float,
        default=Goal.spacing,
        metavar='N',
        help=f'control periods between two subgoals of a route (default: {Goal.spacing:g})',
    )
    parser.add_argument('--folder', type=Path, help='folder of the goals (default: RUN/goals)')
    add_msgs(parser)


def run(args: argparse.Namespace) -> int:
    """List the goals, or store one."""
    from smwm_ros.control.goal_library import GoalLibrary
    from smwm_ros.model.checkpoint import load
    from smwm_ros.share import goals_folder

    library = GoalLibrary(args.folder or goals_folder(args.checkpoint))
    if not args.name:
        if args.image or args.bag:
            raise ConfigError('--name: missing; every goal is stored under a name')
        _list(library)
        return 0
    checkpoint = load(args.checkpoint)
    if args.image:
        from smwm_ros.codec.goal_masks import fit_masked
        from smwm_ros.codec.image_files import read_file

        picture = masked(read_file(args.image), args, args.image)
        pictures = [fit_masked(picture, checkpoint.image_size, checkpoint.dataset.resize)]
    elif args.bag:
        pictures = _from_bag(args, checkpoint)
        if args.mask or args.box:
            if len(pictures) > 1:
                raise ConfigError('--mask, --box: for a single goal, not for a route; give --at')
            pictures = [masked(pictures[0], args)]
    else:
        raise ConfigError(f"'{args.name}': give --image or --bag to define the goal")
    path = library.save(args.name, pictures)
    echo(
        f'{path}: {_what(len(pictures))}; send it with: '
        f'ros2 topic pub --once /goal/name std_msgs/msg/String "{{data: {args.name}}}"'
    )
    return 0


def _list(library: GoalLibrary) -> None:
    """Print the stored goals."""
    names = library.names()
    if not names:
        echo(f'{library.folder}: no goals yet')
    for name, count in names.items():
        echo(f'{name}: {_what(count)}')


def _what(pictures: int) -> str:
    return 'a goal' if pictures == 1 else f'a route of {count_of(pictures, "subgoal")}'


def _from_bag(args: argparse.Namespace, checkpoint: Checkpoint) -> list[Array]:
    """Return the frame at a time of the bag, or the subgoals of a drive."""
    from smwm_ros.bags.reading.find import find_bags
    from smwm_ros.bags.reading.frames_at import image_at, images_between

    bags = find_bags([args.bag], args.msgs)
    if len(bags) != 1:
        names = ', '.join(bag.name for bag in bags[:5])
        raise ConfigError(f'--bag: {args.bag} holds {len(bags)} bags ({names} ...); name one')
    robot, dataset = checkpoint.robot, checkpoint.dataset
    if args.at is not None:
        return [image_at(bags[0], robot, dataset, args.at)]
    drive = images_between(bags[0], robot, dataset, args.start, args.stop)
    return _subgoals(drive, checkpoint, args.spacing)


def _subgoals(drive: list[Array], checkpoint: Checkpoint, spacing: float) -> list[Array]:
    """Return the frames of a drive that become subgoals of the route."""
    import numpy as np
    from smwm_ros.control.route import RouteRecorder
    from smwm_ros.planning.pilot import Pilot
    from smwm_ros.training.latent_scale import distance_of

    distance = distance_of(checkpoint.info, spacing)
    if distance is None:
        raise ConfigError(
            'the checkpoint has no latent distances between frames; run smwm train again with the '
            'same dataset and run folder to add them (nothing is trained)'
        )
    pilot, recorder = Pilot(checkpoint), RouteRecorder(distance)
    for start in range(0, len(drive), 128):
        part = drive[start : start + 128]
        for z, picture in zip(pilot.encode(np.stack(part)), part, strict=True):
            recorder.add(z, picture)
    route = recorder.route()
    if len(route) < 2:
        raise ConfigError(
            'the images show no motion, so there is no route; --at gives a single goal'
        )
    return route
