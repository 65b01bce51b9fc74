# SPDX-License-Identifier: Apache-2.0
"""
Measure what a robot on two wheels learns from ten minutes in each of three furnished rooms.

Every room has a floor, light, clutter and a camera of its own, which all its episodes share, as a
real recording does. The cost of the recipe is the time to the goal. The rows compare it with other
planners of the same model: by way of a roadmap, and with the latent distance of the nearest step;
with an encoder of patches that was trained without augmentation; a random policy, and the
scripted expert; on the same pairs of each room. The inverse R2 is that on the held-out episodes,
beside that on the images of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from common import main, Row
from parts.over_seeds import over_seeds
from parts.success import (
    Found,
    note,
    prepare,
    prepared,
    QUICK,
    record,
    row,
    Seed,
    success,
    without_augmentation,
    workplace,
)
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import ExpertAgent, RandomAgent
from smwm_ros.evaluation.examine import examine
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.progress import show_progress
import torch

ARENA = 'two_room_differential'
LOOKS = ['randomise.room=true', 'randomise.once=true']
EPISODES = 60  # of 100 raw steps: ten minutes
ROOMS = (2, 5, 17)  # floors of terrazzo, carpet and wood; the recipe was tuned with tiles (1)
FRAMES = 2000  # of the training that the inverse R2 is measured on
MEMORISED = 3000  # steps without augmentation, after which the images are memorised
OTHERS: dict[str, dict[str, Any]] = {
    'roadmap': {'kind': 'roadmap', 'cost': 'nearest'},
    'nearest': {'cost': 'nearest'},
}
PLAIN = 'plain'  # an encoder of patches, trained without augmentation


class Fit(NamedTuple):
    """The inverse R2 of a model."""

    held_out: float
    training: float


Fits = dict[str, list[Fit]]  # of each method, those of each room


def measure(quick: bool, room: float) -> Iterator[Row]:
    """Train and evaluate in every room, or in one."""
    torch.set_num_threads(1)
    found: Found = {}
    fits: Fits = {}
    chosen = ROOMS if room < 0 else (int(room),)
    few = [*QUICK, 'prepare.steps=60']
    with workplace('rooms', quick) as folder:
        for number in chosen[:1] if quick else chosen:
            knobs = [*LOOKS, f'arena.seed={number}', *(few if quick else [])]
            with prepared(ARENA, folder / str(number), number, knobs) as seed:
                dataset = record(ARENA, folder, quick, EPISODES, number, LOOKS)
                try_methods(seed, dataset, number, found, fits)
    yield from rows(found, fits)


def try_methods(
    seed: Seed, dataset: TransitionDataset, number: int, found: Found, fits: Fits
) -> None:
    """Note the outcomes of all methods in one room, and how well the models fit."""
    pairs = seed.pairs()
    ours = prepare(seed, dataset)
    note(found, 'ours', seed.plan(ours, pairs, seed.config.planner))
    for name, knobs in OTHERS.items():
        note(found, name, seed.plan(ours, pairs, replace(seed.config.planner, **knobs)))
    patches = replace(seed.config, model=replace(seed.config.model, stem='patches'))
    plain = without_augmentation(seed._replace(config=patches))
    before = plain.trained(dataset, patches.model.kind, PLAIN, MEMORISED)
    note(found, PLAIN, plain.plan(before, pairs, replace(before.planner, cost='nearest')))
    for method, model in (('ours', ours), (PLAIN, before)):
        fits.setdefault(method, []).append(fit_of(model, dataset))
    note(found, 'random', seed.drive(RandomAgent(ours.spec, number), pairs, 5))
    note(found, 'expert', seed.drive(ExpertAgent(), pairs))


def fit_of(checkpoint: Checkpoint, dataset: TransitionDataset) -> Fit:
    """Return the inverse R2, as `smwm inspect` measures it."""
    measures = examine(checkpoint, dataset, FRAMES, torch.device('cpu'), show_progress).measures
    return Fit(measures['inverse_r2'], measures['train_inverse_r2'])


def rows(found: Found, fits: Fits) -> Iterator[Row]:
    """Yield the success and the fit of each recipe."""
    yield row('rooms.success', found, 'ours', 'random')
    yield fit_row('rooms.inverse_r2', fits['ours'])
    for name in OTHERS:
        yield row(f'rooms.success_{name}', found, name, 'ours')
    yield row('rooms.success_plain', found, PLAIN, 'ours')
    yield fit_row('rooms.inverse_r2_plain', fits[PLAIN])
    yield row('rooms.success_expert', found, 'expert', 'ours')
    worst = min(success([outcomes]) for outcomes in found['ours'])
    yield Row('rooms.success_worst_room', worst, 'of the goals')
    worst = min(fit.held_out for fit in fits['ours'])
    yield Row('rooms.inverse_r2_worst_room', worst, 'R2')


def fit_row(name: str, fits: Sequence[Fit]) -> Row:
    """Return the mean inverse R2 on held-out episodes, beside that of the training."""
    held_out, training = zip(*fits, strict=True)
    mean = sum(training) / len(training)
    return over_seeds(name, 'R2', held_out, 'images of the training', mean)


if __name__ == '__main__':
    main(measure, __doc__, room=(-1.0, 'one room alone, by its number'))
