# SPDX-License-Identifier: Apache-2.0
"""
Rehearse the step to a real robot: drive a model over ROS 2 in another simulator.

The plan node and the arena node run as two processes, once in PyBullet as it is and once in the
other engine, with the looks and the motion that key=value words draw (randomise.*, drawn once).
--adapt also records a minute there, adapts a copy of the model to its images, and drives that.
All try the same tasks, and so does a random policy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.config import Config, ENGINES, Randomise
from smwm_ros.errors import NotAdaptedError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options

if TYPE_CHECKING:
    from smwm_ros.evaluation.closed_loop import Outcome
    from smwm_ros.evaluation.pairs import Pair
    from smwm_ros.nodes.trial import TaskResult

EXAMPLE = 'smwm rehearse runs/two_room --adapt randomise.camera_eye=[-0.05,0.05]'
MINUTE = ('arena.episodes=6', 'arena.length=100')  # recorded to adapt to
REPEATS = 5  # rollouts of the random policy per task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('run_folder', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument('--arena', help='arena (default: the one with the robot of the run)')
    parser.add_argument(
        '--engine', choices=ENGINES, default='mujoco', help='the other engine (default: mujoco)'
    )
    parser.add_argument(
        '--tasks', type=options.positive, default=20, metavar='N', help='tasks (default: 20)'
    )
    parser.add_argument(
        '--adapt', action='store_true', help='also drive a copy adapted to a minute of images'
    )
    parser.add_argument(
        '--out',
        type=options.json_file,
        metavar='FILE',
        help='JSON file to write (default: RUN/rehearse.json)',
    )
    options.add_config(parser, ('arena', 'randomise', 'evaluate'))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from tempfile import TemporaryDirectory

    from smwm_ros.arenas import arena_of
    from smwm_ros.arenas.choose import choose_arena, require_robot
    from smwm_ros.load import load_config, to_dict
    from smwm_ros.model.checkpoint import load
    from smwm_ros.verbs import rehearsal
    from smwm_ros.verbs.evaluation_pairs import draw

    checkpoint = load(args.run_folder)
    name = choose_arena(args.arena, args.config, checkpoint.robot)
    settings = [*args.settings, f'arena.name={name}', f'evaluate.pairs={args.tasks}']
    settings += [f'arena.image_size={checkpoint.image_size}', 'randomise.once=true']
    # A file of smwm check --write holds the robot, and no tasks.
    config = load_config(args.config, settings, to_dict(load_config(name)))
    as_it_is = replace(config.arena, field_delay=(), field_gain=())
    home = replace(config, arena=as_it_is, randomise=Randomise())
    away = replace(config, arena=replace(config.arena, engine=args.engine))
    with closing(arena_of(home)) as arena:
        require_robot(arena, name, checkpoint.robot, str(args.run_folder))
        (drawn,) = draw(home, [home.evaluate.offset], None, arena)
    with TemporaryDirectory(prefix='smwm-rehearse-') as short:
        folder = Path(short)
        tried = {f'{home.arena.engine}, as it is': (args.run_folder, home)}
        tried[f'{args.engine}, not adapted'] = (args.run_folder, away)
        if args.adapt:
            tried[f'{args.engine}, adapted to a minute of images'] = (
                _adapted(args.run_folder, folder, away),
                away,
            )
        found: dict[str, Mapping[str, Any]] = {}
        for title, (run, one) in tried.items():  # a model that was not adapted drove already
            same = next((other for other in found if tried[other] == (run, one)), None)
            found[title] = (
                found[same] if same else _drive(title, run, one, drawn.pairs, folder / 'logs')
            )
        with closing(arena_of(away)) as arena:
            floor = rehearsal.by_chance(arena, drawn.pairs, away.evaluate, REPEATS)
        found[f'{args.engine}, random policy'] = _counts(floor)
    _report(args, name, config, found)
    return 0


def _adapted(folder: Path, scratch: Path, away: Config) -> Path:
    """Record a minute in the other engine, and adapt the model to it."""
    from smwm_ros.load import to_dict
    from smwm_ros.verbs.adapt import adapt
    from smwm_ros.verbs.demo import verb

    bags, run = scratch / 'bags', scratch / 'adapted'
    words = [
        f'{section}.{name}={json.dumps(value)}'
        for section in ('arena', 'randomise')
        for name, value in to_dict(getattr(away, section)).items()
        if name not in ('name', 'episodes', 'length')
    ]
    verb(*('collect', away.arena.name, '--out', str(bags)), settings=[*words, *MINUTE])
    try:
        adapt(folder, [bags], run)
    except NotAdaptedError as error:
        echo(f'{error}')
        return folder
    return run


def _drive(
    title: str, run: Path, config: Config, pairs: Sequence[Pair], logs: Path
) -> Mapping[str, Any]:
    """Drive all tasks over ROS 2."""
    from smwm_ros.load import to_dict
    from smwm_ros.nodes.trial import run_trial
    from smwm_ros.progress import show_progress
    from smwm_ros.verbs.rehearsal import tasks_of

    tasks = tasks_of(pairs)
    names = ('engine', 'distractors', 'seed', 'field_delay', 'field_gain')
    knobs = {name: to_dict(getattr(config.arena, name)) for name in names}
    with show_progress(total=len(tasks), desc=title, unit='task') as bar:
        trial = run_trial(
            run,
            config.arena.name,
            tasks,
            config.evaluate.budget,
            logs,
            lambda: bar.update(1),
            knobs=knobs,
            randomise=to_dict(config.randomise),
        )
    return {**_counts(trial.tasks), 'control_hz': trial.control_hz}


def _counts(tried: Sequence[Outcome | TaskResult]) -> dict[str, int]:
    """Return how many goals were reached, of how many."""
    return {'reached': sum(one.success for one in tried), 'tried': len(tried)}


def _report(
    args: argparse.Namespace, arena: str, config: Config, found: Mapping[str, Mapping[str, Any]]
) -> None:
    """Print the success of each, and write all figures."""
    from smwm_ros.evaluation.statistics import wilson
    from smwm_ros.files import write_atomic
    from smwm_ros.load import to_dict

    width = max(map(len, found))
    budget = count_of(config.evaluate.budget, 'raw step')
    echo(f'{arena} over ROS 2, {count_of(args.tasks, "task")} of at most {budget}:')
    echo(f'  {"":{width}}  success   95 % interval')
    for title, one in found.items():
        low, high = wilson(one['reached'], one['tried'])
        share = one['reached'] / one['tried']
        echo(f'  {title:{width}}  {share:7.0%}   {low:.0%} to {high:.0%}')
    out = args.out or args.run_folder / 'rehearse.json'
    settings = {
        part: to_dict(getattr(config, part)) for part in ('arena', 'randomise', 'evaluate')
    }
    figures = {'run': str(args.run_folder), 'engine': args.engine, **settings, 'found': found}
    write_atomic(out, (json.dumps(figures, indent=1) + '\n').encode())
    echo(f'figures: {out}')
