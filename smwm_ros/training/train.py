# SPDX-License-Identifier: Apache-2.0
"""
Training: one loop, from a dataset to a checkpoint.

The batch of a step depends on the seed and the step alone, so a run that was killed goes on from
its last saved state and ends with the weights it would have had anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.stored import section
from smwm_ros.errors import DatasetError, TrainingError
from smwm_ros.interfaces import Window
from smwm_ros.lock import hold
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import pick_device, seeded
from smwm_ros.model.distributed import is_leader, ProcessGroup, team_of
from smwm_ros.model.goal_fields import columns_of
from smwm_ros.model.world_model import make_model, Smwm
from smwm_ros.progress import show_progress
from smwm_ros.training.batches import Batches, check, Shuffle, state_statistics
from smwm_ros.training.feed import open_feed
from smwm_ros.training.latent_scale import measure_distances
from smwm_ros.training.learner import Learner, memory_in_words
from smwm_ros.training.metrics import collapse
from smwm_ros.training.run_folder import Progress, Run
from smwm_ros.training.tensorboard import TensorBoardLog
from smwm_ros.training.threads import threads
import torch
from torch import Tensor

HELD_OUT = 512  # windows looked at between two stretches of training
PATIENCE = 10  # steps after which a GPU is asked whether all went well


def train(
    dataset: TransitionDataset,
    folder: str | Path,
    model_config: config.Model,
    settings: config.Train,
    planner: config.Planner,
    fresh: bool = False,
) -> Checkpoint:
    """Train in a run folder; go on where an earlier run was stopped, keep one that is done."""
    how = asdict(settings)
    del how['threads']  # which are those of a machine, and may differ when a run goes on
    identity = {'model': asdict(model_config), 'train': how, 'dataset': dataset.fingerprint}
    run = Run(Path(folder), identity)
    device = pick_device(settings.device)
    # The leader writes, so it holds the folder; before the others are heard, who would wait.
    with hold(run.folder) if is_leader() else nullcontext(), team_of(device) as team:
        if fresh and team.leads:
            run.clear()
        team.require_same(identity, f'{folder}: what is trained')
        if (run.folder / checkpoints.META).is_file():
            return _kept(run, planner, dataset, team)
        with memory_in_words(settings, dataset.info.image_size, device):
            _train(run, dataset, model_config, settings, planner, device, team)
        team.require_same(True, 'the end')  # by now the leader has written it
    with seeded(settings.seed):
        return checkpoints.load(run.folder)


def _train(
    run: Run,
    dataset: TransitionDataset,
    model_config: config.Model,
    settings: config.Train,
    planner: config.Planner,
    device: torch.device,
    team: ProcessGroup,
) -> None:
    """Train from the first step, or from where an earlier run was stopped, to the last."""
    steps = _window(model_config, settings)
    check(dataset, steps, model_config.aligns_state, warn=team.leads)
    robot, recipe = _origin(dataset)
    columns_of(planner.focus, model_config, robot)  # or it could not plan, an hour later
    batches = Batches(dataset, *dataset.action_statistics(), device, steps)
    model = _model(dataset, model_config, settings.seed).to(device)
    model.team = team
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

    curves = _loop(run, batches, model, settings, checkpoint)
    if team.leads:
        model.cpu().eval().requires_grad_(False)
        checkpoints.save(run.folder, checkpoint(curves[-1]))
        run.forget_state()


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
        robot = section(config.Robot, dataset.index['robot'], 'robot')
        return robot, section(config.Dataset, dataset.index['dataset'], 'dataset')
    except ValueError as error:
        raise DatasetError(
            f'{dataset.folder}: made by another version of smwm_ros ({error}); convert it again'
        ) from None


def _loop(
    run: Run,
    batches: Batches,
    model: Smwm,
    settings: config.Train,
    checkpoint: Callable[[dict[str, float]], Checkpoint],
) -> list[dict[str, float]]:
    """Take the steps that remain; return what each look at the held-out episodes found."""
    learner, team = Learner(model, settings, batches.device), model.team
    first, curves = run.resume(model, learner.optimiser)
    team.require_same(first, f'{run.folder}: which must be one folder for all')
    deal = Shuffle(batches.starts('train'), settings.batch, settings.seed)
    look = _held_out(batches) if team.leads else None
    remaining = range(first + 1, settings.steps + 1)
    every = 1 if batches.device.type == 'cpu' else PATIENCE
    stretch: list[dict[str, Tensor]] = []  # loss terms of the steps since the last look
    began, warned = time.monotonic(), False
    with (
        open_feed('auto', batches, deal, team.share(settings.batch), remaining) as feed,
        show_progress(
            total=settings.steps, initial=first, desc='train', unit='step', disable=not team.leads
        ) as bar,
        threads(settings.threads, partial(_say, bar, team)) as workers,
        TensorBoardLog(run.scalars, first, team.leads) as tb_log,
    ):
        for step in remaining:
            stretch.append(learner.step(step, feed(step)))
            looks = step % settings.eval_every == 0 or step == settings.steps
            if looks or step % every == 0:
                _require_finite(stretch[-every:], step, run, batches, settings)
            bar.update()
            workers.step()
            if look is None or not looks:
                stretch = [] if looks else stretch
                continue
            row = {'step': step, **_means(stretch, model)}
            row |= learner.look(look, settled=step == settings.steps)
            row |= _pace(curves, len(stretch) * settings.batch, time.monotonic() - began)
            curves.append(row)
            bar.set_postfix_str(_in_brief(row, list(stretch[0])), refresh=False)
            tb_log.write(row)
            warning = collapse(row) if step > settings.steps // 4 else None
            if warning and not warned:
                _say(bar, team, f'warning: step {step}: {warning}')
                warned = True
            if row is best(curves):
                checkpoints.save(run.best, checkpoint(row))
            run.save_state(model, learner.optimiser, Progress(step, curves))
            stretch, began = [], time.monotonic()
    return curves


def _say(bar: Any, team: ProcessGroup, text: str) -> None:
    """Write a line above the progress."""
    if team.leads:
        bar.write(text, file=sys.stderr)


def _held_out(batches: Batches) -> Window:
    """Return windows of held-out episodes, spread over all of them."""
    val = batches.starts('val')
    return batches.at(val[np.linspace(0, len(val) - 1, min(HELD_OUT, len(val))).astype(np.int64)])


def _require_finite(
    latest: list[dict[str, Tensor]],
    step: int,
    run: Run,
    batches: Batches,
    settings: config.Train,
) -> None:
    """Stop where a loss of the latest steps, up to this one, is no number; keep its batch."""
    losses = [torch.stack(list(terms.values())).sum() for terms in latest]
    finite = torch.stack(losses).isfinite().tolist()
    if all(finite):
        return
    number = finite.index(False)
    first = step - len(latest) + 1 + number
    terms = {name: float(term) for name, term in latest[number].items()}
    rows = Shuffle(batches.starts('train'), settings.batch, settings.seed)(first - 1)
    raise TrainingError(
        f'step {first}: the loss is not finite ({_terms(terms)}); try a smaller train.lr or '
        f'train.clip; the batch is in {run.save_batch(rows, batches.at(rows))}'
    )


def best(curves: list[dict[str, float]]) -> dict[str, float]:
    """Return the row of the model that would do best when deployed."""
    return min(curves, key=lambda row: row['misfit'])


def _means(stretch: list[dict[str, Tensor]], model: Smwm) -> dict[str, float]:
    """Return the mean of each term over some steps, lambda, and how much h read of it all."""
    means = {
        name: float(torch.stack([terms[name] for terms in stretch]).double().mean())
        for name in stretch[0]
    }
    means['inverse_weight'] = model.inverse_weight
    weight = model.inverse_weight if model.config.inverts else 1.0
    if weight:  # the actions are normalised, so their variance is 1
        means['train_inverse_r2'] = 1 - means['inverse'] / weight
    return means


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


def _kept(
    run: Run, planner: config.Planner, dataset: TransitionDataset, team: ProcessGroup
) -> Checkpoint:
    """Return a finished run; another planner or a measurement needs no new training."""
    run.require_same(checkpoints.read_meta(run.folder)['info'])
    checkpoint = checkpoints.load(run.folder)
    info = checkpoint.info
    if 'distances' not in info:
        info = {**info, 'distances': measure_distances(checkpoint.model, dataset)}
    if checkpoint.planner != planner or info is not checkpoint.info:
        checkpoint = checkpoint._replace(planner=planner, info=info)
        if team.leads:
            checkpoints.save(run.folder, checkpoint)
    return checkpoint
