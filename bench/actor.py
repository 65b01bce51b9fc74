# SPDX-License-Identifier: Apache-2.0
"""
Measure what an actor adds that is trained with the model.

Each model has the actor of the recipe, or model.actor=steps_left where it has none, and plans in
three ways: by a search (cem), by what the actor does (direct), and by a search around that
(guarded). In each arena, one model is trained from images and actions alone. Where the recipe
reads the measured state, another one is trained by the recipe; in push_t it also drives to goals
farther away. All drive between the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common import main, Row
from parts.success import (
    Found,
    from_images,
    in_arenas,
    note,
    prepared,
    QUICK,
    record,
    row,
    Seed,
    unsolved,
)
from smwm_ros.config import STEPS_LEFT
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import ExpertAgent, RandomAgent

# Of each arena, the models, and how far away further goals are [raw steps].
ARENAS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    'push_t': (('images', 'state'), (50, 100)),
    'cube': (('images', 'state'), ()),
    'reacher': (('images',), ()),
    'reacher_torque': (('images',), ()),
}
PLANNERS = ('cem', 'direct', 'guarded')


def measure(quick: bool, arena: str) -> Iterator[Row]:
    """Train and evaluate in both arenas, or in one."""
    for name, seeds in in_arenas('actor', ARENAS, arena, quick):
        found: Found = {}
        for number, folder in seeds:
            try_seed(name, folder, number, quick, found)
        yield from rows(name, found)


def try_seed(name: str, folder: Path, number: int, quick: bool, found: Found) -> None:
    """Train with one seed, and note what each planner achieves with each model."""
    dataset = record(name, folder, quick, seed=number)
    with prepared(name, folder / str(number), number, QUICK if quick else []) as seed:
        models, offsets = ARENAS[name]
        by_state = 'state' in models  # the recipe
        note_planners('images', from_images(seed) if by_state else seed, dataset, found)
        if by_state:
            note_planners('state', seed, dataset, found, offsets)
        pairs = seed.pairs()
        robot = seed.arenas[0].spec
        note(found, 'random', seed.drive(RandomAgent(robot, number), pairs, 5))
        note(found, 'expert', seed.drive(ExpertAgent(), pairs))


def note_planners(
    name: str, seed: Seed, dataset: TransitionDataset, found: Found, offsets: tuple[int, ...] = ()
) -> None:
    """Train a model with an actor, and note what each planner achieves, and that of the recipe."""
    model = seed.config.model
    if model.actor == 'none':
        model = replace(model, actor=STEPS_LEFT, actor_weight=1.0)
    seed = seed._replace(config=replace(seed.config, model=model))
    made = seed.trained(dataset, model.kind, name)
    # Not every kind reads the measured state.
    planner = made.planner if model.aligns_state else replace(made.planner, focus=())
    for kind in PLANNERS:
        tried = seed.plan(made, seed.pairs(), replace(planner, kind=kind))
        note(found, f'{name} {kind}', tried)
    for offset in offsets:
        note(found, f'{name} {offset}', seed.plan(made, seed.pairs(offset), planner))


def rows(name: str, found: Found) -> Iterator[Row]:
    """Yield the success of each model and planner, beside a search with the same model."""
    moved = unsolved(found)
    models, offsets = ARENAS[name]
    for trained in models:
        for kind in PLANNERS:
            key, peer = f'{trained} {kind}', 'random' if kind == 'cem' else f'{trained} cem'
            yield _named(row(f'actor.{name}.{trained}_{kind}', found, key, peer))
        key, peer = f'{trained} guarded', f'{trained} cem'
        yield _named(row(f'actor.{name}.{trained}_guarded_without_solved', moved, key, peer))
    for offset in offsets:
        far = row(f'actor.{name}.state_{offset}', found, f'state {offset}', 'state cem')
        yield far._replace(peer='25 raw steps away')
    yield row(f'actor.{name}.expert', found, 'expert', 'random')


def _named(one: Row) -> Row:
    return one._replace(peer='cem' if one.peer.endswith(' cem') else one.peer)


if __name__ == '__main__':
    main(measure, __doc__, arena=('', f'one arena alone: {", ".join(ARENAS)}'))
