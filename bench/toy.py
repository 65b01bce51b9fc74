# SPDX-License-Identifier: Apache-2.0
"""
Train the model of the paper's demonstrations on toy worlds, and measure what its latents encode.

Every figure is the mean of three seeds on held-out transitions, with the interval of Student's t
distribution. The peer is the figure that the notebooks of the paper show for one seed, if any,
after a hundred times as many steps on a canvas of 64 px.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from common import main, Row
from parts.over_seeds import over_seeds
from smwm_ros.load import load_config
from smwm_ros.pages.toy import painted
from smwm_ros.progress import show_progress
from smwm_ros.toys.judge import Found
from smwm_ros.toys.study import study
from smwm_ros.toys.worlds import TOYS
import torch

SEEDS = (0, 1, 2)
RANKS = {
    'single': 3.15, 'independent': 4.65, 'coupled': 2.5, 'random': 2.85, 'combined': 6.85,
    'arrow_x': 2.08, 'arrow_xy': 3.47, 'arrow_xyt': 7.72,
}  # fmt: skip
PROBES = {
    'arrow': (0.0, 0.0, 0.0),
    'arrow_x': (1.0, 0.98, 0.19),
    'arrow_xy': (1.0, 1.0, 0.1),
    'arrow_xyt': (1.0, 1.0, 0.98),
}
ERRORS = {'arrow': 2.6, 'arrow_x': 0.16, 'arrow_xy': 0.19, 'arrow_xyt': 0.01}
PEER = 'the paper'


def measure(quick: bool) -> Iterator[Row]:
    """Yield the rows of each world."""
    torch.set_num_threads(1)
    for name in ('single', 'forward_only') if quick else TOYS:
        found = [_study(name, seed) for seed in (SEEDS[:1] if quick else SEEDS)]
        yield from _rows(name, found)


def _study(name: str, seed: int) -> Found:
    """Train and measure with one seed."""
    cfg = load_config('toy', [f'train.seed={seed}', 'train.device=cpu'])
    with TemporaryDirectory() as folder:
        return study(TOYS[name], Path(folder) / 'run', cfg, progress=show_progress)


def _rows(name: str, found: list[Found]) -> Iterator[Row]:
    """Return the rows of one world."""
    toy = TOYS[name]
    if toy.dimensions == 0:
        yield _row(
            f'{name}.latent_std', 'standard deviation', [f.measures['latent_std'] for f in found]
        )
    else:
        unit = f'for {toy.dimensions} controlled'
        yield _row(f'{name}.significant', unit, [float(f.significant) for f in found])
        ranks = [f.measures['effective_rank'] for f in found]
        yield _row(f'{name}.effective_rank', unit, ranks, RANKS.get(name))
        yield _row(f'{name}.actions', 'R2', [f.measures['inverse_r2'] for f in found])
    if name in PROBES:
        for state, theirs in zip(toy.world.states, PROBES[name], strict=True):
            yield _row(f'{name}.probe_{state}', 'R2', [f.probes[state] for f in found], theirs)
            if toy.dimensions:
                kept = [f.kept[state] for f in found]
                yield _row(f'{name}.kept_{state}', 'of the variance', kept)
        error = painted(found[0]).error
        yield _row(f'{name}.decoder', 'of the error of the mean image', [error], ERRORS[name])
    if name == 'random':
        for dot, what in enumerate(('told', 'chance')):
            kept = [f.kept[f'x of dot {dot}'] + f.kept[f'y of dot {dot}'] for f in found]
            yield _row(f'random.kept_{what}', 'of the variance', kept)


def _row(measure: str, unit: str, values: list[float], theirs: float | None = None) -> Row:
    """Return the mean over seeds as a row."""
    peer = PEER if theirs is not None else ''
    return over_seeds(f'toy.{measure}', unit, values, peer, theirs)


if __name__ == '__main__':
    main(measure, __doc__)
