# SPDX-License-Identifier: Apache-2.0
"""
Training: one loop, from a dataset to a checkpoint.

The batch of a step depends on the seed and the step alone, so a run that was killed goes on from
its last saved state and ends with the weights it would have had anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
import math
import os
from pathlib import Path
import sys
import time

import numpy as np
from smwm_ros import config
from smwm_ros.core import checkpoint as checkpoints
from smwm_ros.core.batches import Batches, check, Shuffle, state_statistics
from smwm_ros.core.checkpoint import Checkpoint
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.diary import Diary
from smwm_ros.core.distances import measure_distances
from smwm_ros.core.learner import Learner, memory_in_words, pick_device, seeded
from smwm_ros.core.metrics import collapse
from smwm_ros.core.model import make_model, Smwm
from smwm_ros.core.run import Progress, Run
from smwm_ros.errors import DatasetError, TrainingError
from tqdm import tqdm

HELD_OUT = 512  # windows looked at between two stretches of training


def train(
    dataset: TransitionDataset,
    folder: str | Path,
    model_config: config.Model,
    settings: config.Train,
    planner: config.Planner,
    fresh: bool = False,
) -> Checkpoint:
    """Train in a run folder; go on where an earlier run was stopped, keep one that is done."""
    identity = {
        'model': asdict(model_config),
        'train': asdict(settings),
        'dataset': dataset.fingerprint,
    }
    run = Run(Path(folder), identity)
    if fresh:
        run.clear()
    elif (run.folder / checkpoints.META).is_file():
        return _kept(run, planner, dataset)
    steps = _window(model_config, settings)
    check(dataset, steps, model_config.aligns_state)
    robot, recipe = _origin(dataset)
    device = pick_device(settings.device)
    batches = Batches(dataset, *dataset.action_statistics(), device, steps)
    model = _model(dataset, model_config, settings.seed).to(device)
    where = os.path.relpath(dataset.folder.resolve(), run.folder.resolve())  # they move together

    def checkpoint(summary: dict[str, float]) -> Checkpoint:
        warning = collapse(summary)
        found = {
            'summary': summary,
            'warnings': [warning] if warning else [],
            'data': where,
            'distances': measure_distances(model, dataset),
        }
        parts = (robot, recipe, model_config, planner, batches.mean, batches.std)
        return Checkpoint(model, *parts, {**run.identity, **found})

    with memory_in_words(settings, dataset.info.image_size, device):
        summary = _loop(run, batches, model, settings, checkpoint)
    model.cpu().eval().requires_grad_(False)
    checkpoints.save(run.folder, checkpoint(summary))
    run.forget_state()
    return checkpoint(summary)


def _window(model_config: config.Model, settings: config.Train) -> int:
    """Return the model steps in a window."""
    if model_config.history > 1 and settings.unroll > 1:
        raise TrainingError(
            'train.unroll: a model that remembers (model.history above 1) is trained one step '
            'ahead; choose either'
        )
    return max(model_config.history, settings.unroll)


def _model(dataset: TransitionDataset, model_config: config.Model, seed: int) -> Smwm:
    """Make a model that has learnt nothing yet but the scale of the measured state."""
    info = dataset.info
    with seeded(seed):
        model = make_model(
            model_config, info.image_size, info.spec.size * info.action_block, info.state_size
        )
    if model.state_head:
        model.state_head.fit(*state_statistics(dataset))
    return model


def _origin(dataset: TransitionDataset) -> tuple[config.Robot, config.Dataset]:
    """Return what the dataset was made with, before any time is spent on training."""
    try:
        robot = checkpoints.section(config.Robot, dataset.info.robot)
        return robot, checkpoints.section(config.Dataset, dataset.info.dataset)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f'{dataset.folder}: made by another version of smwm_ros ({error}); convert it again'
        ) from None


def _loop(
    run: Run,
    batches: Batches,
    model: Smwm,
    settings: config.Train,
    checkpoint: Callable[[dict[str, float]], Checkpoint],
) -> dict[str, float]:
    """Take the steps that remain; return what the last look at the held-out episodes found."""
    learner = Learner(model, settings, batches.device)
    first, curves = run.resume(model, learner.optimiser)
    deal = Shuffle(batches.starts('train'), settings.batch, settings.seed)
    val = batches.starts('val')
    look = batches.at(val[np.linspace(0, len(val) - 1, min(HELD_OUT, len(val))).astype(np.int64)])
    stretch: list[dict[str, float]] = []  # loss terms of the steps since the last look
    began, warned = time.monotonic(), False
    with (
        tqdm(total=settings.steps, initial=first, desc='train', unit='step') as bar,
        Diary(run.scalars, first) as diary,
    ):
        for step in range(first + 1, settings.steps + 1):
            rows = deal(step - 1)
            batch = batches.at(rows)
            stretch.append(learner.step(step, batch))
            if not math.isfinite(sum(stretch[-1].values())):
                raise TrainingError(
                    f'step {step}: the loss is not finite ({_terms(stretch[-1])}); try a smaller '
                    f'train.lr or train.clip; the batch is in {run.save_batch(rows, batch)}'
                )
            bar.update()
            if step % settings.eval_every and step < settings.steps:
                continue
            row = {'step': step, **_means(stretch), 'inverse_weight': model.inverse_weight}
            row |= learner.look(look, settled=step == settings.steps)
            row |= _pace(curves, len(stretch) * settings.batch, time.monotonic() - began)
            curves.append(row)
            bar.set_postfix_str(_in_brief(row, list(stretch[0])), refresh=False)
            diary.write(row)
            warning = collapse(row) if step > settings.steps // 4 else None
            if warning and not warned:
                bar.write(f'warning: step {step}: {warning}', file=sys.stderr)
                warned = True
            if row is best(curves):
                checkpoints.save(run.best, checkpoint(row))
            run.save_state(model, learner.optimiser, Progress(step, curves))
            stretch, began = [], time.monotonic()
    return curves[-1]


def best(curves: list[dict[str, float]]) -> dict[str, float]:
    """Return the row of the model that would do best when deployed."""
    return min(curves, key=lambda row: row['misfit'])


def _means(stretch: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each term over some steps."""
    return {name: float(np.mean([terms[name] for terms in stretch])) for name in stretch[0]}


def _pace(curves: list[dict[str, float]], samples: int, seconds: float) -> dict[str, float]:
    """Say how long the run has taken, sittings before this one included, and how fast it is."""
    before = curves[-1]['seconds'] if curves else 0.0
    return {'seconds': before + seconds, 'samples_per_s': samples / seconds}


def _terms(terms: dict[str, float]) -> str:
    """Say the terms of a loss."""
    return ', '.join(f'{name} {value:.3g}' for name, value in terms.items())


def _in_brief(row: dict[str, float], terms: list[str]) -> str:
    """Say one row of the curves in the width of a progress bar."""
    return (
        f'{_terms({name: row[name] for name in terms})}, lambda {row["inverse_weight"]:.3g}, '
        f'R2 {row["inverse_r2"]:.2f}, rank {row["effective_rank"]:.1f}, '
        f'{row["samples_per_s"]:.0f} samples/s'
    )


def _kept(run: Run, planner: config.Planner, dataset: TransitionDataset) -> Checkpoint:
    """Return a finished run; another planner or a measurement needs no new training."""
    run.require_same(checkpoints.read_meta(run.folder)['info'])
    checkpoint = checkpoints.load(run.folder)
    info = checkpoint.info
    if 'distances' not in info:
        info = {**info, 'distances': measure_distances(checkpoint.model, dataset)}
    if checkpoint.planner != planner or info is not checkpoint.info:
        checkpoint = checkpoint._replace(planner=planner, info=info)
        checkpoints.save(run.folder, checkpoint)
    return checkpoint
