# SPDX-License-Identifier: Apache-2.0
"""
Measure latent actions in a world of two dots, of which one is commanded and one moves by chance.

Models of seconds of training are judged by the acceptance tests of latent actions; bottlenecks of
five strengths each show how capacity relates to prediction and to planning, as in the paper.
Every figure is the mean of three seeds, with the interval of Student's t distribution; those of
the sweep are of one seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
from typing import Any

from common import main, Row
from parts.acceptance_tests import acceptance_tests
from parts.dot_world import reached, record
from parts.looks import between_looks
from parts.over_seeds import over_seeds
from parts.success import KEPT
from smwm_ros.config import LatentAction, Model, Planner, Train
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import TrainingError
from smwm_ros.evaluation.examine import examine
from smwm_ros.evaluation.latent_sweep import models
from smwm_ros.labelling.pseudo_actions import label
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.training.train import train
import torch

SEEDS = (0, 1, 2)
SWEPT = (0,)  # seeds of the sweep, which takes longest
STEPS = 1000
SMALLER, FEWER = 16, 600  # hidden channels and steps of the models of the sweep
LAM = LatentAction(width=8, nats=12.0, blur=2.0, shift=4)
SMWM = Model(latent=16, inverse_weight=1.0)
PLANNER = Planner(horizon=4, samples=128, iterations=4)
SLOW = replace(PLANNER, samples=64, iterations=3, precision='bf16')  # of latent-action models
CPU = torch.device('cpu')
MODELS: Mapping[str, tuple[int, dict[str, Any]]] = {  # labels, and the bottleneck
    'noisy': (50, {}),
    'sparse': (100, {'bottleneck': 'sparse', 'strength': 1e-3}),
    'pvq': (100, {'bottleneck': 'pvq', 'codes': 16, 'groups': 4}),
    'vq': (0, {'bottleneck': 'vq', 'codes': 64}),
    'rate_from_1e-5': (50, {'nats': 8.0, 'strength': 1e-5}),
    'rate_from_1e-1': (50, {'nats': 8.0, 'strength': 1e-1}),
}
Figures = dict[str, list[float]]


def measure(quick: bool, only: str) -> Iterator[Row]:
    """Yield all rows."""
    torch.set_num_threads(1)
    figures: Figures = {}
    with TemporaryDirectory() as short:
        folder = Path(short) if quick else KEPT / 'latent_dots'
        for seed in SEEDS[:1] if quick else SEEDS:
            work = Bench(folder / str(seed), seed, 30 if quick else STEPS, figures)
            for name, part in PARTS.items():
                if only in ('', name) and (part is not sweep or seed in SWEPT):
                    part(work)
                    print(f'seed {seed}: {name}', file=sys.stderr, flush=True)
    for name, values in figures.items():
        yield over_seeds(f'latent_dots.{name}', '', values)


class Bench:
    """Makes datasets and models of one seed, and keeps the figures."""

    def __init__(self, folder: Path, seed: int, steps: int, figures: Figures) -> None:
        self.folder, self.seed, self.steps = folder, seed, steps
        self._figures = figures

    def note(self, name: str, value: float) -> None:
        """Keep a figure."""
        self._figures.setdefault(name, []).append(value)

    def data(self, labels: int | None, **how: Any) -> TransitionDataset:
        """Record drives of which so many transitions are labelled; None for all."""
        name = '_'.join(map(str, ('data', labels, *how)))
        return record(self.folder / name, self.seed, labels, **how)

    def trained(self, name: str, data: TransitionDataset, model: Model) -> Checkpoint:
        """Train a model."""
        latent = model.kind == 'latent_action'
        settings = Train(steps=self.steps, batch=64, seed=self.seed, threads=1)
        return train(data, self.folder / name, model, settings, SLOW if latent else PLANNER)

    def latent(self, name: str, data: TransitionDataset, **knobs: Any) -> Checkpoint:
        """Train a latent-action model."""
        lam = replace(LAM, **knobs)
        model = Model(kind='latent_action', latent=16, inverse_weight=1.0, latent_action=lam)
        return self.trained(name, data, model)


def world_models(bench: Bench) -> None:
    """Measure SMWM with and without the inverse loss, and with lambda that adapts."""
    data = bench.data(None)
    for name, model in (
        ('smwm', SMWM),
        ('forward_only', replace(SMWM, kind='forward_only')),
        ('lambda_from_1e-3', replace(SMWM, inverse_weight=1e-3, inverse_target=0.05)),
        ('lambda_from_100', replace(SMWM, inverse_weight=100.0, inverse_target=0.05)),
    ):
        run = bench.trained(name, data, model)
        bench.note(f'{name}_success', reached(run, bench.seed)[0])
        found = examine(run, data, 2000, CPU)
        bench.note(f'{name}_inverse', found.measures['inverse_r2'])
        if name in ('smwm', 'forward_only'):
            bench.note(f'{name}_std', found.measures['latent_std'])
        if name == 'smwm':
            r2 = [linear for linear, _ in found.probes.values()]
            bench.note('smwm_probe', min(r2[:2]))
            bench.note('smwm_probe_other', max(r2[2:]))
            bench.note('smwm_rank', found.measures['effective_rank'])
    bench.note('random_success', reached(None, bench.seed)[0])


def bottlenecks(bench: Bench) -> None:
    """Run the acceptance tests."""
    whole = bench.data(None)
    for name, (labels, knobs) in MODELS.items():
        run = bench.latent(name, bench.data(labels), **knobs)
        if name.startswith('rate'):
            bench.note(name, float(run.info.summary['nats']))
            continue
        for test, figure in acceptance_tests(run, whole).items():
            bench.note(f'{name}_{test}', figure)


def propagation(bench: Bench) -> None:
    """Label all drives by 50 labelled transitions, and train SMWM on the labels."""
    data = bench.data(50)
    only = bench.trained('only', data, SMWM)
    bench.note('labels_only', reached(only, bench.seed)[0])
    latent = bench.latent('noisy', data)
    for name, space in (('actions', 'actions'), ('gaussian', 'gaussian'), ('flow', 'flow')):
        planner = replace(SLOW, space=space)
        bench.note(f'planned_in_{name}', reached(latent, bench.seed, planner)[0])
    bench.note('planned_in_unfitted', reached(*_unfitted(latent, bench.seed))[0])
    copy = record(bench.folder / 'labelled', bench.seed, 50)
    label(copy, bench.folder / 'noisy', float('-inf'))
    run = bench.trained('propagated', TransitionDataset.open(copy.folder), SMWM)
    bench.note('propagated', reached(run, bench.seed)[0])


def _unfitted(latent: Checkpoint, seed: int) -> tuple[Checkpoint, int, Planner]:
    """Plan in noise that is the latent action itself: N(0, I)."""
    model = latent.model
    assert isinstance(model, LatentActionModel)
    model.gaussian.mean.zero_()
    model.gaussian.root.copy_(torch.eye(len(model.gaussian.root)))
    return latent, seed, replace(SLOW, space='gaussian')


def turned(bench: Bench) -> None:
    """Measure what the controller gains from the state where commands turn with the place."""
    run = bench.latent('turned', bench.data(500, turned=True))
    scores = run.info.actions['controller']
    for name, stated in (('with', True), ('without', False)):
        found = [score for key, score in scores.items() if key.endswith('state') == stated]
        bench.note(f'turned_{name}_state', max(found))


def looks(bench: Bench) -> None:
    """Apply the latent actions of one colour scheme in the other."""
    schemes = ('dark', 'light')
    run = bench.latent('looks', bench.data(50, schemes=schemes), channels=12)
    for name, value in between_looks(run, bench.seed).items():
        bench.note(f'looks_{name}', value)


def sweep(bench: Bench) -> None:
    """Train bottlenecks of five strengths; labels serve the controller alone, as in the paper."""
    brief = Bench(bench.folder, bench.seed, min(FEWER, bench.steps), {})
    data = bench.data(100)
    for bottleneck, knobs in models():
        setting = '_'.join(f'{value:g}' for value in knobs.values())
        name = '_'.join(filter(None, ('sweep', bottleneck, setting)))
        try:
            run = brief.latent(
                name, data, hidden=SMALLER, bottleneck=bottleneck, nats=0.0, anchor=0.0, **knobs
            )
        except TrainingError as error:
            print(f'{name}: {error}', file=sys.stderr)
            continue
        bench.note(f'{name}_error', float(run.info.summary['forward_over_copy']))
        bench.note(f'{name}_distance', reached(run, bench.seed, tries=24)[1])


PARTS = {
    'world_models': world_models,
    'bottlenecks': bottlenecks,
    'propagation': propagation,
    'turned': turned,
    'looks': looks,
    'sweep': sweep,
}

if __name__ == '__main__':
    main(measure, __doc__, only=('', f'one part: {", ".join(PARTS)}'))
