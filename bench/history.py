# SPDX-License-Identifier: Apache-2.0
"""
Measure what a history of images adds for robots with inertia.

The two-wheeled robot is made heavy: its velocities lag behind commands, and its accelerations are
limited. The arm gets torques instead of velocities. One image shows no velocity of either. Models
that read one image and models that read three are trained by the same recipe on the same data, and
drive between the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common import main, Row
import numpy as np
from parts.success import Found, in_arenas, note, prepared, QUICK, record, row, Seed
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import ExpertAgent, RandomAgent
from smwm_ros.model.checkpoint import Checkpoint

HEAVY = ['arena.lag=0.4', 'arena.acceleration=[0.5,2.0]']
ROBOTS = {'two_room_differential': HEAVY, 'reacher_torque': []}
HISTORIES = (1, 3)
Errors = dict[int, list[float]]  # of each history, the forward error of each seed


def measure(quick: bool, arena: str) -> Iterator[Row]:
    """Train and evaluate in both arenas, or in one."""
    for name, seeds in in_arenas('history', ROBOTS, arena, quick):
        found: Found = {}
        errors: Errors = {history: [] for history in HISTORIES}
        for number, folder in seeds:
            try_seed(name, folder, number, quick, found, errors)
        yield from rows(name, found, errors)


def try_seed(
    name: str, folder: Path, number: int, quick: bool, found: Found, errors: Errors
) -> None:
    """Train with one seed, and note what each history achieves."""
    knobs = [*ROBOTS[name], *(QUICK if quick else [])]
    dataset = record(name, folder, quick, seed=number, knobs=ROBOTS[name])
    with prepared(name, folder / str(number), number, knobs) as seed:
        pairs = seed.pairs()
        for history in HISTORIES:
            made = with_history(seed, dataset, history)
            errors[history].append(made.info.summary['forward_over_copy'])
            note(found, f'history {history}', seed.plan(made, pairs))
        note(found, 'random', seed.drive(RandomAgent(made.spec, number), pairs, 5))
        note(found, 'expert', seed.drive(ExpertAgent(), pairs))


def with_history(seed: Seed, dataset: TransitionDataset, history: int) -> Checkpoint:
    """Train the recipe with a history of so many images."""
    model = replace(seed.config.model, history=history)
    seed = seed._replace(config=replace(seed.config, model=model))
    return seed.trained(dataset, model.kind, f'history_{history}')


def rows(name: str, found: Found, errors: Errors) -> Iterator[Row]:
    """Yield the success and the forward error with a history, beside those of single images."""
    last = f'history {HISTORIES[-1]}'
    yield row(f'history.{name}.success', found, last, 'history 1')._replace(peer='one image')
    one, more = (float(np.mean(errors[history])) for history in HISTORIES)
    ratio = one / more if more else None
    of = 'of the copy baseline'
    yield Row(f'history.{name}.forward', more, of, peer='one image', peer_value=one, ratio=ratio)
    yield row(f'history.{name}.expert', found, 'expert', 'random')


if __name__ == '__main__':
    main(measure, __doc__, arena=('', 'one arena alone: two_room_differential, reacher_torque'))
