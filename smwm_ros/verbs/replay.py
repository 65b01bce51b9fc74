# SPDX-License-Identifier: Apache-2.0
"""
Compare the plans of a checkpoint with the commands of a recording.

The recording is cut into legs; the last image of each is its goal, unless --goal or --name gives
one. Planned commands are compared with the recorded ones tick by tick, and with recorded commands
of other times as the chance level. The page shows where they agree, where they do not, and which
stretches were held out of the training. With --to rrd the replay becomes a recording for the Rerun
viewer, with every plan: its predicted end, its way through the latents, its cost. This needs the
optional extra viz.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.text import echo
from smwm_ros.verbs import options

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.interfaces import Array
    from smwm_ros.model.checkpoint import Checkpoint

EXAMPLE = 'smwm replay my_bags/monday runs/mine'
SHOWN = 8  # stretches printed; the page has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('bag', type=Path, metavar='BAG', help='bag or folder of bags')
    parser.add_argument('checkpoint', type=Path, metavar='RUN', help='run folder of smwm train')
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        '--goal', type=Path, metavar='FILE', help='image that is the goal of all legs'
    )
    goal.add_argument('--name', help='goal of RUN/goals, for all legs')
    parser.add_argument(
        '--leg', type=int, default=25, metavar='N', help='control periods per leg (default: 25)'
    )
    options.add_viewer(parser)
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='file to write (default: RUN/replay_BAG.html or .rrd)',
    )
    options.add_msgs(parser)
    options.add_config(parser, ('planner',))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from tempfile import TemporaryDirectory

    from smwm_ros.data.shards import safe_name
    from smwm_ros.errors import ConfigError
    from smwm_ros.evaluation.replay import agree, chance, replay
    from smwm_ros.load import load_config, to_dict
    from smwm_ros.model.checkpoint import load
    from smwm_ros.pages.index import publish
    from smwm_ros.pages.replay import in_words, page
    from smwm_ros.pages.replay_stretch import Stretches
    from smwm_ros.planning.pilot import Pilot
    from smwm_ros.progress import show_progress

    if args.leg < 1:
        raise ConfigError(f'--leg: {args.leg} is out of range; expected 1 or more')
    if args.to == 'rrd':
        from smwm_ros.viewers.replay import Replay, write_replay
    name = args.bag.resolve().name
    title = f'{name} and {args.checkpoint.resolve().name}'
    out = args.out or args.checkpoint / f'replay_{safe_name(name)}.{args.to}'
    checkpoint = load(args.checkpoint)
    base = {'planner': to_dict(checkpoint.planner)}
    planner = load_config(args.config, args.settings, base).planner
    goal = _goal(args, checkpoint)
    with TemporaryDirectory(prefix='smwm-replay-') as folder:
        dataset = _dataset(args, Path(folder), checkpoint)
        pilot = Pilot(checkpoint, planner)
        with show_progress(desc='replay', unit='leg') as bar:
            legs = replay(pilot, dataset, args.leg, goal, bar.update)
        stretches = Stretches(dataset, args.checkpoint, checkpoint)
        found, floor = (compare(legs, checkpoint.spec).figures() for compare in (agree, chance))
        if args.to == 'rrd':
            made = Replay(dataset, legs, goal, pilot, checkpoint)
            write_replay(made, out, title, stretches, show_progress)
            where = f'recording: {out}'
        else:
            text = page(title, dataset, legs, goal, stretches, found, floor)
            where = f'page: {publish(out, text)}'
        for line in stretches.all(legs)[:SHOWN]:
            echo(line)
    echo(in_words(found, floor))
    echo(where)
    return 0


def _goal(args: argparse.Namespace, checkpoint: Checkpoint) -> Array | None:
    """Return the goal image of all legs; None if each leg has its own."""
    from smwm_ros.codec.image_files import read_picture
    from smwm_ros.control.goal_library import GoalLibrary
    from smwm_ros.share import goals_folder

    size, how = checkpoint.image_size, checkpoint.dataset.resize
    if args.goal:
        return read_picture(args.goal, size, how)
    if args.name:
        last: Array = GoalLibrary(goals_folder(args.checkpoint)).load(args.name, size, how)[-1]
        return last
    return None


def _dataset(args: argparse.Namespace, folder: Path, checkpoint: Checkpoint) -> TransitionDataset:
    """Convert a recording with the settings of the checkpoint."""
    from smwm_ros.config import Dataset

    settings = checkpoint.dataset
    if settings.action == 'none':  # as it was trained; plans are compared with commands
        settings = replace(settings, action=Dataset.action)
    return options.converted([args.bag], folder, checkpoint.robot, settings, args.msgs)
