# SPDX-License-Identifier: Apache-2.0
"""
Measure what half an hour of driving in two rooms and a minute of training are good for.

Recorded, converted, trained and evaluated as the verbs do it, by the protocol of the paper: start
and goal are 25 raw steps apart in a held-out episode, 50 raw steps to get there. Beside it stand
the random policy on the same pairs, and the same model trained without its inverse part. All
seeds count; --quick drives and trains less, and says little about success.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
import time

from common import main, Row
import numpy as np
from smwm_ros.arenas import make_arena
from smwm_ros.cli import main as smwm
from smwm_ros.config import Config
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.evaluate import draw_pairs, evaluate, PilotDriver, run_pairs, summarise
from smwm_ros.core.pilot import Pilot
from smwm_ros.core.train import train
from smwm_ros.load import load_config
import torch

QUICK = ['arena.episodes=60', 'train.steps=400', 'evaluate.pairs=20', 'evaluate.repeats=2']


def measure(quick: bool) -> Iterator[Row]:
    """Train and evaluate with every seed."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else 3)
    knobs = QUICK if quick else []
    found = []
    with TemporaryDirectory() as folder:
        dataset = record(Path(folder), knobs)
        for seed in seeds:
            seeded = [f'train.seed={seed}', f'evaluate.seed={seed}', f'planner.seed={seed}']
            config = load_config('two_room', [*knobs, *seeded])
            found.append(one_seed(Path(folder) / str(seed), dataset, config))
    yield Row(
        'two_room.success',
        mean(found, 'planner'),
        'share of the goals',
        peer='random policy',
        peer_value=mean(found, 'random'),
        ratio=mean(found, 'planner') / mean(found, 'random'),
    )
    yield Row('two_room.success_worst_seed', min(row['planner'] for row in found), 'share')
    yield Row(
        'two_room.success_one_tick_late',
        mean(found, 'late'),
        'share of the goals',
        peer='without delay',
        peer_value=mean(found, 'planner'),
        ratio=mean(found, 'late') / mean(found, 'planner'),
    )
    yield Row(
        'two_room.success_forward_only',
        mean(found, 'forward only'),
        'share of the goals',
        peer='random policy',
        peer_value=mean(found, 'random'),
        ratio=mean(found, 'forward only') / mean(found, 'random'),
    )
    yield Row('two_room.train_cpu', mean(found, 'train'), 's of one core')


def record(folder: Path, knobs: list[str]) -> TransitionDataset:
    """Collect and convert; what the verbs tell goes where it does not mix with our rows."""
    bags, data = str(folder / 'bags'), str(folder / 'dataset')
    arena = [knob for knob in knobs if knob.startswith('arena.')]
    with redirect_stdout(sys.stderr):
        for words in (
            ['collect', 'two_room', '--out', bags, *arena],
            ['convert', bags, '--out', data, '--config', 'two_room'],
        ):
            if smwm(words):
                raise RuntimeError(f'smwm {" ".join(words)} failed')
    return TransitionDataset.open(data)


def one_seed(folder: Path, dataset: TransitionDataset, config: Config) -> dict[str, float]:
    """Return the success of everyone, and the processor's seconds of the training."""
    begun = time.process_time()
    checkpoint = train(dataset, folder / 'run', config.model, config.train, config.planner)
    seconds = time.process_time() - begun
    blind_model = load_config(None, ['model.inverse_weight=0']).model
    blind = train(dataset, folder / 'blind', blind_model, config.train, config.planner)
    pairs = draw_pairs(dataset, config.evaluate)
    budget = config.evaluate.budget
    arena = make_arena('two_room', checkpoint.image_size)
    try:
        results = evaluate(checkpoint, arena, pairs, config.planner, config.evaluate)
        late = run_pairs(arena, pairs, PilotDriver(Pilot(checkpoint), 1, 1), budget, 'late')
        forward = run_pairs(arena, pairs, PilotDriver(Pilot(blind), 1, 0), budget, 'forward only')
    finally:
        arena.close()
    return {
        'planner': results['planner']['success'],
        'random': results['random']['success'],
        'late': summarise(late)['success'],
        'forward only': summarise(forward)['success'],
        'train': seconds,
    }


def mean(found: list[dict[str, float]], name: str) -> float:
    """Return the mean over the seeds."""
    return float(np.mean([row[name] for row in found]))


if __name__ == '__main__':
    main(measure, __doc__)
