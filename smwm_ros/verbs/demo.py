# SPDX-License-Identifier: Apache-2.0
"""
Run the whole pipeline in an arena: collect, convert, train, and plan over ROS 2.

Drives a simulated robot and records rosbags, converts them into a dataset, trains a world model,
then runs the arena node and the plan node as two ROS 2 processes and writes a report. Run it again
to resume: finished steps are reused.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import time

from smwm_ros.config import Config
from smwm_ros.errors import SmwmError
from smwm_ros.load import load_config
from smwm_ros.text import echo

EXAMPLE = 'smwm demo --arena two_room --out runs/demo'
ARENA = 'two_room'
MADE = ('bags', 'dataset', 'run', 'logs', 'rehearsal.json', 'report.html', 'demo.gif')
REQUIRED_SUCCESS = 0.8  # below this the demo fails


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('--arena', default=ARENA, help=f'arena (default: {ARENA})')
    parser.add_argument(
        '--out',
        type=Path,
        help='output folder (default: runs/demo for two_room, runs/demo_ARENA for others)',
    )
    parser.add_argument('--fresh', action='store_true', help='start over: reuse nothing')
    parser.add_argument('--pairs', type=int, default=20, help='tasks to plan for (default: 20)')
    parser.set_defaults(settings=[])
    parser.epilog = (
        f'{parser.epilog}\n\nkey=value words are passed to every step; '
        'see `smwm collect|convert|train|evaluate --help`'
    )


def run(args: argparse.Namespace) -> int:
    """Run the five steps; return 1 when the robot reached too few goals."""
    from smwm_ros.lock import hold

    config = demo_config(args.arena, args.pairs, args.settings)
    out = args.out or Path('runs', 'demo' if args.arena == ARENA else f'demo_{args.arena}')
    with hold(out):
        return _demo(args, config, out)


def _demo(args: argparse.Namespace, config: Config, out: Path) -> int:
    """Run the five steps; the folder is locked."""
    from smwm_ros.files import remove

    begun = time.monotonic()
    for name in MADE if args.fresh else ():
        remove(out / name)
    folders = {name: str(out / name) for name in ('bags', 'dataset', 'run')}
    step(1, 'Drive a simulated robot and record rosbags, as `ros2 bag record` would.')
    verb('collect', args.arena, '--out', folders['bags'], settings=args.settings)
    step(2, 'Convert the bags into a transition dataset: (image, action, next image).')
    verb(
        *('convert', folders['bags'], '--out', folders['dataset'], '--config', args.arena),
        settings=args.settings,
    )
    step(3, 'Train a Sensorimotor World Model on it.')
    verb(
        *('train', folders['dataset'], '--out', folders['run'], '--config', args.arena),
        settings=args.settings,
    )
    step(4, 'Plan: the arena node and the plan node run as two ROS 2 processes.')
    from smwm_ros.verbs import rehearsal  # imports torch and rclpy

    outcome = rehearsal.rehearse(out, args.arena, config)
    step(5, 'Write the report.')
    rehearsal.write_report(out, args.arena, outcome)
    echo(*rehearsal.summary(outcome, time.monotonic() - begun).split('\n'))
    if outcome.success < REQUIRED_SUCCESS:
        echo(
            f'FAILED: the planner reached {outcome.success:.0%} of its goals; at least '
            f'{REQUIRED_SUCCESS:.0%} are required. {out}/report.html shows each drive.'
        )
        return 1
    return 0


def demo_config(arena: str, pairs: int, settings: list[str]) -> Config:
    """Return the shipped configuration of an arena, or raise with the list of arenas."""
    from smwm_ros.arenas import require_arena

    require_arena(arena)
    if pairs < 1:
        raise SmwmError(f'--pairs: {pairs} is out of range; expected 1 or more')
    return load_config(arena, [*settings, f'evaluate.pairs={pairs}'])


def step(number: int, words: str) -> None:
    """Print the heading of a step."""
    echo('', f'[{number}/5] {words}')


def verb(*words: str, settings: list[str]) -> None:
    """Print a command as a user would type it, and run it."""
    from smwm_ros.cli import dispatch

    echo(f'$ smwm {" ".join([*words, *settings])}')
    dispatch([*words, *settings])
