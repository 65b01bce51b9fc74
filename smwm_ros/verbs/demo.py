# SPDX-License-Identifier: Apache-2.0
"""
Run the whole pipeline in an arena: collect, convert, train, and plan over ROS 2.

Drives a simulated robot and records rosbags, converts them into a dataset, trains a world model,
then runs the arena node and the plan node as two ROS 2 processes and writes a report. Run it again
to resume: finished steps are reused. With --mode video most bags have a camera alone, and their
actions are inferred from the images.
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
    parser.add_argument(
        '--mode',
        choices=('commands', 'video'),
        default='commands',
        help='what the bags hold: camera and commands, or a camera alone and one minute with '
        'commands (default: commands)',
    )
    parser.add_argument('--fresh', action='store_true', help='start over: reuse nothing')
    parser.add_argument('--pairs', type=int, default=20, help='tasks to plan for (default: 20)')
    parser.set_defaults(settings=[])
    parser.epilog = (
        f'{parser.epilog}\n\nkey=value words are passed to every step; '
        'see `smwm collect|convert|train|evaluate --help`'
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; return 1 when the robot reached too few goals."""
    from smwm_ros.lock import hold
    from smwm_ros.verbs.demo_video import BALLS

    video = args.mode == 'video'
    settings = [BALLS, *args.settings] if video else args.settings
    config = demo_config(args.arena, args.pairs, settings)
    name = 'demo_video' if video else 'demo'
    out = args.out or Path('runs', name if args.arena == ARENA else f'{name}_{args.arena}')
    with hold(out):
        return _demo(args, config, out)


def _demo(args: argparse.Namespace, config: Config, out: Path) -> int:
    """Run all steps; the folder is locked."""
    from smwm_ros.files import remove
    from smwm_ros.verbs import demo_video

    for name in (*MADE, *demo_video.MADE) if args.fresh else ():
        remove(out / name)
    run_mode = demo_video.run_video_demo if args.mode == 'video' else _run_demo
    success = run_mode(args.arena, config, out, args.settings)
    if success < REQUIRED_SUCCESS:
        echo(
            f'FAILED: the planner reached {success:.0%} of its goals; at least '
            f'{REQUIRED_SUCCESS:.0%} are required. {out}/report.html shows each drive.'
        )
        return 1
    return 0


def _run_demo(arena: str, config: Config, out: Path, settings: list[str]) -> float:
    """Run the steps with recorded commands; return the share of goals reached."""
    from smwm_ros.verbs import rehearsal  # imports torch and rclpy

    begun = time.monotonic()
    folders = {name: str(out / name) for name in ('bags', 'dataset', 'run')}
    step(1, 'Drive a simulated robot and record rosbags, as `ros2 bag record` would.')
    verb('collect', arena, '--out', folders['bags'], settings=settings)
    step(2, 'Convert the bags into a transition dataset: (image, action, next image).')
    verb(
        *('convert', folders['bags'], '--out', folders['dataset'], '--config', arena),
        settings=settings,
    )
    step(3, 'Train a Sensorimotor World Model on it.')
    verb(
        *('train', folders['dataset'], '--out', folders['run'], '--config', arena),
        settings=settings,
    )
    step(4, 'Plan: the arena node and the plan node run as two ROS 2 processes.')
    outcome = rehearsal.rehearse(out, arena, config)
    step(5, 'Write the report.')
    rehearsal.write_report(out, arena, config.arena.engine, outcome)
    echo(*rehearsal.summary(outcome, time.monotonic() - begun).split('\n'))
    return outcome.success


def demo_config(arena: str, pairs: int, settings: list[str]) -> Config:
    """Return the shipped configuration of an arena, or raise with the list of arenas."""
    from smwm_ros.arenas import require_arena

    require_arena(arena)
    if pairs < 1:
        raise SmwmError(f'--pairs: {pairs} is out of range; expected 1 or more')
    return load_config(arena, [*settings, f'evaluate.pairs={pairs}'])


def step(number: int, words: str, count: int = 5) -> None:
    """Print the heading of a step."""
    echo('', f'[{number}/{count}] {words}')


def verb(*words: str, settings: list[str]) -> None:
    """Print a command as a user would type it, and run it."""
    from smwm_ros.cli import dispatch

    echo(f'$ smwm {" ".join([*words, *settings])}')
    dispatch([*words, *settings])
