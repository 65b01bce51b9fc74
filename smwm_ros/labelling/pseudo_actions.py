# SPDX-License-Identifier: Apache-2.0
"""
Label the ticks of a dataset with the actions that a latent-action model infers.

Each window of a model step gives estimates of its K raw actions. A tick is in up to K windows, and
gets their mean. Estimates that differ, and a decoder with a low R2, lower the confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.labels import write_labels
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.interfaces import Array
from smwm_ros.labelling.latent_reading import load_latent_model, read
from smwm_ros.labelling.moments import shard_rows
from smwm_ros.lock import hold
from smwm_ros.model.checkpoint import Checkpoint, read_meta
from smwm_ros.reporting import NoProgress, ShowProgress
import torch

LEAST_R2 = 0.6
MOST = 0.99  # confidence; 1 is for what was recorded or answered by a person


class Estimates(NamedTuple):
    """The actions of ticks, as windows see them; NaN where no window covers a tick."""

    mean: Array  # (rows, A)
    variance: Array  # (rows,) of the estimates of a tick, mean over its fields


def label(
    data: TransitionDataset,
    run: Path,
    least_r2: float = LEAST_R2,
    progress: ShowProgress = NoProgress,
) -> float:
    """
    Label all ticks without a recorded or answered action; return the R2 of the decoder.

    An interrupted labelling is resumed: shards that this run has labelled are kept.
    """
    checkpoint, model = load_latent_model(run, data)
    r2 = _require_grounded(checkpoint, run, least_r2)
    weights, block = read_meta(run).weights_sha256, data.info.action_block
    about = {'run': str(run), 'weights': weights, 'r2': r2, 'decoder': model.decoder.kind}
    open_ = _open(data)
    starts = data.starts('all', unlabelled=True)
    starts = starts[open_[starts[:, None] + np.arange(block)].any(axis=1)]
    if not len(starts):
        raise DatasetError(
            f'{data.folder}: every transition has recorded or answered actions; there is nothing '
            'to label'
        )
    shards = {
        name: (rows, starts[np.isin(starts, rows)])
        for name, rows in shard_rows(data).items()
        if name not in data.labels or data.labels[name].about.get('weights') != weights
    }
    total = sum(len(mine) for _, mine in shards.values())
    with hold(data.folder), progress(total=total, desc='labelling', unit=' windows') as bar:
        for name, (rows, mine) in shards.items():
            if not len(mine):
                continue
            found = read(model, data, mine, bar.update)
            with torch.inference_mode():
                actions = model.decoder(found.z, found.x).cpu().numpy()
            estimates = average(mine - rows[0], actions.reshape(len(mine), block, -1), len(rows))
            _write(data, name, rows, checkpoint, estimates, about)
    return r2


def average(starts: Array, actions: Array, rows: int) -> Estimates:
    """Average the estimates (n, K, A) of windows that start at rows (n,) of `rows` rows."""
    ticks = starts[:, None] + np.arange(actions.shape[1])
    count = np.bincount(ticks.ravel(), minlength=rows)[:, None]
    count = np.where(count > 0, count, np.nan)
    total = np.zeros((2, rows, actions.shape[2]))
    np.add.at(total[0], ticks, actions)
    np.add.at(total[1], ticks, np.square(actions, dtype=np.float64))
    mean, square = total / count
    return Estimates(mean, np.maximum(square - mean**2, 0).mean(axis=1))


def confidence(variance: Array, r2: float) -> Array:
    """Return the confidence in estimates with a variance (n,), of a decoder with this R2."""
    squared_error = (1 - r2) + variance  # normalised actions have variance 1
    return np.minimum(1 / (1 + squared_error), MOST)


def _open(data: TransitionDataset) -> Array:
    """Return which rows have neither a recorded nor an answered action (rows,) bool."""
    wanted: Array = data.confidence(np.arange(len(data))) < 1
    return wanted


def _write(
    data: TransitionDataset,
    name: str,
    rows: Array,
    checkpoint: Checkpoint,
    estimates: Estimates,
    about: Mapping[str, Any],
) -> None:
    """Write the labels of a shard; answers stay."""
    old = data.labels.get(name)
    action = np.full(estimates.mean.shape, np.nan)
    certain = np.zeros(len(rows))
    if old:
        answered = old.confidence == 1
        action[answered], certain[answered] = old.action[answered], 1
    new = _open(data)[rows] & np.isfinite(estimates.variance)
    action[new] = checkpoint.spec.clip(checkpoint.scaler.restore(estimates.mean[new]))
    certain[new] = confidence(estimates.variance[new], about['r2'])
    write_labels(data.folder, name, action, certain, {**about, 'ticks': int(new.sum())})


def _require_grounded(checkpoint: Checkpoint, run: Path, least_r2: float) -> float:
    """Return the R2 of the decoder on held-out moments; raise if there is none, or it is low."""
    ask = 'label more moments (smwm label DATASET RUN --ask)'
    if 'r2' not in checkpoint.info.actions:
        raise CheckpointError(
            f'{run}: was trained without labelled moments, so nothing connects its latent actions '
            f'with those of the robot; {ask} and train it again'
        )
    r2 = float(checkpoint.info.actions['r2'])
    if r2 < least_r2:
        raise CheckpointError(
            f'{run}: R2 of the decoded actions is {r2:.2f} on held-out moments, expected at least '
            f'{least_r2:g} (--least-r2); {ask}, use more train.steps, and see which test fails in '
            f'smwm lam-report {run}'
        )
    return r2
