# SPDX-License-Identifier: Apache-2.0
"""
Turn rosbags into a transition dataset.

A folder stands for all bags in it. What an interrupted conversion finished is kept when the same
command runs again, and a new bag is added to what is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from smwm_ros.text import count_of, tell
from smwm_ros.verbs.options import add_config, add_msgs, config_of

EXAMPLE = 'smwm convert recordings/ --out data/robot --config robot.yaml dataset.image_size=64'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        'bags', nargs='+', type=Path, metavar='BAG', help='bag, or folder of bags; ROS 1 or 2'
    )
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='dataset folder')
    parser.add_argument(
        '--jobs',
        type=_positive,
        metavar='N',
        help='bags converted at once (default: one for each core, if there is enough to convert)',
    )
    parser.add_argument(
        '--runner',
        choices=('local', 'ray'),
        default='local',
        help='where bags are converted: here, or on a Ray cluster (default local)',
    )
    parser.add_argument(
        '--fresh', action='store_true', help='start over: remove the dataset that is there'
    )
    parser.add_argument(
        '--skip', action='store_true', help='leave out bags that cannot be converted, and say why'
    )
    add_msgs(parser)
    add_config(parser, ['robot', 'dataset'])


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was made."""
    config = config_of(args)
    from smwm_ros.bags.converting.convert import convert
    from smwm_ros.data.describe import describe, warnings

    summary = convert(
        args.bags, args.out, config, args.jobs, args.fresh, args.runner, args.skip, args.msgs
    )
    for name, error in summary.skipped.items():
        tell(f'{name} is left out: {error}')
    if summary.kept:
        tell(f'kept as converted before: {count_of(summary.kept, "bag")}')
    tell(*describe(summary.dataset))
    for warning in warnings(summary.dataset):
        tell(f'warning: {warning}', file=sys.stderr)
    return 0


def _positive(word: str) -> int:
    """Read a whole number of at least 1."""
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"'{word}': expected a whole number of at least 1")
    return int(word)
