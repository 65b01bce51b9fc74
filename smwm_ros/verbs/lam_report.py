# SPDX-License-Identifier: Apache-2.0
"""
Judge a latent-action model by acceptance tests, and show its latent actions.

Each test has a figure and the figures that pass: scene cuts, cycles, transfer of motion to other
places, probes, drift, controller and decoder, capacity. Writes a page and lam_report.json. Exits
with 0 whatever the result, with --strict with 1 if a test failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
import json
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import json_file, positive

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.latent_actions import Acceptance
    from smwm_ros.evaluation.latent_sweep import Point
    from smwm_ros.interfaces import Arena
    from smwm_ros.model.checkpoint import Checkpoint

EXAMPLE = 'smwm lam-report runs/latent --arena two_room --strict'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('model', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument(
        '--data', type=Path, metavar='DATASET', help='dataset to judge on (default: that of RUN)'
    )
    parser.add_argument(
        '--arena',
        metavar='NAME',
        help='arena of the robot: shows what transferred actions do (default: the recording does)',
    )
    parser.add_argument(
        '--sweep',
        type=positive,
        metavar='STEPS',
        help='also train small models with other bottlenecks, STEPS steps each, in RUN/sweep, and '
        'plot their errors against their capacity; finished models are kept',
    )
    parser.add_argument(
        '--strict', action='store_true', help='exit with 1 if a test failed (for CI)'
    )
    parser.add_argument(
        '--out',
        type=json_file,
        metavar='FILE',
        help='JSON file to write; the page stands beside it (default: RUN/lam_report.json)',
    )


def run(args: argparse.Namespace) -> int:
    """Judge the model, and write page and figures."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.errors import SmwmError
    from smwm_ros.evaluation.transitions import latent_action_model
    from smwm_ros.lock import hold_name
    from smwm_ros.model.checkpoint import load, recorded_data
    from smwm_ros.model.device import pick_device

    checkpoint, device = load(args.model), pick_device('auto')
    latent_action_model(checkpoint, device)  # raises now for models of other kinds
    folder = args.data or recorded_data(args.model)
    if folder is None:
        raise SmwmError(f'{args.model}: its dataset is not found; give --data DATASET')
    out = args.out or args.model / 'lam_report.json'
    with hold_name(out):
        return _report(args, checkpoint, TransitionDataset.open(folder), out)


def _report(
    args: argparse.Namespace, checkpoint: Checkpoint, data: TransitionDataset, out: Path
) -> int:
    """Run the tests, and write the results."""
    from smwm_ros.evaluation.latent_report import judge_latent_actions
    from smwm_ros.evaluation.latent_sweep import monotone, sweep
    from smwm_ros.files import write_atomic
    from smwm_ros.model.device import pick_device
    from smwm_ros.pages.html import SUFFIX
    from smwm_ros.pages.index import publish
    from smwm_ros.pages.latent_actions import latent_sheet, plain
    from smwm_ros.progress import show_progress

    with _arena(args.arena, checkpoint) as arena:
        found = judge_latent_actions(checkpoint, data, pick_device('auto'), arena, show_progress)
    points: list[Point] = []
    if args.sweep:
        points = sweep(checkpoint, data, args.model / 'sweep', args.sweep, show_progress)
    tests = [*found.tests, *(monotone(points) if points else [])]
    figures = {
        'run': str(args.model),
        'data': str(data.folder),
        'arena': args.arena,
        'tests': [test.as_json() for test in tests],
        **plain(found, data),
        'sweep': [point.as_json() for point in points],
    }
    write_atomic(out, (json.dumps(figures, indent=1) + '\n').encode())
    title = f'Latent actions of {args.model.resolve().name}'
    page = publish(out.with_suffix(SUFFIX), latent_sheet(title, found, tests, points, data))
    failed = sum(test.passed is False for test in tests)
    echo(*_lines(tests), f'{count_of(failed, "test")} failed; page: {page}; figures: {out}')
    return 1 if args.strict and failed else 0


@contextmanager
def _arena(name: str | None, checkpoint: Checkpoint) -> Iterator[Arena | None]:
    """Make the named arena, which must have the robot of the run."""
    if name is None:
        yield None
        return
    from smwm_ros.arenas import make_arena
    from smwm_ros.arenas.choose import require_robot

    with closing(make_arena(name, checkpoint.image_size)) as arena:
        require_robot(arena, name, checkpoint.robot, str(checkpoint.folder))
        yield arena


def _lines(tests: Sequence[Acceptance]) -> list[str]:
    """Return the result of each test in a line."""
    from smwm_ros.pages.latent_actions import figure_in_words, WORDS

    return [f'{WORDS[test.passed]:11}{test.name}: {figure_in_words(test)}' for test in tests]
