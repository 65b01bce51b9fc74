# SPDX-License-Identifier: Apache-2.0
"""
Measure a trained model on recorded drives: what its latent holds, and what it predicts.

All measures are of held-out episodes, except those with `train` in their names.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.evaluation.probes import linear, nonlinear
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.model.any_model import AnyModel
from smwm_ros.model.checkpoint import Checkpoint, require
from smwm_ros.model.encoding import BATCH, encode_rows
from smwm_ros.model.regression import r2
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.batches import Batches, with_held_out
from smwm_ros.training.metrics import measure, MIN_STD
import torch
from torch import Tensor

STEPS = 512  # single model steps that are measured
WINDOWS = 256  # rollouts
LONGEST = 10  # model steps of a rollout; the horizon of the planner where that is longer
ENOUGH = 16  # windows; with fewer, rollouts are shortened
OTHERS = 16  # recorded action sequences that each one is compared with
SHOWN = 4  # rollouts as pictures
FEW = 2  # frames with a measured state; probes need at least so many
SIGNIFICANT = 0.15  # of the variance of the first principal direction

_some = partial(evenly_spaced, rounded=True)


class Rollouts(NamedTuple):
    """Predictions over H model steps, and the recorded frames."""

    error: Array  # (H,) mean squared error of the predicted latent
    copying: Array  # (H,) the same of the copy baseline: the first latent
    outdone: float  # share of other action sequences predicted to end nearer to the recorded frame
    nearest: Array  # (n, H+1) rows of the training frames nearest to the predicted latents
    came: Array  # (n, H+1) rows of the recorded frames


class Examination(NamedTuple):
    """All that examine() measures."""

    measures: dict[str, float]
    probes: dict[str, tuple[float, float]]  # by state field: R2, linear and nonlinear
    spectrum: Array  # (D,) share of the variance of the latent by principal direction
    latents: Array  # (n, D) of held-out frames
    states: Array  # (n, P) of the same frames, nan where none was measured
    rollouts: Rollouts
    actions: Array  # (m, K*A, 2) normalised: recorded, and inferred
    note: str = ''  # how episodes were cut, where the dataset holds none out


@torch.inference_mode()
def examine(
    checkpoint: Checkpoint,
    data: TransitionDataset,
    samples: int,
    device: torch.device,
    progress: ShowProgress = NoProgress,
) -> Examination:
    """Measure a model on `samples` training frames, and on a fifth as many held-out frames."""
    info = data.info
    require(checkpoint, str(data.folder), info.spec.size, info.spec.dt, info.image_size)
    model = checkpoint.on(device).model
    data, note = with_held_out(data)
    batches = Batches(data, checkpoint.scaler, device, stack=checkpoint.model_config.stack)
    train, val = _some(data.starts('train'), samples), _some(data.starts('val'), samples // 5)
    show = partial(progress, desc='encoding', unit_scale=BATCH, unit=' frames')
    known, z = (encode_rows(model, data, rows, show).numpy() for rows in (train, val))
    states = data.states(val)
    probes = _probes(data, (known, data.states(train)), (z, states))
    rollouts = _rollouts(model, batches, known, train, checkpoint.planner.horizon)
    shares = spectrum(z)
    measures = {
        'trained_on_it': float(checkpoint.info.dataset == data.fingerprint),
        'train_transitions': float(len(data.starts('train'))),
        'train_episodes': float(sum(episode.split == 'train' for episode in data.episodes)),
        **_steps(model, batches, train, val, checkpoint.model_config.reach),
        **_images(data, val),
        'command_range': _coverage(data, train),
        'motion': _motion(rollouts, z),
        'outdone': rollouts.outdone,
        'rollout_over_copy': _over(rollouts, checkpoint.planner.horizon),
    }
    if probes:
        for number, name in enumerate(('linear_r2', 'nonlinear_r2')):
            measures[name] = float(np.nanmean([found[number] for found in probes.values()]))
    actions = _read_back(model, batches, _some(val, STEPS))
    measures['command_r2'], measures['command_echo'] = _commands(actions, info.action_block)
    return Examination(measures, probes, shares, z, states, rollouts, actions, note)


def spectrum(z: Array) -> Array:
    """Return the share of the variance of latents (n, D) by principal direction, falling."""
    values = np.linalg.svd((z - z.mean(0)).astype(np.float64), compute_uv=False) ** 2
    shares: Array = values / max(values.sum(), np.finfo(np.float64).tiny)
    return shares


def significant(shares: Array, latent_std: float) -> int:
    """Count the significant principal directions; a collapsed latent has none."""
    return int((shares > SIGNIFICANT * shares[0]).sum()) if latent_std >= MIN_STD else 0


def _steps(
    model: AnyModel, batches: Batches, train: Array, val: Array, reach: int
) -> dict[str, float]:
    """Measure single model steps of training and of held-out episodes."""
    seen = measure(model, batches.held_out(_some(train, STEPS), reach))
    held = measure(model, batches.held_out(_some(val, STEPS), reach))
    names = [name for name in held if not name.startswith('val_')]
    return {
        **{name: held[name] for name in names},
        **{f'train_{name}': seen[name] for name in names},
    }


def _images(data: TransitionDataset, val: Array) -> dict[str, float]:
    """Return the largest standard deviation of a pixel [grey levels of 255]."""
    frames = data.pixels(_some(val, STEPS)).astype(np.float32)
    return {'pixel_std': float(frames.std(0).max())}


def _coverage(data: TransitionDataset, train: Array) -> float:
    """Return the share of its limits that a command field covers, of the field with the least."""
    low, high = np.percentile(data.actions(train), (1, 99), axis=0)
    spec = data.info.spec
    return float(((high - low) / np.subtract(spec.high, spec.low)).min())


def _probes(
    data: TransitionDataset, train: tuple[Array, Array], val: tuple[Array, Array]
) -> dict[str, tuple[float, float]]:
    """Return the R2 of both probes for each state field; none without measured states."""
    train, val = (_measured(*part) for part in (train, val))
    if not data.info.state_size or min(len(train[1]), len(val[1])) < FEW:
        return {}
    names = expand(data.info.robot['state']['fields'])
    with torch.inference_mode(False):
        read = [r2(fit(*train)(val[0]), val[1]) for fit in (linear, nonlinear)]
    return {name: (float(a), float(b)) for name, a, b in zip(names, *read, strict=True)}


def _measured(latents: Array, states: Array) -> tuple[Array, Array]:
    """Return the latents (n, D) and states (n, P) of frames with a measured state."""
    known = np.isfinite(states).all(axis=1)
    return latents[known], states[known]


def _rollouts(
    model: AnyModel, batches: Batches, known: Array, train: Array, horizon: int
) -> Rollouts:
    """Predict held-out drives from their first frame and their recorded actions."""
    data, block = batches.dataset, batches.dataset.info.action_block
    steps = max(LONGEST, horizon)
    while steps > 1 and len(data.starts('val', steps * block)) < ENOUGH:
        steps -= 1
    starts = _some(data.starts('val', steps * block), WINDOWS)
    longer = batches._replace(steps=steps)
    parts = [longer.at(part) for part in np.array_split(starts, max(len(starts) // 16, 1))]
    z = torch.cat([torch.stack(model.latents(part), dim=1) for part in parts])  # (W, H+1, D)
    actions = torch.cat([part.action for part in parts], dim=1).transpose(0, 1)  # (W, H, K*A)
    predicted = model.rollout(z[:, 0], actions)  # (W, H, D)
    some = _some(np.arange(len(starts)), SHOWN)
    drives = torch.cat([z[some, :1], predicted[some]], dim=1)
    near = torch.cdist(drives, torch.from_numpy(known).to(z.device)).argmin(dim=-1).cpu().numpy()
    return Rollouts(
        (predicted - z[:, 1:]).square().mean(dim=(0, 2)).cpu().numpy(),
        (z[:, :1] - z[:, 1:]).square().mean(dim=(0, 2)).cpu().numpy(),
        _outdone(model, z, actions, min(horizon, steps)),
        train[near],
        starts[some, None] + block * np.arange(steps + 1),
    )


def _outdone(model: AnyModel, z: Tensor, actions: Tensor, horizon: int) -> float:
    """Return how often actions of other drives are predicted to end nearer than the own ones."""

    def away(chosen: Tensor) -> Tensor:
        end = model.rollout(z[:, 0], chosen[:, :horizon])[:, -1]
        return (end - z[:, horizon]).square().sum(dim=1)

    own, count = away(actions), len(z)
    share = []
    for number in range(1, OTHERS + 1):
        other = away(actions.roll(number * count // (OTHERS + 1) or 1, dims=0))
        share.append((other < own).double().mean() + (other == own).double().mean() / 2)
    return float(torch.stack(share).mean())


def _over(rollouts: Rollouts, horizon: int) -> float:
    """Return the prediction error at the planner's horizon over that of the copy baseline."""
    at = min(horizon, len(rollouts.error)) - 1
    return float(rollouts.error[at] / max(rollouts.copying[at], np.finfo(np.float32).tiny))


def _motion(rollouts: Rollouts, z: Array) -> float:
    """Return the squared latent distance of a model step over that of two random frames."""
    return float(rollouts.copying[0] / max(2 * z.var(0).mean(), np.finfo(np.float32).tiny))


def _read_back(model: AnyModel, batches: Batches, starts: Array) -> Array:
    """Return normalised actions (n, K*A, 2): recorded, and inferred from two latents."""
    window = batches.at(starts)
    read = model.infer(*model.latents(window))
    pairs: Array = torch.stack([window.action[0], read], dim=-1).cpu().numpy()
    return pairs


def _commands(actions: Array, block: int) -> tuple[float, float]:
    """
    Return R2 and squared correlation of the inferred mean command of a model step.

    The mean, since two frames show the motion between them but hardly the order of the commands.
    The correlation does not depend on sign and scale.
    """
    means = actions.reshape(len(actions), block, -1, 2).mean(axis=1)  # (m, A, 2)
    recorded, read = means[..., 0], means[..., 1]
    away, off = recorded - recorded.mean(0), read - read.mean(0)
    power = (away**2).sum(0) * (off**2).sum(0)
    moves = (away**2).sum(0) > 0  # a constant command has no correlation
    echo = (away * off).sum(0) ** 2 / np.maximum(power, np.finfo(np.float32).tiny)
    return float(np.nanmean(r2(read, recorded))), float(echo[moves].mean()) if moves.any() else 0.0
