# SPDX-License-Identifier: Apache-2.0
"""
Reproduce the toy experiments of the paper: figures and pictures on one HTML page.

Trains models on drawn worlds whose number of controlled dimensions is known: dots, some of them
commanded, and an arrow that moves and turns. The page and toy.json report the dimensions of each
latent and what probes read from it. Takes minutes on one core; finished runs are kept. Settings
are in config/toy.yaml; dataset.image_size=64 is the canvas of the paper, several times slower.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from smwm_ros.config import Config
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options

EXAMPLE = 'smwm toy --out runs/toy single forward_only arrow_xyt'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('worlds', nargs='*', metavar='WORLD', help='toy worlds (default: all)')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FOLDER', help='folder of the page and the runs'
    )
    parser.add_argument(
        '--transitions',
        type=_count,
        default=8000,
        metavar='N',
        help='training transitions (default: 8000)',
    )
    options.add_config(parser, ('model', 'train'))
    parser.set_defaults(config='toy')


def run(args: argparse.Namespace) -> int:
    """Train and probe one world after the other, and write the page."""
    from smwm_ros.errors import did_you_mean, SmwmError
    from smwm_ros.lock import hold
    from smwm_ros.toys.worlds import TOYS

    for name in args.worlds:
        if name not in TOYS:
            raise SmwmError(f'{name}: no such toy world; {did_you_mean(name, TOYS)}')
    cfg = options.config_of(args)
    with hold(args.out):
        _study(args, cfg)
    return 0


def _study(args: argparse.Namespace, cfg: Config) -> None:
    """Train and probe; the folder is locked."""
    from smwm_ros.files import write_atomic
    from smwm_ros.pages.index import publish
    from smwm_ros.pages.toy import in_words, plain, sheet
    from smwm_ros.progress import show_progress
    from smwm_ros.toys.study import study
    from smwm_ros.toys.worlds import TOYS

    found = {}
    for name in args.worlds or TOYS:
        echo(f'{name}: {TOYS[name].about}')
        found[name] = study(TOYS[name], args.out / name, cfg, args.transitions, show_progress)
        echo(f'  {in_words(TOYS[name], found[name])}')
    page = args.out / 'toy.html'
    where = publish(page, sheet(found, show_progress))
    data = {name: plain(TOYS[name], one) for name, one in found.items()}
    write_atomic(args.out / 'toy.json', (json.dumps(data, indent=1) + '\n').encode())
    echo(f'{where}: {count_of(len(found), "world")}; figures in toy.json next to it')


def _count(word: str) -> int:
    """Read a number of transitions."""
    if not word.isdigit() or int(word) < 100:
        raise argparse.ArgumentTypeError(f"'{word}': expected a whole number, 100 or more")
    return int(word)
