# SPDX-License-Identifier: Apache-2.0
"""
Label recordings without commands: with the actions that a latent-action model infers, or by hand.

With RUN, every tick without a recorded action gets the action that this latent-action model infers
from the images, and a confidence. --ask proposes moments whose commands you should enter in a
table, and --from reads it; these labels are certain, and ground the next latent-action model.
Recorded actions never change. --clear removes all labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import positive

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset

EXAMPLE = 'smwm label data/camera runs/latent'
WHICH_IS_THE_ROBOT = (
    'The images cannot tell which mover is the robot. These moments differ in what moves, and '
    'another mover may stand out in them. Enter the command that the robot had, 0 where it stood '
    'still, and leave a row empty where you do not know it.'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, help='dataset folder of smwm convert')
    parser.add_argument(
        'checkpoint', type=Path, nargs='?', metavar='RUN', help='run of a latent-action model'
    )
    parser.add_argument(
        '--least-r2',
        type=float,
        metavar='R2',
        help='refuse a model whose R2 on held-out labelled moments is lower (default: 0.6)',
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        '--ask',
        type=positive,
        nargs='?',
        const=20,
        metavar='N',
        help='propose N moments to label by hand (20 without a number)',
    )
    other.add_argument(
        '--from', dest='answers', type=Path, metavar='FILE', help='read the answers in an ask.csv'
    )
    other.add_argument('--clear', action='store_true', help='remove all labels, answers included')
    parser.add_argument(
        '--out', type=Path, metavar='FOLDER', help='folder for ask.csv and ask.png (default: ask)'
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    _require_consistent(args)
    if args.clear:
        _clear(args.dataset)
        return 0
    from smwm_ros.data.dataset import TransitionDataset

    data = TransitionDataset.open(args.dataset)
    if args.answers:
        _read(data, args.answers)
    elif args.ask:
        _ask(data, args)
    else:
        _label(data, args)
    return 0


def _require_consistent(args: argparse.Namespace) -> None:
    """Raise if words do not belong together."""
    reads = not args.clear and not args.answers
    if reads and not args.checkpoint:
        raise ConfigError('RUN: missing; name the run of a latent-action model')
    if args.checkpoint and not reads:
        raise ConfigError(f"'{args.checkpoint}': --from and --clear take no RUN")
    if args.out and not args.ask:
        raise ConfigError('--out: only --ask writes files of its own')
    if args.least_r2 is not None and (args.ask or not reads):
        raise ConfigError('--least-r2: only labelling by a model has a bound on R2')


def _label(data: TransitionDataset, args: argparse.Namespace) -> None:
    """Label with the actions that a model infers."""
    import numpy as np
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.labelling.pseudo_actions import label, LEAST_R2
    from smwm_ros.progress import show_progress

    least = LEAST_R2 if args.least_r2 is None else args.least_r2
    r2 = label(data, args.checkpoint, least, show_progress)
    now = TransitionDataset.open(args.dataset)
    confidence = now.confidence(np.arange(len(now)))
    inferred = confidence[(confidence > 0) & (confidence < 1)]
    echo(
        f'{args.dataset}: {count_of(len(inferred), "tick")} labelled by {args.checkpoint}, mean '
        f'confidence {inferred.mean():.2f}; R2 of the decoded actions {r2:.2f} on held-out moments'
    )
    if now.unknown:
        echo(
            f'{count_of(now.unknown, "tick")} without a frame a model step later, such as the end '
            'of a drive, stay unlabelled.'
        )
    echo(f'next: smwm train {args.dataset} --out RUN')


def _ask(data: TransitionDataset, args: argparse.Namespace) -> None:
    """Propose moments."""
    from smwm_ros.labelling.questions import ask, CSV, SHEET
    from smwm_ros.pages.numbers import unit
    from smwm_ros.progress import show_progress

    out = args.out or Path('ask')
    units = {name: unit(name) for name in data.info.spec.fields}
    found = ask(data, args.checkpoint, args.ask, out, units, show_progress)
    few = '' if found == args.ask else f' (no more are far enough apart; wanted {args.ask})'
    echo(
        f'{out / CSV}: {count_of(found, "moment")} to label{few}; their frames: {out / SHEET}',
        WHICH_IS_THE_ROBOT,
        f'next: smwm label {args.dataset} --from {out / CSV}',
    )


def _read(data: TransitionDataset, path: Path) -> None:
    """Store answers."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.labelling.answers import read_answers, store_answers
    from smwm_ros.training.anchors import FEWEST, labelled_moments

    answers = read_answers(path, data)
    store_answers(path, answers, data)
    now = TransitionDataset.open(data.folder)
    moments = sum(len(labelled_moments(now, split)) for split in ('train', 'val'))
    empty = f'; {count_of(answers.empty, "row")} without an answer' if answers.empty else ''
    echo(
        f'{data.folder}: {count_of(len(answers.starts), "answer")} of {path} stored{empty}; '
        f'{count_of(moments, "moment")} labelled now'
    )
    if moments < FEWEST:
        echo(f'A latent-action model needs at least {FEWEST}: answer more of them.')
    else:
        echo(f'next: smwm train {data.folder} --out RUN model.kind=latent_action')


def _clear(folder: Path) -> None:
    """Remove all labels, damaged ones included."""
    from smwm_ros.data.dataset import read_index
    from smwm_ros.data.labels import clear_labels
    from smwm_ros.lock import hold

    read_index(folder)  # raises where there is no dataset
    with hold(folder):
        count = clear_labels(folder)
    echo(f'{folder}: removed the labels of {count_of(count, "recording")}')
