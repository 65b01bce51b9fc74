# SPDX-License-Identifier: Apache-2.0
"""
Measure the closed-loop success of a gripper with a cube.

The rows also cover the policy of `smwm prepare`, as proposals of a search and alone; other kinds
of model; the planner of the paper; a random policy and the scripted expert. All try the same
pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from common import main, Row
from parts.success import Found, measure, note, prepare, row, Seed, unsolved
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.model.checkpoint import Checkpoint

HELPED: dict[str, dict[str, Any]] = {
    'proposals': {'proposals': True},
    'amortised': {'kind': 'amortised'},
}


def everything(quick: bool) -> Iterator[Row]:
    """Yield the rows of all arenas, then those of this one."""
    collected: Found = {}

    def more(seed: Seed, dataset: TransitionDataset, ours: Checkpoint, found: Found) -> None:
        """Try the planners that use the prepared policy."""
        collected.update(found)
        helped = prepare(seed, dataset)
        for name, knobs in HELPED.items():
            planner = replace(ours.planner, **knobs)
            note(collected, name, seed.plan(helped, seed.pairs(), planner))

    yield from measure('cube', quick, more=more)
    yield from rows(collected)


def rows(found: Found) -> Iterator[Row]:
    """Return the success with the policy, beside that of the recipe's search."""
    for name in HELPED:
        yield row(f'cube.success_{name}', found, name, 'ours')
        yield row(f'cube.success_{name}_without_solved', unsolved(found), name, 'ours')


if __name__ == '__main__':
    main(everything, __doc__)
