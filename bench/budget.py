# SPDX-License-Identifier: Apache-2.0
"""
Measure the success of each kind of planner by how many rollouts it makes for a plan.

One model of two rooms, trained by the recipe, plans for the pairs of three seeds. All planners use
the recipe's horizon and cost and plan at every raw step; they differ in the search alone. The
peer, the search of the paper, draws 300 samples in each of 30 iterations and starts every plan
cold. The others start from the last plan, except `icem_cold`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from common import main, Row
from parts.paper import PEER, SEARCH
from parts.success import Found, note, prepared, QUICK, record, row, workplace
from smwm_ros.config import Planner
from smwm_ros.model.checkpoint import Checkpoint
import torch

PAPER = {**SEARCH, 'warm_start': False}
SMALL = {'samples': 64, 'iterations': 4, 'elites': 8}
KINDS: dict[str, dict[str, Any]] = {
    'recipe': {},
    'icem': {'kind': 'icem', **SMALL},
    'icem_tiny': {'kind': 'icem', 'samples': 32, 'iterations': 3, 'elites': 6},
    'icem_cold': {'kind': 'icem', **SMALL, 'warm_start': False},
    'cem': {'kind': 'cem', **SMALL},
    'mppi': {'kind': 'mppi', **SMALL},
    'sampling': {'kind': 'sampling', **SMALL},
}
SEEDS = (0, 1, 2)


def measure(quick: bool) -> Iterator[Row]:
    """Evaluate every search on the same pairs."""
    torch.set_num_threads(1)
    found: Found = {}
    checkpoint: Checkpoint | None = None
    with workplace('two_room', quick) as folder:  # its models are the same
        dataset = record('two_room', folder, quick)
        for number in SEEDS[:1] if quick else SEEDS:
            knobs = QUICK if quick else []
            with prepared('two_room', folder / str(number), number, knobs) as seed:
                if checkpoint is None:
                    checkpoint = seed.trained(dataset, seed.config.model.kind, 'ours')
                plain = replace(checkpoint.planner, seed=number)
                for name, changes in {PEER: PAPER, **KINDS}.items():
                    settings = replace(plain, **changes)
                    note(found, name, seed.plan(checkpoint, seed.pairs(), settings))
    assert checkpoint is not None
    for name in KINDS:
        yield row(f'budget.success_{name}', found, name, PEER)
    for name in ('recipe', 'icem', 'icem_tiny'):
        ours, theirs = (rollouts(checkpoint.planner, changes) for changes in (KINDS[name], PAPER))
        yield Row(
            f'budget.rollouts_{name}',
            ours,
            'rollouts a plan',
            peer=PEER,
            peer_value=theirs,
            ratio=theirs / ours,
        )


def rollouts(planner: Planner, changes: dict[str, Any]) -> int:
    """Return the number of rollouts for a plan."""
    settings = replace(planner, **changes)
    return settings.samples * settings.iterations


if __name__ == '__main__':
    main(measure, __doc__)
