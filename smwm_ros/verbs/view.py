# SPDX-License-Identifier: Apache-2.0
"""
Show a dataset as one HTML page: frames, actions, paths, gaps, histograms, sources.

The page is a single file. It shows a sample of the episodes, spread over the recordings; all
numbers are of the whole dataset. With --to rrd the sample becomes a recording for the Rerun
viewer, which plays it: open it with `rerun DATASET.rrd`. This needs the optional extra viz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options

EXAMPLE = 'smwm view data/robot'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, metavar='DATASET', help='folder of smwm convert')
    options.add_viewer(parser)
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='file to write (default: DATASET.html or .rrd)'
    )
    parser.add_argument(
        '--episodes', type=_count, default=12, metavar='N', help='episodes to show (default: 12)'
    )


def run(args: argparse.Namespace) -> int:
    """Write the page or the recording."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.progress import show_progress

    data = TransitionDataset.open(args.dataset)
    folder = args.dataset.resolve()
    out = args.out or folder.with_name(f'{folder.name}.{args.to}')
    if args.to == 'rrd':
        from smwm_ros.viewers.dataset import write_dataset

        shown = write_dataset(data, out, args.episodes, show_progress)
        where, size = str(out), out.stat().st_size
    else:
        from smwm_ros.pages.dataset import contact_sheet
        from smwm_ros.pages.index import publish

        text, shown = contact_sheet(data, args.episodes, show_progress)
        where, size = publish(out, text), len(text)
    echo(f'{where}: {count_of(shown, "episode")} of {args.dataset}, {size / 1e6:.1f} MB')
    return 0


def _count(word: str) -> int:
    """Read a whole number."""
    if not word.isdigit():
        raise argparse.ArgumentTypeError(f"'{word}': expected a whole number")
    return int(word)
