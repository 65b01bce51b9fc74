# SPDX-License-Identifier: Apache-2.0
"""The planner of the paper, as the page has it, is the one that evaluations and benches use."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
import re
from typing import Any, NamedTuple

import pytest
from smwm_ros.config import Dataset, Planner
from smwm_ros.evaluation.methods import as_in_the_paper
from smwm_ros.load import load_config, merge, to_dict
from worlds import tiny_checkpoint
import yaml

DOCS = Path(__file__).parents[1] / 'docs'
ARENAS = ('two_room', 'two_room_differential', 'reacher', 'push_t', 'cube')
# What is not asked when the block is followed: parts of other kinds, costs and terms.
UNUSED = {
    'subplanner', 'time_weight', 'focus_weight', 'keep_out_weight', 'keep_out_radius',
    'noise_beta', 'elite_keep', 'temperature', 'guard_std',
}  # fmt: skip
MACHINE = {'device', 'precision', 'seed'}  # no matter of the paper; those of the checkpoint stay


class Plan(NamedTuple):
    """How is planned: all knobs that matter, and how much of a plan is executed."""

    planner: dict[str, Any]
    execute: int


def block() -> dict[str, Any]:
    """Return the YAML of the page."""
    page = (DOCS / 'planning.md').read_text(encoding='utf-8')
    (text,) = re.findall(r'planner of the paper.*?```yaml\n(.*?)```', page, re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def plan(planner: Planner, execute: int) -> Plan:
    """Return what matters."""
    return Plan({k: v for k, v in asdict(planner).items() if k not in UNUSED | MACHINE}, execute)


def expected(planner: Planner) -> Plan:
    """Return how evaluations and benches plan as the paper does."""
    checkpoint = tiny_checkpoint()._replace(dataset=Dataset(action_block=5), planner=planner)
    return plan(*as_in_the_paper(checkpoint))


@pytest.mark.parametrize('arena', ARENAS)
def test_over_the_recipe_of_an_arena_it_is_the_planner_of_the_benches(arena: str) -> None:
    recipe = load_config(arena)
    config = load_config(base=merge(to_dict(recipe), block()))
    assert plan(config.planner, config.evaluate.execute) == expected(recipe.planner)
    assert config.planner.seed == recipe.planner.seed


def test_over_settings_that_are_all_different_too() -> None:
    # Every knob that matters is named: none of these lives on.
    other = replace(
        Planner(), kind='icem', proposals=True, retrieval=True, horizon=3, samples=9,
        iterations=2, elites=3, cost='nearest', focus=('x',), effort_weight=1.0,
        change_weight=1.0, doubt_weight=1.0, novel_weight=1.0, keep_out='places', init_std=2.0,
        smooth=0.5, min_std=0.3, max_rate=(1.0,), refine=2, budget_ms=5.0, warm_start=True,
    )  # fmt: skip
    left = {k for k, v in asdict(other).items() if v == getattr(Planner(), k)}
    # Only latent-action models have another space, without the other settings above.
    assert left - UNUSED - MACHINE == {'warm_start', 'space'}, (
        'a knob that this test does not know'
    )
    assert {field.name for field in fields(Planner)} >= UNUSED | MACHINE
    config = load_config(base=merge({'planner': to_dict(other)}, block()))
    assert plan(config.planner, config.evaluate.execute) == expected(other)
