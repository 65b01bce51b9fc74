# SPDX-License-Identifier: Apache-2.0
"""
Measure what roadmap, time to go and proposals add to the planner in two rooms.

Far goals are of two kinds: start and goal drawn in different rooms with 10 s to get there, and two
frames of one episode at increasing distances. For near goals, a search with few samples that
starts from proposals stands beside the same search without proposals, and beside the search of the
recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from common import main, Row
import numpy as np
from parts.success import Found, note, prepare, prepared, QUICK, record, row, Seed, workplace
from smwm_ros.evaluation.agents import ExpertAgent, RandomAgent
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.model.checkpoint import Checkpoint
import torch

BUDGET = 100  # raw steps to reach the other room; the expert mostly needs 25
OFFSETS = (25, 50, 75, 100)  # raw steps between two frames of an episode; the budget is twice that
FEW = {'samples': 16, 'iterations': 1, 'elites': 4}


def measure(quick: bool) -> Iterator[Row]:
    """Train, prepare and evaluate with every seed."""
    torch.set_num_threads(1)
    found: Found = {}
    knobs = [*QUICK, 'prepare.steps=60'] if quick else []
    with workplace('two_room', quick) as folder:  # its models are the same
        for number in (0,) if quick else (0, 1, 2):
            with prepared('two_room', folder / str(number), number, knobs) as seed:
                ours = prepare(seed, record('two_room', folder, quick, seed=number))
                go_far(seed, ours, found)
                go_on(seed, ours, found, OFFSETS[:1] if quick else OFFSETS)
                go_near(seed, ours, found)
    yield from rows(found)


def go_far(seed: Seed, ours: Checkpoint, found: Found) -> None:
    """Evaluate on goals in the other room."""
    pairs = draw_across(seed)
    kinds: dict[str, dict[str, Any]] = {
        'across': {'kind': 'roadmap'},
        'across cem': {},
        'across time': {'cost': 'time'},
        'across time novel': {'cost': 'time', 'novel_weight': 1.0},
        'across retrieval': {'retrieval': True},
        'across both': {'cost': 'time', 'retrieval': True},
        'across all': {'cost': 'time', 'novel_weight': 1.0, 'retrieval': True},
        'across cem last': {'cost': 'last'},
        'across amortised': {'kind': 'roadmap', 'subplanner': 'amortised'},
    }
    for name, knobs in kinds.items():
        note(found, name, seed.plan(ours, pairs, replace(ours.planner, **knobs)))
    note(found, 'across random', seed.drive(RandomAgent(ours.spec, seed.config.train.seed), pairs))
    note(found, 'across expert', seed.drive(ExpertAgent(), pairs))


def draw_across(seed: Seed) -> list[Pair]:
    """Draw pairs of start and goal in different rooms."""
    rng = np.random.default_rng(seed.config.evaluate.seed)
    pairs: list[Pair] = []
    while len(pairs) < seed.config.evaluate.pairs:
        start, goal = (seed.arenas[0].sample(rng) for _ in range(2))
        if start[0] * goal[0] < 0:  # the wall is at x = 0
            number = len(pairs)
            pairs.append(Pair(start, goal, number, number + BUDGET // 2, number))
    return pairs


def go_on(seed: Seed, ours: Checkpoint, found: Found, offsets: Sequence[int]) -> None:
    """Evaluate on goals from the same episode, near and far."""
    for offset in offsets:
        pairs = seed.pairs(offset)
        road = replace(ours.planner, kind='roadmap')
        note(found, f'offset {offset}', seed.plan(ours, pairs, road))
        note(found, f'offset {offset} cem', seed.plan(ours, pairs))


def go_near(seed: Seed, ours: Checkpoint, found: Found) -> None:
    """Evaluate proposals on near goals."""
    pairs, cold = seed.pairs(), {**FEW, 'warm_start': False}
    kinds: dict[str, dict[str, Any]] = {
        'amortised': {'kind': 'amortised'},
        'few': FEW,
        'few proposed': {**FEW, 'proposals': True},
        'cold': cold,
        'cold proposed': {**cold, 'proposals': True},
    }
    for name, knobs in kinds.items():
        note(found, name, seed.plan(ours, pairs, replace(ours.planner, **knobs)))


def rows(found: Found) -> Iterator[Row]:
    """Return the success of each method, beside that of its peer."""
    for measure_name, key, peer, about in (
        ('across', 'across', 'across cem', 'CEM alone'),
        ('across_time', 'across time', 'across cem', 'CEM alone'),
        ('across_time_novel', 'across time novel', 'across time', 'the time alone'),
        ('across_retrieval', 'across retrieval', 'across cem', 'CEM alone'),
        ('across_both', 'across both', 'across cem', 'CEM alone'),
        ('across_all', 'across all', 'across both', 'both alone'),
        ('across_last', 'across', 'across cem last', 'CEM alone, cost of the last step'),
        ('across_amortised', 'across amortised', 'across cem', 'CEM alone'),
        ('across_expert', 'across expert', 'across random', 'random policy'),
        *((f'offset_{n}', f'offset {n}', f'offset {n} cem', 'CEM alone') for n in OFFSETS),
        ('amortised', 'amortised', 'offset 25 cem', 'CEM of the recipe'),
        ('few_proposed', 'few proposed', 'offset 25 cem', 'CEM of the recipe'),
        ('few', 'few', 'offset 25 cem', 'CEM of the recipe'),
        ('cold_proposed', 'cold proposed', 'cold', 'the same without proposals'),
    ):
        if key in found:
            yield row(f'roadmap.{measure_name}', found, key, peer)._replace(peer=about)


if __name__ == '__main__':
    main(measure, __doc__)
