# SPDX-License-Identifier: Apache-2.0
"""
Measure how often a checkpoint reaches its goals in an arena.

Start and goal are two frames of one held-out episode of --data, or of fresh episodes. All methods,
the random policy and the scripted expert try the same pairs within the same budget of raw steps.
All methods use the planner settings of RUN; `paper` is RUN with the planner of the paper. Each
method is compared with RUN pair by pair; a * marks those whose training used the measured state.
--strict also judges the same drives by tight tolerances. --object sets goals with a mask of the
object of the arena, and counts where it is alone. Writes evaluate.json, a page and a film.
--env lets stable-worldmodel judge in one of its environments instead, on pairs of the file --data.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, ExitStack
from dataclasses import replace
import json
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.config import Config
from smwm_ros.errors import ConfigError
from smwm_ros.text import echo
from smwm_ros.verbs import options, swm_evaluate

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.methods import Method
    from smwm_ros.evaluation.scores import Round
    from smwm_ros.interfaces import Arena
    from smwm_ros.model.checkpoint import Checkpoint
    from smwm_ros.verbs.evaluation_pairs import Drawn

EXAMPLE = 'smwm evaluate runs/two_room --data data/two_room --methods paper,sigreg --strict'
TIMED = 50  # plans to time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('checkpoint', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument(
        '--data', type=Path, help='dataset with held-out episodes (default: drive fresh episodes)'
    )
    parser.add_argument(
        '--env',
        help='environment of stable-worldmodel, such as swm/TwoRoom-v1, instead of an arena',
    )
    parser.add_argument('--arena', help='arena (default: the one with the robot of the run)')
    parser.add_argument(
        '--methods',
        help='further methods, separated by commas: model kinds (trained next to RUN if missing), '
        '`all` (every kind that the dataset allows, but latent_action), `paper`, run folders; '
        'random and expert always take part',
    )
    parser.add_argument(
        '--horizons',
        help='goal offsets, separated by commas (25,50,75,100); the budget scales with them',
    )
    parser.add_argument(
        '--strict',
        action='store_true',
        help='also judge each drive strictly: every axis of the goal by itself within '
        "evaluate.strict_share of the arena's tolerance; further pairs replace those that are "
        'solved at the start',
    )
    parser.add_argument(
        '--object',
        action='store_true',
        help='goals of the object alone (push_t, cube): masked, with the robot at a random place, '
        'of pairs whose object has to move; `whole picture` is RUN without masks',
    )
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='drive fresh episodes for the pairs also with --data, which then only trains '
        '--methods; they are long enough for all --horizons',
    )
    parser.add_argument(
        '--shift', help='held-out shifts, separated by commas (camera,light,friction), or all'
    )
    parser.add_argument(
        '--out',
        type=options.json_file,
        metavar='FILE',
        help='JSON file to write; page and film stand beside it (default: RUN/evaluate.json)',
    )
    options.add_config(parser, ('evaluate', 'planner', 'arena', 'randomise'))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.env:
        return swm_evaluate.evaluate_env(args)
    from smwm_ros.arenas.choose import choose_arena, require_robot
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.methods import gather, load_masks, masked, read_words
    from smwm_ros.evaluation.scores import sweep, table
    from smwm_ros.lock import hold_name
    from smwm_ros.model.checkpoint import load
    from smwm_ros.pages.evaluation import write_page
    from smwm_ros.planning.guides import load_guides
    from smwm_ros.progress import show_progress
    from smwm_ros.verbs.evaluation_pairs import draw

    checkpoint = load(args.checkpoint)
    args.arena = choose_arena(args.arena, args.config, checkpoint.robot)
    config = _config(args, checkpoint)
    offsets, shifts = _offsets(args.horizons, config), _shifts(args.shift, config)
    dataset = TransitionDataset.open(args.data) if args.data else None
    if dataset:
        _require_same_robot(dataset, checkpoint)
    words = read_words(args.methods, args.checkpoint, checkpoint, dataset) if args.methods else []
    out = args.out or args.checkpoint / 'evaluate.json'
    with hold_name(out):
        load_guides(checkpoint, config.planner)  # raises before any drive if files are missing
        source = None if args.fresh else dataset
        # Raises before hours of training.
        with _arena_at(config, config.arena.image_size, alone=args.object) as arena:
            require_robot(arena, args.arena, checkpoint.robot, str(args.checkpoint))
            if args.object:
                load_masks(checkpoint, config.planner)
            drawn = draw(config, offsets, source, arena, args.strict, args.object)
        methods = gather(words, args.checkpoint, checkpoint, dataset, config, show_progress)
        for method in methods:
            load_guides(method.checkpoint, method.planner)  # raises now if files are missing
        if args.object:
            methods = masked(methods)
        rounds = _rounds(config, methods, drawn, shifts, args)
        for one in rounds:
            echo(f'{one.title}:', *table(one).split('\n'), '')
        if len(rounds) > 1:
            echo(*sweep(rounds).split('\n'), '')
        echo(_speed(methods[0], rounds[0], config))
        _write(out, args, config, methods, source, rounds)
        with _arena_at(config, 128, rounds[0].shift, args.object) as arena:
            pages = write_page(out, args.arena, methods[0].name, rounds, arena)
    echo(f'All attempts: {out}; page and film: {", ".join(map(str, pages))}')
    return 0


def _config(args: argparse.Namespace, checkpoint: Checkpoint) -> Config:
    """Return the settings of the arena, the planner of the checkpoint, then key=value words."""
    from smwm_ros.load import config_for_run

    here = [f'arena.name={args.arena}', f'arena.image_size={checkpoint.image_size}']
    words = [*args.settings, *here]
    return config_for_run(args.config or args.arena, words, checkpoint.planner)


def _offsets(text: str | None, config: Config) -> list[int]:
    """Parse --horizons."""
    if text is None:
        return [config.evaluate.offset]
    try:
        offsets = [int(word) for word in text.split(',')]
    except ValueError:
        raise ConfigError(f"--horizons: expected numbers like 25,50, found '{text}'") from None
    if min(offsets) < 1:
        raise ConfigError(f'--horizons: {min(offsets)} is out of range; expected 1 or more')
    return list(dict.fromkeys(offsets))


def _shifts(text: str | None, config: Config) -> list[str]:
    """Return the conditions: the arena without shift first, then the shifts."""
    from smwm_ros.arenas import make_arena
    from smwm_ros.arenas.ranges import shift_of
    from smwm_ros.arenas.vary import effective_shifts

    names = [word.strip() for word in (text or '').split(',')]
    if text == 'all':
        with closing(
            make_arena(config.arena.name, config.arena.image_size, config.arena.engine)
        ) as scene:
            names = effective_shifts(scene)
    for name in filter(None, names):
        shift_of(name)  # raises with the list of shifts
        with _arena_at(config, config.arena.image_size, name):
            pass  # raises now, not after hours, if the shift has no effect here
    return list(dict.fromkeys(['', *names]))


def _require_same_robot(dataset: TransitionDataset, checkpoint: Checkpoint) -> None:
    """Refuse a dataset of another robot; note if it is not the training dataset."""
    from smwm_ros.model.checkpoint import require

    info = dataset.info
    require(checkpoint, str(dataset.folder), info.spec.size, info.spec.dt, info.image_size)
    if dataset.fingerprint != checkpoint.info.dataset:
        echo('note: --data is not the dataset that the checkpoint was trained on')


def _rounds(
    config: Config,
    methods: Sequence[Method],
    drawn: Sequence[Drawn],
    shifts: Sequence[str],
    args: argparse.Namespace,
) -> list[Round]:
    """Evaluate all methods on the same pairs, for each offset and shift."""
    from smwm_ros.arenas.object_goals import object_axes, require_object
    from smwm_ros.arenas.strict import AXES, strict_judge, strict_tolerances
    from smwm_ros.evaluation.closed_loop import evaluate
    from smwm_ros.evaluation.scores import Round
    from smwm_ros.progress import show_progress

    name, share, asked = config.arena.name, config.evaluate.strict_share, config.evaluate.pairs
    axes = object_axes(name) if args.object else AXES[name]
    judge = strict_judge(axes, share) if args.strict else None
    words = strict_tolerances(axes, share) if args.strict else ''
    alone = require_object(name).name if args.object else ''
    marked = frozenset(one.name for one in methods if one.state_trained)
    rounds = []
    for shift in shifts:
        with ExitStack() as stack:
            lanes = range(min(config.evaluate.lanes, asked))
            size = config.arena.image_size
            arenas = [
                stack.enter_context(_arena_at(config, size, shift, args.object)) for _ in lanes
            ]
            for protocol, pairs, starts in drawn:
                agents = {one.name: one.agent(protocol) for one in methods}
                outcomes = evaluate(agents, arenas, pairs, protocol, show_progress, judge)
                place = protocol.offset, protocol.budget, shift
                rounds.append(Round(*place, pairs, outcomes, words, asked, marked, starts, alone))
    return rounds


def _speed(method: Method, one: Round, config: Config) -> str:
    """Time single plans, as on a robot."""
    from smwm_ros.evaluation.methods import plan_times
    from smwm_ros.planning.pilot import Pilot

    with _arena_at(config, config.arena.image_size) as arena:
        images = [arena.set_state(pair.start_state).pixels for pair in one.pairs[:TIMED]]
    times = plan_times(Pilot(method.checkpoint, method.planner), images)
    return f'Planning time: median {times["median"]:.1f} ms, p99 {times["p99"]:.1f} ms.'


@contextmanager
def _arena_at(
    config: Config, image_size: int, shift: str = '', alone: bool = False
) -> Iterator[Arena]:
    """Make an arena with images of a size, and close it afterwards; alone: of object goals."""
    from smwm_ros.arenas import arena_of
    from smwm_ros.arenas.object_goals import object_goals

    sized = replace(config, arena=replace(config.arena, image_size=image_size))
    with closing(arena_of(sized, shift)) as arena:
        yield object_goals(arena, config.arena.name) if alone else arena


def _write(
    out: Path,
    args: argparse.Namespace,
    config: Config,
    methods: Sequence[Method],
    dataset: TransitionDataset | None,
    rounds: Sequence[Round],
) -> None:
    """Write all results with the settings that produced them."""
    from smwm_ros.evaluation.scores import plain
    from smwm_ros.files import write_atomic
    from smwm_ros.load import to_dict

    found = {
        'checkpoint': str(args.checkpoint),
        'dataset': dataset.fingerprint if dataset else 'fresh episodes',
        'arena': args.arena,
        'evaluate': to_dict(config.evaluate),
        'methods': {
            one.name: {
                'run': str(one.run),
                'execute': one.execute,
                'state_trained': one.state_trained,
                'masks': one.masks is not None,
                'planner': to_dict(one.planner),
            }
            for one in methods
        },
        'rounds': plain(rounds),
    }
    write_atomic(out, json.dumps(found, indent=1).encode())
