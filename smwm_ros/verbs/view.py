# SPDX-License-Identifier: Apache-2.0
"""
Show a dataset as one HTML page: frames, actions, paths, gaps, histograms, sources.

The page is a single file. It shows a sample of the episodes, spread over the recordings; all
numbers are of the whole dataset.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import count_of, echo

EXAMPLE = 'smwm view data/robot'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, metavar='DATASET', help='folder of smwm convert')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='HTML file (default: DATASET.html)',
    )
    parser.add_argument(
        '--episodes', type=_count, default=12, metavar='N', help='episodes to show (default: 12)'
    )


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.pages.dataset import contact_sheet
    from smwm_ros.pages.index import publish
    from smwm_ros.progress import show_progress

    data = TransitionDataset.open(args.dataset)
    text, shown = contact_sheet(data, args.episodes, show_progress)
    folder = args.dataset.resolve()
    out = args.out or folder.with_name(f'{folder.name}.html')
    echo(
        f'{publish(out, text)}: {count_of(shown, "episode")} of {args.dataset}, '
        f'{len(text) / 1e6:.1f} MB'
    )
    return 0


def _count(word: str) -> int:
    """Read a whole number."""
    if not word.isdigit():
        raise argparse.ArgumentTypeError(f"'{word}': expected a whole number")
    return int(word)
