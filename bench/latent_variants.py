# SPDX-License-Identifier: Apache-2.0
"""
Compare encoders and bottlenecks of latent-action models in the world of two dots.

Encoders that are frozen, or trained end to end, learn from the same 50 labels. Bottlenecks of five
strengths each show how capacity relates to prediction and to planning, as in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
import sys

from common import main, Row
from parts.acceptance_tests import acceptance_tests
from parts.dot_bench import Bench, rows, SMWM
from parts.dot_world import reached
from smwm_ros.errors import TrainingError
from smwm_ros.evaluation.latent_sweep import models

SMALLER, FEWER = 16, 600  # hidden channels and steps of the models of the sweep
TESTS = ('error', 'transfer', 'probe', 'controlled', 'decoder')


def measure(quick: bool, only: str) -> Iterator[Row]:
    """Yield all rows."""
    yield from rows('latent_variants', PARTS, quick, only)


def encoders(bench: Bench) -> None:
    """Train with each encoder of images, and plan by way of the controller."""
    whole, data = bench.data(None), bench.data(50)
    smwm = bench.trained('smwm', whole, SMWM)
    for encoder in ('patch_pca', 'smwm', 'end_to_end'):
        file = str(smwm.folder) if encoder == 'smwm' else ''
        run = bench.latent(f'encoder_{encoder}', data, encoder=encoder, encoder_file=file)
        found = acceptance_tests(run, whole)
        for test in TESTS:
            bench.note(f'{encoder}_{test}', found[test])
        bench.note(f'{encoder}_success', reached(run, bench.seed)[0])


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


PARTS = {'encoders': encoders, 'sweep': sweep}

if __name__ == '__main__':
    main(measure, __doc__, only=('', f'one part: {", ".join(PARTS)}'))
