# SPDX-License-Identifier: Apache-2.0
"""
Convert rosbags and videos into a transition dataset.

A folder stands for all bags and videos (mp4, mkv, mov, avi, webm) in it. Run the same command
again to resume an interrupted conversion or to add new ones: those already converted are kept.
Videos have no commands: set dataset.action=none, or dataset.after_hold=unknown beside bags.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_config, add_msgs, config_of, positive

EXAMPLE = 'smwm convert recordings/ --out data/robot --config robot.yaml dataset.image_size=64'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        'bags', nargs='+', type=Path, metavar='BAG', help='bag, video, or a folder of them'
    )
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='dataset folder')
    parser.add_argument(
        '--jobs',
        type=positive,
        metavar='N',
        help='bags converted in parallel (default: up to one per core)',
    )
    parser.add_argument(
        '--runner',
        choices=('local', 'ray'),
        default='local',
        help='convert on this machine or on a Ray cluster (default: local)',
    )
    parser.add_argument(
        '--fresh', action='store_true', help='start over: remove the existing dataset first'
    )
    parser.add_argument(
        '--skip', action='store_true', help='skip bags that cannot be converted, and report why'
    )
    add_msgs(parser)
    add_config(parser, ['robot', 'dataset'])


def run(args: argparse.Namespace) -> int:
    """Convert, and describe the dataset."""
    config = config_of(args)
    from smwm_ros.bags.converting.convert import convert
    from smwm_ros.data.describe import describe, warnings
    from smwm_ros.progress import show_progress

    summary = convert(
        args.bags,
        args.out,
        config,
        args.jobs,
        args.fresh,
        args.runner,
        args.skip,
        args.msgs,
        show_progress,
    )
    for name, error in summary.skipped.items():
        echo(f'skipped: {name}: {error}')
    if summary.kept:
        echo(f'already converted: {count_of(summary.kept, "bag")}')
    echo(*describe(summary.dataset))
    for warning in warnings(summary.dataset):
        echo(f'warning: {warning}', file=sys.stderr)
    return 0
