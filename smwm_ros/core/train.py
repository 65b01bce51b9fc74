# SPDX-License-Identifier: Apache-2.0
"""
Training: one loop, from a dataset to a checkpoint.

The batch of a step depends on the seed and the step alone, so a run that was killed goes on from
its last saved state and ends with the weights it would have had anyway.
"""

from __future__ import annotations

from dataclasses import asdict
import math
from pathlib import Path
import sys
import time

import numpy as np
from smwm_ros import config
from smwm_ros.core import checkpoint as checkpoints
from smwm_ros.core.batches import Batches, check, Shuffle
from smwm_ros.core.checkpoint import Checkpoint
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.interfaces import Window
from smwm_ros.core.metrics import collapse, held_out
from smwm_ros.core.model import make_model, Smwm
from smwm_ros.core.run import Progress, Run
from smwm_ros.errors import DatasetError, TrainingError
import torch
from torch.optim import AdamW
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
        return _kept(run, planner)
    check(dataset, settings.unroll)
    robot, recipe = _origin(dataset)
    device = pick_device(settings.device)
    batches = Batches(dataset, *dataset.action_statistics(), device, settings.unroll)
    info = dataset.info
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = make_model(model_config, info.image_size, info.spec.size * info.action_block)
    model.to(device)
    summary = _loop(run, batches, model, settings)
    warning = collapse(summary)
    checkpoint = Checkpoint(
        model.cpu().eval().requires_grad_(False),
        robot,
        recipe,
        model_config,
        planner,
        batches.mean,
        batches.std,
        {**run.identity, 'summary': summary, 'warnings': [warning] if warning else []},
    )
    checkpoints.save(run.folder, checkpoint)
    run.forget_state()
    return checkpoint


def _origin(dataset: TransitionDataset) -> tuple[config.Robot, config.Dataset]:
    """Return what the dataset was made with, before any time is spent on training."""
    try:
        robot = checkpoints.section(config.Robot, dataset.info.robot)
        return robot, checkpoints.section(config.Dataset, dataset.info.dataset)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f'{dataset.folder}: made by another version of smwm_ros ({error}); convert it again'
        ) from None


def _loop(run: Run, batches: Batches, model: Smwm, settings: config.Train) -> dict[str, float]:
    """Take the steps that remain; return what the last look at the held-out episodes found."""
    optimiser = AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    first, curves = run.resume(model, optimiser)
    deal = Shuffle(batches.starts('train'), settings.batch, settings.seed)
    val = batches.starts('val')
    look = batches.at(val[np.linspace(0, len(val) - 1, min(HELD_OUT, len(val))).astype(np.int64)])
    stretch: list[dict[str, float]] = []  # loss terms of the steps since the last look
    began, warned = time.monotonic(), False
    model.train()
    with tqdm(total=settings.steps, initial=first, desc='train', unit='step') as bar:
        for step in range(first + 1, settings.steps + 1):
            rows = deal(step - 1)
            batch = batches.at(rows)
            rate = learning_rate(step - 1, settings)
            stretch.append(_update(model, optimiser, batch, rate, settings.clip))
            if not math.isfinite(sum(stretch[-1].values())):
                raise TrainingError(
                    f'step {step}: the loss is not finite ({_terms(stretch[-1])}); try a smaller '
                    f'train.lr or train.clip; the batch is in {run.save_batch(rows, batch)}'
                )
            bar.update()
            if step % settings.eval_every and step < settings.steps:
                continue
            row: dict[str, float] = {'step': step}
            row |= {name: float(np.mean([t[name] for t in stretch])) for name in stretch[0]}
            row |= held_out(model, look, settled=step == settings.steps)
            row['samples_per_s'] = len(stretch) * settings.batch / (time.monotonic() - began)
            curves.append(row)
            bar.set_postfix_str(_in_brief(row), refresh=False)
            warning = collapse(row) if step > settings.steps // 4 else None
            if warning and not warned:
                bar.write(f'warning: step {step}: {warning}', file=sys.stderr)
                warned = True
            run.save_state(model, optimiser, Progress(step, curves))
            stretch, began = [], time.monotonic()
    return curves[-1]


def _update(
    model: Smwm, optimiser: AdamW, batch: Window, rate: float, clip: float
) -> dict[str, float]:
    """Take one step down the gradient; return the terms of the loss before it."""
    terms = model.losses(batch)
    optimiser.zero_grad()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for group in optimiser.param_groups:
        group['lr'] = rate
    optimiser.step()
    return {name: term.item() for name, term in terms.items()}


def learning_rate(step: int, settings: config.Train) -> float:
    """Rise linearly, then fall to zero along a cosine; stepped with every optimiser step."""
    rise = round(settings.warmup * settings.steps)
    if step < rise:
        return settings.lr * (step + 1) / rise
    done = (step - rise) / max(settings.steps - rise, 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))


def pick_device(name: str) -> torch.device:
    """Return where to train; 'auto' takes a GPU where there is one."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise TrainingError('train.device: no CUDA GPU was found; valid here: auto, cpu')
    return torch.device(name)


def _terms(terms: dict[str, float]) -> str:
    """Say the terms of a loss."""
    return ', '.join(f'{name} {value:.3g}' for name, value in terms.items())


def _in_brief(row: dict[str, float]) -> str:
    """Say one row of the curves in the width of a progress bar."""
    return (
        f'forward {row["forward"]:.3g}, inverse {row["inverse"]:.3g}, '
        f'R2 {row["inverse_r2"]:.2f}, rank {row["effective_rank"]:.1f}, '
        f'{row["samples_per_s"]:.0f} samples/s'
    )


def _kept(run: Run, planner: config.Planner) -> Checkpoint:
    """Return a finished run; another planner needs no new training."""
    run.require_same(checkpoints.read_meta(run.folder)['info'])
    checkpoint = checkpoints.load(run.folder)
    if checkpoint.planner != planner:
        checkpoint = checkpoint._replace(planner=planner)
        checkpoints.save(run.folder, checkpoint)
    return checkpoint
