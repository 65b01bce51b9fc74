# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in the world of two dots: their seeds, settings, datasets and models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
from typing import Any

from common import Row
from parts.dot_world import record
from parts.over_seeds import over_seeds
from parts.success import KEPT
from smwm_ros.config import LatentAction, Model, Planner, Train
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.training.train import train
import torch

SEEDS = (0, 1, 2)
STEPS = 1000
LAM = LatentAction(width=8, nats=12.0, blur=2.0, shift=4)
SMWM = Model(latent=16, inverse_weight=1.0)
PLANNER = Planner(horizon=4, samples=128, iterations=4)
SLOW = replace(PLANNER, samples=64, iterations=3, precision='bf16')  # of latent-action models
CPU = torch.device('cpu')
Figures = dict[str, list[float]]  # of each measure, one of each seed


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


def rows(
    name: str, parts: Mapping[str, Callable[[Bench], None]], quick: bool, only: str = ''
) -> Iterator[Row]:
    """Run the parts of a benchmark with each seed, or one part only; yield the means."""
    torch.set_num_threads(1)
    figures: Figures = {}
    with TemporaryDirectory() as short:
        folder = Path(short) if quick else KEPT / 'latent_dots'
        for seed in SEEDS[:1] if quick else SEEDS:
            work = Bench(folder / str(seed), seed, 30 if quick else STEPS, figures)
            for part, run in parts.items():
                if only in ('', part):
                    run(work)
                    print(f'seed {seed}: {part}', file=sys.stderr, flush=True)
    for measured, values in figures.items():
        yield over_seeds(f'{name}.{measured}', '', values)
