# SPDX-License-Identifier: Apache-2.0
"""
Check whether a model fits a robot, by a recording of it, before it moves.

BAG holds a minute of driving by hand. The check compares topics, types, control period and limits
with those of the model, its images with those of the training, and its commands with the motion in
the images. It prints go or no-go with what to do, and exits with 1 after a no-go.

--write saves the delay and the gain of each command field, as a configuration that smwm convert,
smwm rehearse and the arena read.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.errors import SmwmError
from smwm_ros.text import count_of, echo, line
from smwm_ros.verbs.options import add_msgs, converted

if TYPE_CHECKING:
    from smwm_ros.config import Robot
    from smwm_ros.evaluation.preflight import Check, Commands
    from smwm_ros.model.checkpoint import Checkpoint

EXAMPLE = 'smwm check runs/mine --bag my_bags/monday --robot robot.yaml'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('run_folder', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument(
        '--bag', type=Path, nargs='+', required=True, help='recordings of the robot'
    )
    parser.add_argument(
        '--robot', metavar='FILE', help='configuration of the robot (default: that of RUN)'
    )
    parser.add_argument(
        '--write',
        type=Path,
        metavar='FILE',
        help='write a configuration with the measured delay and gain of each command field',
    )
    add_msgs(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from smwm_ros.evaluation.preflight import Check
    from smwm_ros.files import require_new
    from smwm_ros.load import load_config
    from smwm_ros.model.checkpoint import load

    if args.write:
        require_new(args.write)
    checkpoint = load(args.run_folder)
    robot = load_config(args.robot).robot if args.robot else checkpoint.robot
    checks, commands = [_compare_robots(checkpoint.robot, robot)], None
    if checks[0].go:
        try:
            more, commands = _check_bags(args, checkpoint, robot)
            checks += more
        except SmwmError as error:
            checks.append(Check('recording', False, str(error), 'mend this first'))
    for one in checks:
        echo(f'{"go" if one.go else "NO-GO":6} {one.name}: {one.what}')
        if one.remedy and (not one.go or one.name == 'delay'):
            echo(f'       -> {one.remedy}')
    if args.write:
        measured = any(one.name == 'delay' for one in checks)
        _write(args, checkpoint, robot, commands if measured else None)
    failed = sum(not one.go for one in checks)
    echo('go' if not failed else f'no-go: {count_of(failed, "check")} failed')
    return int(failed > 0)


def _compare_robots(known: Robot, robot: Robot) -> Check:
    """Compare what the model was trained for with a configuration."""
    from smwm_ros.evaluation.preflight import Check

    found = {
        'robot.dt': (known.dt, robot.dt),
        'robot.command.fields': (known.command.fields, robot.command.fields),
    }
    wrong = [
        f'{name} is {now}, and {before} in training'
        for name, (before, now) in found.items()
        if before != now
    ]
    limits = zip(
        robot.command.fields,
        *(robot.command.low, known.command.low, robot.command.high, known.command.high),
        strict=False,
    )
    wrong += [
        f'the limits of {field} are {low:g} to {high:g}, and {least:g} to {most:g} in training'
        for field, low, least, high, most in limits
        if low < least or high > most
    ]
    return Check(
        'robot',
        not wrong,
        '; '.join(wrong) or 'fields, limits and control period are those of the training',
        'use a model of this robot, in this order of fields; narrow the limits to those of the '
        'training, or train with recordings of this robot',
    )


def _check_bags(
    args: argparse.Namespace, checkpoint: Checkpoint, robot: Robot
) -> tuple[list[Check], Commands | None]:
    """Convert the recordings as those of the training, and check images and commands."""
    from tempfile import TemporaryDirectory

    from smwm_ros.evaluation.preflight import (
        check_commands,
        check_images,
        check_recording,
        compare_commands,
    )

    robot = replace(robot, state=checkpoint.robot.state)
    settings = replace(checkpoint.dataset, after_hold='unknown')
    with TemporaryDirectory(prefix='smwm-check-') as folder:
        data = converted(args.bag, Path(folder), robot, settings, args.msgs)
        commands = compare_commands(checkpoint, data)
        checks = [
            check_recording(data),
            check_images(checkpoint, data),
            *check_commands(checkpoint, commands),
        ]
        return checks, commands


def _write(
    args: argparse.Namespace, checkpoint: Checkpoint, robot: Robot, commands: Commands | None
) -> None:
    """Write a configuration with what was measured of the actuators."""
    from smwm_ros.arenas.choose import arenas_of
    from smwm_ros.evaluation.preflight import actuation, later
    from smwm_ros.files import write_atomic
    from smwm_ros.load import to_dict
    import yaml

    if commands is None:
        echo(f'{args.write}: not written, because the motion does not answer to the commands')
        return
    arena: dict[str, Any] = actuation(checkpoint, commands)
    if names := arenas_of(checkpoint.robot):
        arena = {'name': names[0], 'image_size': checkpoint.image_size, **arena}
    delay = round(later(checkpoint, commands.delay), 9)
    sections = {
        'robot': to_dict(robot),
        'dataset': {**to_dict(checkpoint.dataset), 'command_delay': delay},
        'arena': arena,
    }
    text = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None)
    unknown = [one.name for one in commands.fields if not one.known]
    head = ['# measured by smwm check: delay and gain of each command field, beside the training']
    head += [f'# not measured, because it did not vary: {name}' for name in unknown]
    if len({one.delay for one in commands.fields if one.known}) > 1:
        head.append('# the delays differ: dataset.command_delay is the one that fits best')
    write_atomic(args.write, '\n'.join([*map(line, head), text]).encode())
    echo(
        f'{args.write}: delay and gain of each field, for smwm convert --config and smwm '
        'rehearse --config'
    )
