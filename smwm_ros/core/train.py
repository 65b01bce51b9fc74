# SPDX-License-Identifier: Apache-2.0
"""
Training: one loop, from a dataset to a checkpoint.

The batch of a step depends on the seed and the step alone, so a run that was killed goes on from
its last saved state and ends with the weights it would have had anyway.
"""

from __future__ import annotations

from dataclasses import asdict
import io
import json
import math
from pathlib import Path
import shutil
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.core import checkpoint as checkpoints
from smwm_ros.core.checkpoint import Checkpoint, META, write_atomic
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.interfaces import Array, Obs, Transition
from smwm_ros.core.metrics import collapse, held_out
from smwm_ros.core.model import make_model, Smwm
from smwm_ros.errors import CheckpointError, DatasetError, TrainingError
import torch
from torch import Tensor
from tqdm import tqdm

CURVES, STATE = 'train.csv', 'state'
HELD_OUT = 512  # transitions looked at between two stretches of training


class Batches(NamedTuple):
    """Where batches come from."""

    dataset: TransitionDataset
    mean: Array  # (A,) of the raw actions
    std: Array  # (A,)
    device: torch.device

    def at(self, rows: Array) -> Transition:
        """Return the transitions that start at these rows."""
        sequence = self.dataset.sequence(rows, steps=1)
        pixels = torch.from_numpy(sequence.pixels).to(self.device).permute(0, 1, 4, 2, 3)
        states = torch.from_numpy(sequence.states).to(self.device)
        block = self.dataset.info.action_block
        action = (sequence.actions[:, 0] - np.tile(self.mean, block)) / np.tile(self.std, block)
        return Transition(
            Obs(pixels[:, 0], states[:, 0]),
            torch.from_numpy(action.astype(np.float32)).to(self.device),
            Obs(pixels[:, 1], states[:, 1]),
        )


class Shuffle:
    """Deals the rows in epochs, each in an order of its own."""

    def __init__(self, rows: Array, batch: int, seed: int) -> None:
        self._rows, self._batch, self._seed = rows, batch, seed
        self._orders: dict[int, Array] = {}

    def __call__(self, step: int) -> Array:
        """Return the rows of a step; a batch may reach into the next epoch."""
        place = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(place, len(self._rows))
        self._orders = {int(epoch): self._order(int(epoch)) for epoch in np.unique(epochs)}
        order = [self._orders[int(epoch)][at] for epoch, at in zip(epochs, places, strict=True)]
        rows: Array = self._rows[order]
        return rows

    def _order(self, epoch: int) -> Array:
        if epoch in self._orders:
            return self._orders[epoch]
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))


class Progress(NamedTuple):
    """How far a run has come."""

    step: int
    curves: list[dict[str, float]]  # one row for each look at the held-out episodes


def train(
    dataset: TransitionDataset,
    folder: str | Path,
    model_config: config.Model,
    settings: config.Train,
    planner: config.Planner,
    fresh: bool = False,
) -> Checkpoint:
    """Train in a run folder; go on where an earlier run was stopped, keep one that is done."""
    folder = Path(folder)
    identity = {
        'model': asdict(model_config),
        'train': asdict(settings),
        'dataset': dataset.fingerprint,
    }
    if fresh:
        _clear(folder)
    elif (folder / META).is_file():
        return _kept(folder, identity, planner)
    _check(dataset)
    device = pick_device(settings.device)
    batches = Batches(dataset, *dataset.action_statistics(), device)
    image_size, spec = dataset.info.image_size, dataset.info.spec
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = make_model(model_config, image_size, spec.size * dataset.info.action_block)
    model.to(device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    progress = _resume(folder, identity, model, optimiser)
    progress = _loop(folder, identity, batches, model, optimiser, settings, progress)
    summary = progress.curves[-1]
    warning = collapse(summary)
    info = {**identity, 'summary': summary, 'warnings': [warning] if warning else []}
    checkpoint = Checkpoint(
        model.cpu().eval().requires_grad_(False),
        checkpoints.section(config.Robot, dataset.info.robot),
        checkpoints.section(config.Dataset, dataset.info.dataset),
        model_config,
        planner,
        batches.mean,
        batches.std,
        info,
    )
    checkpoints.save(folder, checkpoint)
    shutil.rmtree(folder / STATE)
    return checkpoint


def _loop(
    folder: Path,
    identity: dict[str, Any],
    batches: Batches,
    model: Smwm,
    optimiser: torch.optim.AdamW,
    settings: config.Train,
    progress: Progress,
) -> Progress:
    """Take the remaining steps; save the state after each look at the held-out episodes."""
    dataset = batches.dataset
    deal = Shuffle(dataset.starts('train'), settings.batch, settings.seed)
    val = dataset.starts('val')
    spaced = np.linspace(0, len(val) - 1, min(HELD_OUT, len(val))).astype(np.int64)
    look = batches.at(val[spaced])
    step, curves = progress
    sums: dict[str, float] = {}
    began, since, warned = time.monotonic(), step, False
    model.train()
    with tqdm(total=settings.steps, initial=step, desc='train', unit='step') as bar:
        while step < settings.steps:
            rows = deal(step)
            batch = batches.at(rows)
            for group in optimiser.param_groups:
                group['lr'] = learning_rate(step, settings)
            terms = model.losses(batch)
            loss = torch.stack(list(terms.values())).sum()
            if not math.isfinite(float(loss)):
                raise TrainingError(_diverged(folder, step, terms, rows, batch))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
            step += 1
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term)
            bar.update()
            if step % settings.eval_every and step < settings.steps:
                continue
            count, seconds = step - since, time.monotonic() - began
            row = {'step': step, **{name: total / count for name, total in sums.items()}}
            row |= held_out(model, look)
            row['samples_per_s'] = count * settings.batch / seconds
            curves.append(row)
            bar.set_postfix_str(_in_brief(row))
            warning = collapse(row) if step > settings.steps // 4 else None
            if warning and not warned:
                bar.write(f'warning: step {step}: {warning}', file=sys.stderr)
                warned = True
            _save_state(folder, identity, model, optimiser, Progress(step, curves))
            sums, began, since = {}, time.monotonic(), step
    return Progress(step, curves)


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


def _check(dataset: TransitionDataset) -> None:
    """Refuse a dataset that nothing can be learnt from."""
    where, count = dataset.folder, len(dataset.episodes)
    for split, name in (('train', 'training'), ('val', 'held-out')):
        if not len(dataset.starts(split)):
            raise DatasetError(
                f'{where}: no {name} transitions in {count} episode(s); expected at least two '
                f'episodes longer than {dataset.info.action_block} ticks, and dataset.val_share '
                'above 0'
            )
    rows = np.concatenate([np.arange(e.start, e.stop) for e in dataset.episodes])
    actions = dataset.actions(rows)
    bad = rows[~np.isfinite(actions).all(axis=1)]
    if len(bad):
        raise DatasetError(f'{where}: {len(bad)} actions are not finite, first in row {bad[0]}')
    constant = np.ptp(actions, axis=0) == 0
    if constant.all():
        raise DatasetError(
            f'{where}: all actions are the same ({actions[0].tolist()}); the robot must move for '
            'a world model to learn how'
        )
    for name in np.array(dataset.info.spec.fields)[constant]:
        print(f'warning: {where}: {name} never changes; it will not be planned', file=sys.stderr)


def _in_brief(row: dict[str, float]) -> str:
    """Say one row of the curves in the width of a progress bar."""
    return (
        f'forward {row["forward"]:.3g}, inverse {row["inverse"]:.3g}, '
        f'R2 {row["inverse_r2"]:.2f}, rank {row["effective_rank"]:.1f}, '
        f'{row["samples_per_s"]:.0f} samples/s'
    )


def _save_state(
    folder: Path,
    identity: dict[str, Any],
    model: Smwm,
    optimiser: torch.optim.AdamW,
    progress: Progress,
) -> None:
    """Write what is needed to go on, and the curves so far."""
    (folder / STATE).mkdir(parents=True, exist_ok=True)
    header = ','.join(progress.curves[0])
    lines = [','.join(f'{value:.6g}' for value in row.values()) for row in progress.curves]
    write_atomic(folder / CURVES, '\n'.join([header, *lines, '']).encode())
    buffer = io.BytesIO()
    state = {
        'identity': json.dumps(identity),
        'model': model.state_dict(),
        'optimiser': optimiser.state_dict(),
        'step': progress.step,
        'curves': progress.curves,
    }
    torch.save(state, buffer)
    write_atomic(folder / STATE / 'last.pt', buffer.getvalue())


def _resume(
    folder: Path, identity: dict[str, Any], model: Smwm, optimiser: torch.optim.AdamW
) -> Progress:
    """Take up the state of a run that was stopped, if there is one."""
    path = folder / STATE / 'last.pt'
    if not path.is_file():
        return Progress(0, [])
    state = torch.load(path, weights_only=True)  # weights_only: executes nothing
    _same(folder, json.loads(state['identity']), identity)
    model.load_state_dict(state['model'])
    optimiser.load_state_dict(state['optimiser'])
    return Progress(state['step'], state['curves'])


def _kept(folder: Path, identity: dict[str, Any], planner: config.Planner) -> Checkpoint:
    """Return a finished run; another planner needs no new training."""
    _same(folder, checkpoints.read_meta(folder)['info'], identity)
    checkpoint = checkpoints.load(folder)
    if checkpoint.planner != planner:
        checkpoint = checkpoint._replace(planner=planner)
        checkpoints.save(folder, checkpoint)
    return checkpoint


def _same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to mix two different runs in one folder."""
    before = json.loads(json.dumps(wanted))  # tuples as they look after a round trip
    mistakes = []
    for part, value in before.items():
        old = found.get(part)
        if isinstance(value, dict) and isinstance(old, dict):
            mistakes += [
                f'{part}.{name} is {old.get(name)} there and {now} now'
                for name, now in value.items()
                if old.get(name) != now
            ]
        elif old != value:
            mistakes.append(f'{part} is {old} there and {value} now')
    if mistakes:
        raise CheckpointError(
            f'{folder}: holds another run: {"; ".join(mistakes)}; choose another folder, '
            'or --fresh to start over'
        )


def _clear(folder: Path) -> None:
    """Remove a run, and nothing else that may lie in the folder."""
    for name in (META, checkpoints.WEIGHTS, CURVES):
        (folder / name).unlink(missing_ok=True)
    if (folder / STATE).is_dir():
        shutil.rmtree(folder / STATE)


def _diverged(
    folder: Path, step: int, terms: dict[str, Tensor], rows: Array, batch: Transition
) -> str:
    """Save the batch that broke the training, and say what to try."""
    path = folder / STATE / 'bad_batch.npz'
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        rows=rows,
        pixels=batch.obs.pixels.cpu().numpy(),
        next_pixels=batch.next_obs.pixels.cpu().numpy(),
        action=batch.action.cpu().numpy(),
    )
    write_atomic(path, buffer.getvalue())
    values = ', '.join(f'{name} {float(term)}' for name, term in terms.items())
    return (
        f'step {step}: the loss is not finite ({values}); try a smaller train.lr or train.clip; '
        f'the batch is in {path}'
    )
