# SPDX-License-Identifier: Apache-2.0
"""
Measure success in the four environments of the paper, as stable-worldmodel judges it.

Each seed records its own data by the policies of stable-worldmodel, trains nano at 64 px on a
processor, and draws its pairs from a file of other episodes. World.evaluate judges: 100 pairs, 25
raw steps apart, a budget of 50. The figures of the paper beside them are those of its networks
(ViT-tiny at 224 px, on a GPU), trained on its own data of 10,000 episodes, on other pairs. Needs
the extra swm. Data, models and results are kept in runs/bench, and an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
import json
from pathlib import Path
import sys
from typing import Any, NamedTuple

from common import main, Row
from parts.success import UNSEEN, workplace
from smwm_ros.cli import main as smwm
from smwm_ros.evaluation.statistics import interval_by_episode
from smwm_ros.load import load_config
from smwm_ros.swm.environments import Environment, ENVIRONMENTS
import torch

SEEDS = (0, 1, 2)
KINDS = ('forward_only', 'sigreg')
OURS, PAPER, RANDOM = 'ours', 'paper', 'random'
# Success of the paper's other methods, as its repository has them, five seeds.
THEIRS = {
    'swm_two_room': {'sigreg': 0.926, 'forward_only': 0.346, 'random': 0.300},
    'swm_reacher': {'sigreg': 0.678, 'forward_only': 0.098, 'random': 0.136},
    'swm_push_t': {'sigreg': 0.888, 'forward_only': 0.026, 'random': 0.028},
    'swm_cube': {'sigreg': 0.600, 'forward_only': 0.468, 'random': 0.430},
}
QUICK = {
    'collect': ['arena.episodes=6', 'arena.length=40'],
    'train': ['train.steps=40'],
    'evaluate': ['evaluate.pairs=6', 'evaluate.repeats=1', 'evaluate.lanes=6'],
}


class Tried(NamedTuple):
    """The attempts of one method with one seed."""

    successes: list[bool]  # all pairs once for each repeat
    episodes: list[int]  # of the pairs
    solved: list[bool]  # pairs that are solved at the start


Found = dict[str, list[Tried]]  # of each method, with each seed


def measure(quick: bool, world: str, seeds: str) -> Iterator[Row]:
    """Record, train and evaluate in all environments, or in one."""
    torch.set_num_threads(1)
    chosen = [one for one in ENVIRONMENTS.values() if world in ('', short(one))]
    if not chosen:
        sys.exit(f'--world: expected one of {", ".join(map(short, ENVIRONMENTS.values()))}')
    with workplace('paper_worlds', quick) as folder:
        for environment in chosen[:1] if quick else chosen:
            found: Found = {}
            numbers = [int(word) for word in seeds.split(',')] if seeds else SEEDS
            for number in numbers[:1] if quick else numbers:
                place = folder / environment.config / str(number)
                results = try_seed(environment, place, number, quick)
                for name, tried in read(results).items():
                    found.setdefault(name, []).append(tried)
            yield from rows(environment, found)


def short(environment: Environment) -> str:
    """Return the name of an environment for rows: two_room."""
    return environment.config.removeprefix('swm_')


def try_seed(
    environment: Environment, folder: Path, number: int, quick: bool
) -> Mapping[str, Any]:
    """Record, train and evaluate with one seed; return what `smwm evaluate` wrote."""
    config, few = environment.config, QUICK if quick else {}
    files = {'train': number, 'held_out': UNSEEN + number}
    for name, seed in files.items():
        if not (folder / f'{name}.h5').exists():
            words = ['--env', environment.name, '--out', f'{folder}/{name}.h5']
            run('collect', *words, f'arena.seed={seed}', *few.get('collect', []))
    data, out = folder / 'data', folder / 'results.json'
    state = ','.join(environment.states)
    if not data.exists():
        words = ['--config', config, '--state', state, '--out', str(data)]
        run('import', str(folder / 'train.h5'), *words)
    recipe = load_config(config).model.kind
    for kind in (recipe, *KINDS):
        name = OURS if kind == recipe else kind
        words = ['--config', config, '--out', str(folder / name), f'model.kind={kind}']
        run('train', str(data), *words, f'train.seed={number}', *few.get('train', []))
    if not out.exists():
        others = ','.join([PAPER, *(str(folder / kind) for kind in KINDS)])
        words = ['--env', environment.name, '--data', str(folder / 'held_out.h5')]
        words += ['--methods', others, '--out', str(out), f'evaluate.seed={number}']
        run('evaluate', str(folder / OURS), *words, *few.get('evaluate', []))
    found: dict[str, Any] = json.loads(out.read_text(encoding='utf-8'))
    return found


def run(*words: str) -> None:
    """Run a verb; its output goes to stderr."""
    with redirect_stdout(sys.stderr):
        if smwm(list(words)):
            raise RuntimeError(f'smwm {" ".join(words)} failed')


def read(results: Mapping[str, Any]) -> dict[str, Tried]:
    """Return the attempts of each method by its name in rows."""
    episodes = [pair['episode'] for pair in results['pairs']]
    solved = [pair['solved_at_start'] for pair in results['pairs']]
    names = [OURS, *(Path(name).name for name in list(results['results'])[1:])]
    attempts = [one['successes'] for one in results['results'].values()]
    return {
        name: Tried(successes, episodes, solved)
        for name, successes in zip(names, attempts, strict=True)
    }


def rows(environment: Environment, found: Found) -> Iterator[Row]:
    """Yield the success of each method, beside that of the paper where it has one."""
    start = f'paper_worlds.{short(environment)}'
    paper, theirs = environment.paper, THEIRS[environment.config]
    yield row(f'{start}.success', found[OURS], 'the paper', paper)
    mine = rate(found[OURS], unsolved=True)
    yield row(f'{start}.success_without_solved', found[OURS])._replace(value=mine, interval=None)
    yield row(f'{start}.success_paper_planner', found[PAPER], 'the paper', paper)
    for kind in (*KINDS, RANDOM):
        yield row(f'{start}.success_{kind}', found[kind], 'the paper', theirs[kind])


def row(name: str, tried: list[Tried], peer: str = '', beside: float | None = None) -> Row:
    """Return the success over all seeds with its interval."""
    value = rate(tried)
    repeats = len(tried[0].successes) // len(tried[0].episodes)
    attempts = [list(zip(one.episodes * repeats, one.successes, strict=True)) for one in tried]
    ratio = value / beside if beside else None
    between = interval_by_episode(attempts, repeats)
    return Row(name, value, 'of the goals', '', peer, beside, ratio, interval=between)


def rate(tried: list[Tried], unsolved: bool = False) -> float:
    """Return the share of successes, perhaps without pairs that are solved at the start."""
    kept = [
        success
        for one in tried
        for at, success in enumerate(one.successes)
        if not (unsolved and one.solved[at % len(one.solved)])
    ]
    return sum(kept) / len(kept) if kept else 0.0


if __name__ == '__main__':
    main(
        measure,
        __doc__,
        world=('', 'one environment alone: two_room, push_t, reacher, cube'),
        seeds=('', 'seeds, separated by commas (default: 0,1,2)'),
    )
