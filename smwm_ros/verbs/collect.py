# SPDX-License-Identifier: Apache-2.0
"""
Record rosbags in a simulated arena, faster than real time.

Run it again to resume: complete bags are kept. The same seed gives the same bytes, whatever --jobs
is and whatever processes are killed. The knobs of `record` add the faults of real recordings:
other rates, clock offsets, latency, message loss; /recording/truth then holds the true values.
--env records an environment of stable-worldmodel into an HDF5 file, by its own policies.
"""

from __future__ import annotations

import argparse
from functools import partial
import json
import os
from pathlib import Path
import shutil
import sys
from typing import Any

from smwm_ros.config import Config
from smwm_ros.data.stored import differences
from smwm_ros.errors import BagError, ConfigError
from smwm_ros.files import write_atomic
from smwm_ros.load import to_dict
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options, swm_collect

EXAMPLE = 'smwm collect two_room --episodes 180 --policy mixed --out runs/bags'
RECIPE = 'collect.json'
SECTIONS = ('arena', 'randomise', 'record', 'robot')  # of the configuration that define the bags
FLAGS = {'episodes': 'arena.episodes', 'policy': 'arena.policy', 'storage': 'record.storage'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('arena', nargs='?', default='two_room', help='arena (default: two_room)')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('runs/bags'),
        help='bag folder (default: runs/bags)',
    )
    parser.add_argument(
        '--env',
        help='environment of stable-worldmodel, such as swm/TwoRoom-v1; --out then names an HDF5 '
        'file, and --policy one of its policies (expert, weak, random, held)',
    )
    for flag, path in FLAGS.items():
        parser.add_argument(f'--{flag}', metavar=flag[0].upper(), help=f'the knob {path}')
    parser.add_argument(
        '--jobs', type=int, default=0, help='parallel processes (default: one per core)'
    )
    parser.add_argument(
        '--fresh', action='store_true', help='remove the bags of an earlier run in --out first'
    )
    options.add_config(parser, SECTIONS)


def run(args: argparse.Namespace) -> int:
    """Record the missing bags."""
    from smwm_ros.lock import hold

    if args.env:
        return swm_collect.collect_env(args)
    config = configured(args)
    with hold(args.out):
        collect(args, config)
    return 0


def collect(args: argparse.Namespace, config: Config) -> None:
    """Record the missing bags; the folder is locked."""
    from smwm_ros.collect.pool import record_all
    from smwm_ros.collect.record import bags_to_record
    from smwm_ros.progress import show_progress

    prepare(args.out, config, args.fresh)
    every = bags_to_record(args.out, config)
    todo = [recording for recording in every if not is_whole(recording.path)]
    for recording in todo:
        shutil.rmtree(recording.path, ignore_errors=True)
    length = config.arena.length
    total = sum(len(recording.episodes) for recording in todo) * length
    if todo:
        jobs = args.jobs or len(os.sched_getaffinity(0))
        try:
            with show_progress(total=total, unit='step', desc='collect', mininterval=0.2) as bar:
                record_all(todo, jobs, bar.update, partial(bar.write, file=sys.stderr))
        finally:
            remove_leftovers(args.out)
    kept = len(every) - len(todo)
    echo(
        f'{args.out}: {count_of(len(every), "bag")} with '
        f'{count_of(config.arena.episodes, "episode")} of {count_of(length, "raw step")} in '
        f'{config.arena.name}' + (f' (there already: {count_of(kept, "bag")})' if kept else '')
    )


def configured(args: argparse.Namespace) -> Config:
    """Build the configuration, and check that it fits the arena before writing anything."""
    from smwm_ros.arenas import arena_of, require_arena, require_fit

    require_arena(args.arena)
    if args.jobs < 0:
        raise ConfigError(f'--jobs: {args.jobs} is out of range; expected 1 or more')
    flags = [
        f'{path}={getattr(args, flag)}' for flag, path in FLAGS.items() if getattr(args, flag)
    ]
    args.config = args.config or args.arena
    args.settings = [*args.settings, *flags, f'arena.name={args.arena}']
    config = options.config_of(args)
    arena = arena_of(config)
    require_fit(arena, config.robot)
    arena.close()
    return config


def prepare(folder: Path, config: Config, fresh: bool) -> None:
    """Prepare the folder for bags of one configuration; refuse a folder with anything else."""
    recipe = {section: to_dict(getattr(config, section)) for section in SECTIONS}
    path = folder / RECIPE
    if not path.is_file():
        if any(not item.name.startswith('.') for item in folder.iterdir()):
            raise BagError(
                f'{folder}: not empty, and no {RECIPE} of an earlier run; choose an empty folder'
            )
    elif fresh:
        remove_bags(folder, read_recipe(path))
    else:
        require_same(path, read_recipe(path), recipe)
    remove_leftovers(folder)
    write_atomic(path, (json.dumps(recipe, indent=2) + '\n').encode())


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the configuration of an earlier run."""
    try:
        recipe = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict) or not isinstance(recipe.get('arena'), dict):
        raise BagError(f'{path}: damaged; remove the folder, or choose another --out')
    return recipe


def require_same(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to mix bags of two configurations; name the knobs that differ."""
    usual = {section: to_dict(getattr(Config(), section)) for section in SECTIONS}
    differ = [
        f'{key}={before} there, {now} requested'
        for key, (before, now) in differences(old, new, usual).items()
    ]
    if differ:
        raise BagError(
            f'{path.parent}: holds bags of another configuration ({"; ".join(differ)}); '
            'choose another --out, or start over with --fresh'
        )


def remove_bags(folder: Path, recipe: dict[str, Any]) -> None:
    """Remove the bags of an earlier run, and nothing else."""
    for path in folder.glob(f'{recipe["arena"].get("name")}_[0-9][0-9][0-9][0-9]*'):
        shutil.rmtree(path)


def remove_leftovers(folder: Path) -> None:
    """Remove partial bags of killed processes."""
    from smwm_ros.bags.writing.writer import PARTIAL

    for leftover in folder.glob(f'{PARTIAL}*'):
        shutil.rmtree(leftover)


def is_whole(path: Path) -> bool:
    """Return whether a bag is complete: it gets its name only then."""
    return (path / 'metadata.yaml').is_file()
