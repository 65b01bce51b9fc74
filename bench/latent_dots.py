# SPDX-License-Identifier: Apache-2.0
"""
Measure latent actions in a world of two dots, of which one is commanded and one moves by chance.

Models of seconds of training are judged by the acceptance tests of latent actions. Every figure is
the mean of three seeds, with the interval of Student's t distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import main, Row
from parts.acceptance_tests import acceptance_tests
from parts.dot_bench import Bench, CPU, rows, SLOW, SMWM
from parts.dot_world import reached, record
from parts.looks import between_looks
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.examine import examine
from smwm_ros.labelling.pseudo_actions import label
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint, load
import torch

MODELS: Mapping[str, tuple[int, dict[str, Any]]] = {  # labels, and the bottleneck
    'noisy': (50, {}),
    'sparse': (100, {'bottleneck': 'sparse', 'strength': 1e-3}),
    'pvq': (100, {'bottleneck': 'pvq', 'codes': 16, 'groups': 4}),
    'vq': (0, {'bottleneck': 'vq', 'codes': 64}),
    'rate_from_1e-5': (50, {'nats': 8.0, 'strength': 1e-5}),
    'rate_from_1e-1': (50, {'nats': 8.0, 'strength': 1e-1}),
}


def measure(quick: bool, only: str) -> Iterator[Row]:
    """Yield all rows."""
    yield from rows('latent_dots', PARTS, quick, only)


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
    for space in ('actions', 'gaussian', 'flow'):
        planner = replace(SLOW, space=space)
        bench.note(f'planned_in_{space}', reached(latent, bench.seed, planner)[0])
    unfitted, planner = _unfitted(bench.folder / 'noisy'), replace(SLOW, space='gaussian')
    bench.note('planned_in_unfitted', reached(unfitted, bench.seed, planner)[0])
    copy = record(bench.folder / 'labelled', bench.seed, 50)
    label(copy, bench.folder / 'noisy', float('-inf'))
    run = bench.trained('propagated', TransitionDataset.open(copy.folder), SMWM)
    bench.note('propagated', reached(run, bench.seed)[0])


def _unfitted(run: Path) -> Checkpoint:
    """Load a latent-action model whose Gaussian is N(0, I), so that noise is the latent action."""
    latent = load(run)
    model = latent.model
    assert isinstance(model, LatentActionModel)
    model.gaussian.mean.zero_()
    model.gaussian.root.copy_(torch.eye(len(model.gaussian.root)))
    return latent


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


PARTS = {
    'world_models': world_models,
    'bottlenecks': bottlenecks,
    'propagation': propagation,
    'turned': turned,
    'looks': looks,
}

if __name__ == '__main__':
    main(measure, __doc__, only=('', f'one part: {", ".join(PARTS)}'))
