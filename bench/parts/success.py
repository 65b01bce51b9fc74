# SPDX-License-Identifier: Apache-2.0
"""
Shared parts of the arenas' benchmarks: collect, convert, train and evaluate with several seeds.

Data and models are made by the verbs, with the recipe in config/. The pairs of start and goal come
from new episodes of each seed, by the protocol of the paper: 25 raw steps apart, a budget of 50
raw steps, success at any of them. No recipe was tuned on these pairs: `smwm evaluate` draws
others. All methods try the same pairs. Each seed also collects data of its own, so that an
interval over seeds covers the data and not the weights alone. Bags, models and outcomes are kept
in runs/bench, and an interrupted benchmark continues there. Delete the folder to start again, and
to measure the training time again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
import time
from typing import NamedTuple

from common import Row
import numpy as np
from parts.outcomes import kept, named
from smwm_ros.arenas import arena_of
from smwm_ros.cli import main as smwm
from smwm_ros.collect.fresh import fresh_episodes
from smwm_ros.config import Config, Planner
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import Agent, ExpertAgent, PlannerAgent, RandomAgent
from smwm_ros.evaluation.closed_loop import interval, Outcome, run_pairs
from smwm_ros.evaluation.methods import as_in_the_paper, other_kind
from smwm_ros.evaluation.pairs import fresh_pairs, Pair
from smwm_ros.files import write_atomic
from smwm_ros.interfaces import Arena
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.model.goal_fields import settings_for
from smwm_ros.planning.pilot import Pilot
from smwm_ros.progress import show_progress
from smwm_ros.training.train import train
from smwm_ros.training.velocity import choose_history
import torch

QUICK = ['train.steps=60', 'evaluate.pairs=8', 'evaluate.repeats=2']
QUICK_EPISODES = 8
KEPT = Path(__file__).parents[2] / 'runs/bench'  # bags, models and outcomes
SEEDS = (0, 1, 2)
UNSEEN = 10_000  # added to a seed: users and recipes count seeds from 0
FROM_IMAGES = 'smwm+sigreg'  # kind that needs no measured state
PICTURE = {'push_t': 1.0}  # model.picture_weight of that kind, as the recipe of the arena says
LONGEST = 100  # raw steps between start and goal, in the sweep of horizons
Found = dict[str, list[Sequence[Outcome]]]  # of each method, the outcomes of each seed


@contextmanager
def workplace(name: str, quick: bool) -> Iterator[Path]:
    """Yield the folder of an arena's bags and models; with --quick, a temporary one."""
    with TemporaryDirectory() as short:
        yield Path(short) if quick else KEPT / name


def in_arenas(
    bench: str, arenas: Iterable[str], one: str, quick: bool
) -> Iterator[tuple[str, Iterator[tuple[int, Path]]]]:
    """
    Yield each arena of a benchmark, or `one` alone, with its seeds and the folder of the arena.

    With --quick, only the first arena and the first seed, in a temporary folder.
    """
    torch.set_num_threads(1)
    for name in [one] if one else list(arenas)[: 1 if quick else None]:
        yield name, _in_seeds(bench, name, quick)


def _in_seeds(bench: str, arena: str, quick: bool) -> Iterator[tuple[int, Path]]:
    """Yield each seed, and the folder that all seeds of an arena share."""
    with workplace(bench, quick) as folder:
        for number in SEEDS[:1] if quick else SEEDS:
            yield number, folder / arena


class Seed(NamedTuple):
    """Settings, arenas and episodes of one seed."""

    config: Config
    folder: Path  # of its runs
    arenas: Sequence[Arena]
    episodes: Sequence[np.ndarray]  # (L, P) states, to draw pairs from

    def pairs(self, offset: int = 25) -> list[Pair]:
        """Draw pairs of start and goal."""
        return fresh_pairs(self.episodes, replace(self.config.evaluate, offset=offset))

    def trained(
        self, dataset: TransitionDataset, kind: str, name: str, steps: int = 0
    ) -> Checkpoint:
        """Train a kind of model, for as many steps as the recipe has, or fewer."""
        config = self.config
        most = config.train.steps
        settings = replace(config.train, steps=min(steps or most, most))
        model = config.model
        if kind != model.kind:
            model = other_kind(model, kind)
        if not model.history:  # as smwm train does
            model = replace(model, history=choose_history(dataset, model).images)
        planner = settings_for(config.planner, model)
        return train(dataset, self.folder / name, model, settings, planner, progress=show_progress)

    def timed(
        self, dataset: TransitionDataset, name: str, seconds: list[float], steps: int = 0
    ) -> Checkpoint:
        """Train our kind; append the processor time, if training was not interrupted [s]."""
        begun, anew = time.process_time(), not (self.folder / name).exists()
        checkpoint = self.trained(dataset, self.config.model.kind, name, steps)
        noted = self.folder / f'{name}.seconds'
        if anew:
            write_atomic(noted, str(time.process_time() - begun).encode())
        if noted.exists():
            seconds.append(float(noted.read_text()))
        return checkpoint

    def drive(self, agent: Agent, pairs: Sequence[Pair], repeats: int = 1) -> list[Outcome]:
        """Try pairs, with a budget of twice the raw steps between start and goal."""
        budget = 2 * (pairs[0].goal_row - pairs[0].start_row)
        return run_pairs(self.arenas, pairs, agent, budget, '', repeats, show_progress)

    def plan(
        self,
        checkpoint: Checkpoint,
        pairs: Sequence[Pair],
        planner: Planner | None = None,
        execute: int = 0,  # 0: as in the recipe
        delay: int = 0,
        compensate: str = 'sent',
    ) -> list[Outcome]:
        """Try pairs with a checkpoint, or return its kept outcomes."""
        execute = execute or self.config.evaluate.execute
        agent = PlannerAgent(Pilot(checkpoint, planner), execute, delay, compensate)
        settings = (self.config, planner, execute, delay, compensate)
        name = named(Path(__file__), checkpoint, pairs, *settings)
        return kept(self.folder / 'outcomes', name, lambda: self.drive(agent, pairs))


def without_augmentation(seed: Seed) -> Seed:
    """Return a seed with the recipe that trains on images as they were recorded."""
    train = replace(seed.config.train, warp=0.0, colour_jitter=0.0)
    return seed._replace(config=replace(seed.config, train=train))


def from_images(seed: Seed) -> Seed:
    """Return a seed with the recipe that trains on images and actions alone."""
    # SIGReg fills the latent with what the inverse loss alone leaves out.
    model = other_kind(seed.config.model, FROM_IMAGES)
    weight = PICTURE.get(seed.config.arena.name, 0.0)
    model = replace(model, picture_weight=weight)
    return seed._replace(config=replace(seed.config, model=model))


More = Callable[[Seed, TransitionDataset, Checkpoint, Found], None]


def nothing_more(
    seed: Seed, dataset: TransitionDataset, checkpoint: Checkpoint, found: Found
) -> None:
    """Try no further methods."""


def measure(
    name: str,
    quick: bool,
    kinds: Sequence[str] = ('forward_only', 'sigreg'),
    more: More = nothing_more,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Row]:
    """
    Train and evaluate the recipe and other kinds with every seed; `more` adds methods.

    Where the recipe also trains on measured states, kind smwm is added, which trains on images
    and actions alone as in the paper. The other kinds differ from smwm in their loss alone.
    """
    torch.set_num_threads(1)
    found: Found = {}
    seconds = list[float]()
    with workplace(name, quick) as folder:
        knobs = QUICK if quick else []
        for number in seeds[:1] if quick else seeds:
            with prepared(name, folder / str(number), number, knobs) as seed:
                dataset = record(name, folder, quick, seed=number)
                ours = seed.timed(dataset, 'ours', seconds)
                pairs = seed.pairs()
                note(found, 'ours', seed.plan(ours, pairs))
                note(found, 'paper', seed.plan(ours, pairs, *as_in_the_paper(ours)))
                if ours.planner.focus:
                    all_counts = replace(ours.planner, focus=())
                    note(found, 'no focus', seed.plan(ours, pairs, all_counts))
                if ours.model_config.kind != 'smwm':
                    smwm_alone = seed.trained(dataset, 'smwm', 'smwm')
                    note(found, 'smwm', seed.plan(smwm_alone, pairs))
                    paper = as_in_the_paper(smwm_alone)
                    note(found, 'smwm paper', seed.plan(smwm_alone, pairs, *paper))
                    images = from_images(seed).trained(dataset, FROM_IMAGES, 'images')
                    note(found, 'images', seed.plan(images, pairs))
                for kind in kinds:
                    note(found, kind, seed.plan(seed.trained(dataset, kind, kind), pairs))
                note(found, 'random', seed.drive(RandomAgent(ours.spec, number), pairs, 5))
                note(found, 'expert', seed.drive(ExpertAgent(), pairs))
                more(seed, dataset, ours, found)
    yield from rows(name, found, kinds)
    if seconds:
        yield Row(f'{name}.train_cpu', float(np.mean(seconds)), 's of one core')


def rows(name: str, found: Found, kinds: Sequence[str]) -> Iterator[Row]:
    """Yield the rows that every arena has."""
    moved, smwm = unsolved(found), 'ours'
    if 'smwm' in found:
        smwm = 'smwm'
        yield row(f'{name}.success_smwm', found, smwm, 'random')
        yield row(f'{name}.success_smwm_without_solved', moved, smwm, 'random')
        yield row(f'{name}.success_smwm_paper_planner', found, 'smwm paper', smwm)
    if 'images' in found:
        yield row(f'{name}.success_images', found, 'images', smwm)
        yield row(f'{name}.success_images_without_solved', moved, 'images', smwm)
    yield row(f'{name}.success', found, 'ours', 'random')
    yield row(f'{name}.success_without_solved', moved, 'ours', 'random')
    yield row(f'{name}.success_paper_planner', found, 'paper', 'ours')
    if 'no focus' in found:
        yield row(f'{name}.success_no_focus', found, 'no focus', 'ours')
        yield row(f'{name}.success_no_focus_without_solved', moved, 'no focus', 'ours')
    for kind in kinds:
        yield row(f'{name}.success_{kind}', found, kind, smwm)
    yield row(f'{name}.success_expert', found, 'expert', 'ours')
    worst = min(success([outcomes]) for outcomes in found['ours'])
    yield Row(f'{name}.success_worst_seed', worst, 'of the goals')


def unsolved(found: Found) -> Found:
    """Leave out the pairs that are solved at the start."""
    return {
        key: [[one for one in outcomes if not one.solved_at_start] for outcomes in tried]
        for key, tried in found.items()
    }


PEERS = {
    'random': 'random policy',
    'ours': 'the recipe',
    'smwm': 'smwm from images and actions',
    'home': 'in PyBullet',
    'home_random': 'random policy',
    'away_random': 'random policy',
    'away_random_moved': 'random policy',
}


def row(
    measure_name: str, found: Mapping[str, Sequence[Sequence[Outcome]]], key: str, peer: str
) -> Row:
    """Return the success of a method with its interval, beside another on the same pairs."""
    value, beside = success(found[key]), success(found[peer])
    return Row(
        measure_name,
        value,
        'of the goals',
        peer=PEERS.get(peer, peer),
        peer_value=beside,
        ratio=value / beside if beside else None,
        interval=interval(found[key]),
    )


def success(tried: Sequence[Sequence[Outcome]]) -> float:
    """Return the share of reached goals over all seeds."""
    every = [one.success for outcomes in tried for one in outcomes]
    return float(np.mean(every)) if every else 0.0


def note(found: Found, key: str, outcomes: Sequence[Outcome]) -> None:
    """Keep the outcomes of a further seed."""
    found.setdefault(key, []).append(outcomes)


def record(
    name: str,
    folder: Path,
    quick: bool,
    episodes: int = 0,
    seed: int = 0,
    knobs: Sequence[str] = (),  # of the arena
) -> TransitionDataset:
    """Collect and convert; print the output of the verbs to stderr."""
    episodes = QUICK_EPISODES if quick else episodes  # 0: as in the recipe
    some = [f'arena.seed={seed}', *([f'arena.episodes={episodes}'] if episodes else []), *knobs]
    where = folder / f'driven_{episodes}_{seed}'
    bags, data = str(where / 'bags'), str(where / 'dataset')
    with redirect_stdout(sys.stderr):
        for words in (
            ['collect', name, '--out', bags, *some],
            ['convert', bags, '--out', data, '--config', name],
        ):
            if smwm(words):
                raise RuntimeError(f'smwm {" ".join(words)} failed')
    return TransitionDataset.open(data)


def prepare(seed: Seed, dataset: TransitionDataset) -> Checkpoint:
    """Train by the recipe, and prepare roadmap and proposals."""
    seed.trained(dataset, seed.config.model.kind, 'ours')
    folder = seed.folder / 'ours'
    settings = seed.config.prepare
    knobs = [f'prepare.steps={settings.steps}', f'train.seed={seed.config.train.seed}']
    with redirect_stdout(sys.stderr):
        if smwm(['prepare', str(folder), '--data', str(dataset.folder), *knobs]):
            raise RuntimeError('smwm prepare failed')
    return load(folder)


@contextmanager
def prepared(name: str, folder: Path, number: int, knobs: Sequence[str]) -> Iterator[Seed]:
    """Make the arenas of one seed, and run the episodes that its pairs come from."""
    seeded = [f'{part}.seed={number}' for part in ('train', 'evaluate', 'planner')]
    config = load_config(name, [*knobs, *seeded])
    length = max(config.arena.length, 2 * LONGEST)
    arenas = [arena_of(config) for _ in range(config.evaluate.lanes)]
    try:
        count = max(1, config.evaluate.pairs // 4)
        settings = replace(config.arena, length=length)
        episodes = fresh_episodes(arenas[0], settings, count, UNSEEN + number)
        yield Seed(config, folder, arenas, episodes)
    finally:
        for arena in arenas:
            arena.close()
