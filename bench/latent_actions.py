# SPDX-License-Identifier: Apache-2.0
"""
Measure how far a few labelled moments go in recordings without commands.

Of the recorded actions of an arena only those of 50 or 200 moments are kept. A latent-action model
is trained on all images, labels the rest, and a world model is trained on the labels. It is
compared on the same pairs with one that was trained on the moments alone, with one that was
trained on all recorded actions, and with the latent-action model itself, which plans by way of its
controller. In two_room two balls roll about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import main, Row
from parts.acceptance_tests import acceptance_tests
from parts.moments import hide
from parts.over_seeds import over_seeds
from parts.success import Found, note, prepared, QUICK, record, row, Seed, workplace
from smwm_ros.config import Train
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import ExpertAgent, RandomAgent
from smwm_ros.labelling.pseudo_actions import label
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.progress import show_progress
from smwm_ros.training.train import train
import torch

ARENAS = {'two_room': ['arena.distractors=2'], 'reacher': [], 'push_t': ['arena.episodes=200']}
ONCE = ('push_t',)  # measured with one seed
MOMENTS = (50, 200)
STEPS, BATCH = 2000, 64  # of a latent-action model
CONTROLLED = 20  # pairs that a latent-action model itself tries, with fewer samples: it is slow
SLOW: Mapping[str, Any] = {'samples': 64, 'iterations': 3, 'precision': 'bf16'}
Figures = dict[str, list[float]]  # of each measure, one of each seed


def measure(quick: bool, only: str, seeds: int) -> Iterator[Row]:
    """Yield the rows of each arena."""
    torch.set_num_threads(1)
    for name in [only] if only else ARENAS:
        yield from arena(name, quick, 1 if quick or name in ONCE else seeds)


def arena(name: str, quick: bool, seeds: int) -> Iterator[Row]:
    """Yield the rows of one arena."""
    found: Found = {}
    figures: Figures = {}
    with workplace(f'latent_{name}', quick) as folder:
        for number in range(seeds):
            knobs = [*ARENAS[name], 'model.kind=smwm', *(QUICK if quick else [])]
            with prepared(name, folder / str(number), number, knobs) as seed:
                data = record(name, folder, quick, seed=number, knobs=ARENAS[name])
                one_seed(seed, data, quick, found, figures)
    prefix = f'latent_actions.{name}'
    yield row(f'{prefix}.all_labels', found, 'all labels', 'random')
    yield row(f'{prefix}.labels_only', found, '50 labels only', 'random')
    for moments in MOMENTS[:1] if quick else MOMENTS:
        yield row(f'{prefix}.propagated_{moments}', found, f'from {moments}', 'all labels')
    yield row(f'{prefix}.propagated_over_only', found, 'from 50', '50 labels only')
    yield row(f'{prefix}.by_controller', found, 'controller', 'random')
    yield row(f'{prefix}.expert', found, 'expert', 'all labels')
    for measured, values in figures.items():
        yield over_seeds(f'{prefix}.{measured}', '', values)


def one_seed(
    seed: Seed, data: TransitionDataset, quick: bool, found: Found, figures: Figures
) -> None:
    """Train and evaluate everything with one seed."""
    pairs, number = seed.pairs(), seed.config.train.seed
    everything = seed.trained(data, 'smwm', 'all')
    note(found, 'all labels', seed.plan(everything, pairs))
    note(found, 'random', seed.drive(RandomAgent(everything.spec, number), pairs, 5))
    note(found, 'expert', seed.drive(ExpertAgent(), pairs))
    for moments in MOMENTS[:1] if quick else MOMENTS:
        hidden = hide(data, seed.folder / f'hidden_{moments}', moments, number)
        run = seed.folder / f'latent_{moments}'
        latent = latent_model(seed, hidden, run, quick)
        for test, figure in acceptance_tests(latent, data, seed.arenas[0]).items():
            figures.setdefault(f'{test}_{moments}', []).append(figure)
        if moments == MOMENTS[0]:
            # Single moments have no neighbours, so a model step is all there is to unroll.
            lonely = seed._replace(config=replace(seed.config, train=single(seed)))
            only = lonely.trained(hidden, 'smwm', 'only')
            note(found, '50 labels only', seed.plan(only, pairs))
            planner = replace(latent.planner, **SLOW)
            note(found, 'controller', seed.plan(latent, pairs[:CONTROLLED], planner))
        # Opened anew: with its labels, if an earlier run wrote some.
        label(TransitionDataset.open(hidden.folder), run, float('-inf'), show_progress)
        labelled = TransitionDataset.open(hidden.folder)
        model = seed.trained(labelled, 'smwm', f'from_{moments}')
        note(found, f'from {moments}', seed.plan(model, pairs))


def single(seed: Seed) -> Train:
    """Return the settings of a training on single transitions."""
    return replace(seed.config.train, unroll=1)


def latent_model(seed: Seed, data: TransitionDataset, run: Path, quick: bool) -> Checkpoint:
    """Train a latent-action model on all images."""
    settings = replace(single(seed), steps=40 if quick else STEPS, batch=BATCH)
    model = replace(seed.config.model, kind='latent_action', inverse_weight=1.0)
    planner = replace(seed.config.planner, focus=())
    return train(data, run, model, settings, planner, progress=show_progress)


if __name__ == '__main__':
    main(measure, __doc__, only=('', 'the name of one arena'), seeds=(3, 'number of seeds'))
