# SPDX-License-Identifier: Apache-2.0
"""
Write a dataset in the format of another project.

hdf5 is the file format of stable-worldmodel and LeWM; lerobot is a LeRobotDataset v3, written by
the lerobot package. Each needs the optional extra of its name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import count_of, echo

EXAMPLE = 'smwm export data/robot --to hdf5 --out robot.h5'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, metavar='DATASET', help='folder of smwm convert')
    parser.add_argument('--to', required=True, choices=('hdf5', 'lerobot'), help='format')
    parser.add_argument(
        '--out',
        required=True,
        type=Path,
        metavar='PATH',
        help='file (hdf5) or folder (lerobot) to write; must not exist',
    )
    parser.add_argument(
        '--task',
        default='play',
        metavar='TEXT',
        help='task in lerobot of episodes that were recorded without one (default: play)',
    )


def run(args: argparse.Namespace) -> int:
    """Export, and describe the result."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.files import require_new
    from smwm_ros.progress import show_progress

    require_new(args.out)
    data = TransitionDataset.open(args.dataset)
    if args.to == 'hdf5':
        from smwm_ros.exchange.to_hdf5 import write_hdf5

        made = write_hdf5(data, args.out, show_progress)
        episodes, rows = made.episodes, made.rows
        reader = f'frames compressed with {made.compression}; HDF5Dataset of stable-worldmodel'
    else:
        from smwm_ros.exchange.to_lerobot import write_lerobot

        episodes, rows, unjudged = write_lerobot(data, args.out, args.task, show_progress)
        if any(drive.outcome for drive in data.drives) and unjudged:
            echo(f'left out: next.success, as {count_of(unjudged, "episode")} without an outcome')
        reader = f'LeRobotDataset({f"local/{args.out.name}"!r}, root={str(args.out)!r})'
    held = f'{count_of(episodes, "episode")}, {count_of(rows, "row")}'
    echo(f'{args.out}: {held}; {reader} reads it')
    if data.unknown:
        echo(f'left out: {count_of(data.unknown, "tick")} with an unknown action')
    return 0
