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
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.config import Config, ENGINES, Randomise
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options

if TYPE_CHECKING:
    from smwm_ros.evaluation.pairs import Pair
    from smwm_ros.interfaces import Arena

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
    from smwm_ros.load import load_config
    from smwm_ros.model.checkpoint import load

    checkpoint = load(args.run_folder)
    name = choose_arena(args.arena, args.config, checkpoint.robot)
    settings = [*args.settings, f'arena.name={name}', f'evaluate.pairs={args.tasks}']
    settings += [f'arena.image_size={checkpoint.image_size}', 'randomise.once=true']
    config = load_config(args.config or name, settings)
    home = replace(config, randomise=Randomise())
    away = replace(config, arena=replace(config.arena, engine=args.engine))
    with closing(arena_of(home)) as arena:
        require_robot(arena, name, checkpoint.robot, str(args.run_folder))
        pairs = _draw(home, arena)
    with TemporaryDirectory(prefix='smwm-rehearse-') as short:
        folder = Path(short)
        tried = {'pybullet, as it is': (args.run_folder, home)}
        tried[f'{args.engine}, not adapted'] = (args.run_folder, away)
        if args.adapt:
            tried[f'{args.engine}, adapted to a minute of images'] = (
                _adapted(args.run_folder, name, folder, args.engine, settings),
                away,
            )
        found = {
            title: _drive(title, run, one, pairs, folder / 'logs')
            for title, (run, one) in tried.items()
        }
        found[f'{args.engine}, random policy'] = _by_chance(away, pairs)
    _report(args, name, config, found)
    return 0


def _draw(config: Config, arena: Arena) -> list[Pair]:
    """Draw the tasks from fresh episodes."""
    from smwm_ros.collect.fresh import fresh_episodes
    from smwm_ros.evaluation.pairs import fresh_pairs
    from smwm_ros.progress import show_progress

    protocol = config.evaluate
    count = max(1, protocol.pairs // 4)
    settings = replace(config.arena, length=max(config.arena.length, protocol.offset + 100))
    episodes = fresh_episodes(arena, settings, count, protocol.seed, show_progress)
    return fresh_pairs(episodes, protocol)


def _adapted(
    folder: Path, arena: str, scratch: Path, engine: str, settings: Sequence[str]
) -> Path:
    """Record a minute in the other engine, and adapt the model to it."""
    from smwm_ros.verbs.adapt import adapt
    from smwm_ros.verbs.demo import verb

    bags, run = scratch / 'bags', scratch / 'adapted'
    words = [word for word in settings if word.startswith(('arena.', 'randomise.'))]
    verb(
        *('collect', arena, '--out', str(bags)),
        settings=[*words, f'arena.engine={engine}', *MINUTE],
    )
    adapt(folder, [bags], run)
    return run


def _drive(
    title: str, run: Path, config: Config, pairs: Sequence[Pair], logs: Path
) -> Mapping[str, Any]:
    """Drive all tasks over ROS 2."""
    from smwm_ros.load import to_dict
    from smwm_ros.nodes.trial import run_trial
    from smwm_ros.progress import show_progress

    tasks = [
        {'start': pair.start_state.tolist(), 'goal': pair.goal_state.tolist()} for pair in pairs
    ]
    knobs = {name: getattr(config.arena, name) for name in ('engine', 'distractors', 'seed')}
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
    reached = [one.success for one in trial.tasks]
    return {'reached': sum(reached), 'tried': len(reached), 'control_hz': trial.control_hz}


def _by_chance(config: Config, pairs: Sequence[Pair]) -> Mapping[str, Any]:
    """Try the tasks with random actions, without ROS."""
    from smwm_ros.arenas import arena_of
    from smwm_ros.evaluation.agents import RandomAgent
    from smwm_ros.evaluation.closed_loop import run_pairs
    from smwm_ros.progress import show_progress

    protocol = config.evaluate
    with closing(arena_of(config)) as arena:
        agent = RandomAgent(arena.spec, protocol.seed)
        found = run_pairs(
            [arena], pairs, agent, protocol.budget, 'random policy', REPEATS, show_progress
        )
    return {'reached': sum(one.success for one in found), 'tried': len(found)}


def _report(
    args: argparse.Namespace, arena: str, config: Config, found: Mapping[str, Mapping[str, Any]]
) -> None:
    """Print the success of each, and write all figures."""
    import json

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
