# SPDX-License-Identifier: Apache-2.0
"""
Write a dataset in the format of another project.

hdf5 is the file that stable-worldmodel and LeWM read; lerobot is a LeRobotDataset v3, written by
the lerobot package itself. Each needs the optional extra of its name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = 'smwm export data/robot --to hdf5 --out robot.h5'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, metavar='DATASET', help='folder of smwm convert')
    parser.add_argument('--to', required=True, choices=('hdf5',), help='format')
    parser.add_argument(
        '--out', required=True, type=Path, metavar='PATH', help='file to write; must not exist'
    )
    parser.epilog = f'example: {parser.epilog}'


def run(args: argparse.Namespace) -> int:
    """Export, and say what was made."""
    from smwm_ros.core.dataset import TransitionDataset
    from smwm_ros.errors import DatasetError

    if args.out.exists():
        raise DatasetError(f'{args.out}: exists already; remove it or choose another --out')
    data = TransitionDataset.open(args.dataset)
    from smwm_ros.exchange.to_hdf5 import write_hdf5

    made = write_hdf5(data, args.out)
    print(
        f'{args.out}: {made.episodes} episodes, {made.rows} rows, frames compressed with '
        f'{made.compression}; HDF5Dataset of stable-worldmodel reads it'
    )
    return 0
