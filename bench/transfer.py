# SPDX-License-Identifier: Apache-2.0
"""
Measure how models that were trained in PyBullet drive in MuJoCo, without ROS.

Each seed trains on data of its own, with the recipe and without augmentation, and drives the same
pairs everywhere: in PyBullet, in MuJoCo, and in MuJoCo where the camera moved by up to 5 % of its
distance, colours changed by up to 15 % and commands act 100 ms later. Each seed draws this once.
A minute of images of that place then adapts the model. --arena takes push_t and cube, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common import main, Row
from parts.success import (
    Found,
    in_arenas,
    note,
    prepared,
    QUICK,
    record,
    row,
    without_augmentation,
)
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import ExpertAgent, RandomAgent
from smwm_ros.evaluation.fit_to_images import measure_fit, Novelty
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning import frame_bank
from smwm_ros.training.adapt import measure_statistics

ARENAS = ('two_room', 'reacher')
MINUTE = 6  # episodes of 100 raw steps
MUJOCO = ['arena.engine=mujoco']
MOVED = [
    *MUJOCO,
    'randomise.once=true',
    'randomise.camera_eye=[-0.05,0.05]',
    'randomise.camera_target=[-0.02,0.02]',
    'randomise.colour=[-0.15,0.15]',
    'randomise.latency=[1,1]',
]
PLACES = {'': MUJOCO, '_moved': MOVED}  # end of a row: knobs


def measure(quick: bool, arena: str) -> Iterator[Row]:
    """Train and evaluate in every arena, or in one."""
    for name, seeds in in_arenas('transfer', ARENAS, arena, quick):
        found: Found = {}
        for number, folder in seeds:
            try_seed(name, folder, number, quick, found)
        yield from rows(name, found)


def try_seed(name: str, folder: Path, number: int, quick: bool, found: Found) -> None:
    """Train with one seed, and note the outcomes everywhere."""
    few = [*QUICK, 'train.steps=200'] if quick else []  # fewer than that and all images look alike
    dataset = record(name, folder, quick, seed=number)
    with prepared(name, folder / str(number), number, few) as home:
        kind = home.config.model.kind
        models = {
            '': home.trained(dataset, kind, 'ours'),
            '_without': without_augmentation(home).trained(dataset, kind, 'without'),
        }
        pairs = home.pairs()
        for way, model in models.items():
            note(found, f'home{way}', home.plan(model, pairs))
        novelty = novelty_of(models[''], dataset)
        note(found, 'home_random', home.drive(RandomAgent(model.spec, number), pairs, 5))
    for place, knobs in PLACES.items():
        where = folder / str(number) / f'mujoco{place}'
        with prepared(name, where, number, [*few, *knobs, f'arena.seed={number}']) as away:
            for way, model in models.items():
                note(found, f'away{way}{place}', away.plan(model, pairs))
            minute = record(name, where, quick, MINUTE, number, knobs)
            note(found, f'adapted{place}', away.plan(adapted(models[''], minute, novelty), pairs))
            chance = RandomAgent(models[''].spec, number)
            note(found, f'away_random{place}', away.drive(chance, pairs, 5))
            note(found, f'away_expert{place}', away.drive(ExpertAgent(), pairs))


def novelty_of(checkpoint: Checkpoint, home: TransitionDataset) -> Novelty:
    """Make the album of a run, and return what measures the novelty of other images."""
    frame_bank.add(checkpoint, home)
    return Novelty(checkpoint)


def adapted(checkpoint: Checkpoint, minute: TransitionDataset, novelty: Novelty) -> Checkpoint:
    """Adapt a model to recordings as `smwm adapt` does; it stays as it is if that is no better."""
    other = measure_statistics(checkpoint, minute)
    before, after = (measure_fit(one, minute, novelty) for one in (checkpoint, other))
    return checkpoint if novelty.objection(before, after) else other


def rows(arena: str, found: Found) -> Iterator[Row]:
    """Yield the success of each model in each place."""
    yield row(f'transfer.{arena}.home', found, 'home', 'home_random')
    yield row(f'transfer.{arena}.home_without', found, 'home_without', 'home')
    for place in PLACES:
        yield row(f'transfer.{arena}.as_it_is{place}', found, f'away{place}', 'home')
        yield row(f'transfer.{arena}.adapted{place}', found, f'adapted{place}', 'home')
        yield row(f'transfer.{arena}.without{place}', found, f'away_without{place}', 'home')
        yield row(
            f'transfer.{arena}.expert{place}', found, f'away_expert{place}', f'away_random{place}'
        )


if __name__ == '__main__':
    main(measure, __doc__, arena=('', 'one arena alone: two_room, reacher, push_t, cube'))
