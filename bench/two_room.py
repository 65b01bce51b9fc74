# SPDX-License-Identifier: Apache-2.0
"""
Measure the closed-loop success in two rooms after about a minute of training.

The rows also cover: how well a probe reads the robot's position from the latents (and their
collapse without the inverse loss), half of the training, less data, goals further away, goals in
the other room, delayed actions with compensation and without, other kinds of model, the planner of
the paper, a random policy and the scripted expert. Evaluation is timed one pair at a time and
several at once, in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
import time

from common import interleaved, main, paired_ratio, Row
import numpy as np
from parts import inertia
from parts.success import Found, measure, note, record, row, Seed
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import PlannerAgent, RandomAgent
from smwm_ros.evaluation.closed_loop import run_pairs
from smwm_ros.evaluation.examine import examine, significant
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning.pilot import Pilot
from smwm_ros.progress import show_progress
import torch

EPISODES = {10: 1000, 20: 2000, 50: 5000}  # of 100 raw steps: raw steps in all
OFFSETS = (50, 75, 100)
PROBE_FRAMES = 4000  # training frames that the probe is fitted on
MINUTE = 1500  # training steps, less than a minute on one core
LATE = (2, 4)  # raw steps, of 100 ms, from an image to the action planned from it


def everything(quick: bool, only: str) -> Iterator[Row]:
    """Yield the rows of all arenas, those of this one, then those of a robot with inertia."""
    if only != 'inertia':
        yield from stopping_at_once(quick)
    yield from inertia.measure(quick)


def stopping_at_once(quick: bool) -> Iterator[Row]:
    """Yield the rows of the robot without inertia."""
    collected: Found = {}
    speed: dict[str, list[float]] = {}
    latent: dict[str, list[float]] = {}
    seconds: list[float] = []

    def more(seed: Seed, dataset: TransitionDataset, ours: Checkpoint, found: Found) -> None:
        """Try the methods that only this arena has."""
        collected.update(found)
        pairs = seed.pairs()
        brief = seed.timed(dataset, 'minute', seconds, MINUTE)
        note(collected, 'minute', seed.plan(brief, pairs))
        collapsed = seed.trained(dataset, 'forward_only', 'forward_only')
        for name, one in (('', ours), ('minute_', brief), ('forward_only_', collapsed)):
            append_latent_measures(one, dataset, name, latent)
        note(collected, 'late', seed.plan(ours, pairs, delay=1))
        for ticks in LATE:
            for how in ('sent', 'nothing'):
                late = seed.plan(ours, pairs, delay=ticks, compensate=how)
                note(collected, f'late {ticks} {how}', late)
        tried = zip(pairs, found['ours'][-1], strict=True)
        across = [one for pair, one in tried if pair.start_state[0] * pair.goal_state[0] < 0]
        note(collected, 'across', across)
        for offset in OFFSETS[:1] if quick else OFFSETS:
            far = seed.pairs(offset)
            note(collected, f'offset {offset}', seed.plan(ours, far))
            chance = RandomAgent(ours.spec, seed.config.evaluate.seed)
            note(collected, f'offset {offset} random', seed.drive(chance, far))
        for episodes in () if quick else EPISODES:
            number = seed.config.evaluate.seed
            few = record('two_room', seed.folder.parent, quick, episodes, number)
            less = seed.trained(few, ours.model_config.kind, f'from {episodes}')
            note(collected, f'from {episodes}', seed.plan(less, pairs))
        if not speed:
            speed.update(one_or_several(seed, ours))

    yield from measure('two_room', quick, more=more)
    for name, values in latent.items():
        unit = 'R2' if name.endswith('r2') else ''
        yield Row(f'two_room.{name}', float(np.mean(values)), unit)
    yield row('two_room.success_minute', collected, 'minute', 'ours')
    if seconds:
        yield Row('two_room.minute_train_cpu', float(np.mean(seconds)), 's of one core')
    yield row('two_room.success_across', collected, 'across', 'ours')
    yield row('two_room.success_one_tick_late', collected, 'late', 'ours')
    for ticks in LATE:
        name = f'two_room.success_{100 * ticks}_ms_late'
        yield row(name, collected, f'late {ticks} sent', 'ours')
        yield row(f'{name}_uncompensated', collected, f'late {ticks} nothing', 'ours')
    for episodes, steps in EPISODES.items():
        if f'from {episodes}' in collected:
            yield row(f'two_room.success_from_{steps}', collected, f'from {episodes}', 'ours')
    for offset in OFFSETS:
        if f'offset {offset}' in collected:
            name = f'two_room.success_offset_{offset}'
            yield row(name, collected, f'offset {offset}', f'offset {offset} random')
    yield Row(
        'two_room.evaluation',
        float(np.median(speed['several'])),
        's',
        peer='one pair after the other',
        peer_value=float(np.median(speed['one'])),
        ratio=paired_ratio(speed['one'], speed['several']),
    )


def append_latent_measures(
    checkpoint: Checkpoint, dataset: TransitionDataset, name: str, latent: dict[str, list[float]]
) -> None:
    """Append the measures of the latents: probes of the state, rank, standard deviation."""
    found = examine(checkpoint, dataset, PROBE_FRAMES, torch.device('cpu'), show_progress)
    for key, value in (
        ('probe_r2', min(r2 for r2, _ in found.probes.values())),
        ('significant', significant(found.spectrum, found.measures['latent_std'])),
        ('effective_rank', found.measures['effective_rank']),
        ('latent_std', found.measures['latent_std']),
    ):
        latent.setdefault(name + key, []).append(value)


def one_or_several(seed: Seed, checkpoint: Checkpoint) -> dict[str, list[float]]:
    """Time the evaluation of the same pairs, one at a time and several at once."""
    pairs = seed.pairs()[:24]

    def timed(lanes: int) -> float:
        agent = PlannerAgent(Pilot(checkpoint), 1, 0)
        begun = time.process_time()
        run_pairs(seed.arenas[:lanes], pairs, agent, seed.config.evaluate.budget, '')
        return time.process_time() - begun

    parts = {'one': lambda: timed(1), 'several': lambda: timed(len(seed.arenas))}
    return interleaved(parts, 3)


if __name__ == '__main__':
    main(everything, __doc__, only=('', "'inertia' for the robot with inertia alone"))
