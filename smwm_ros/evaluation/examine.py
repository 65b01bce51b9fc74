# SPDX-License-Identifier: Apache-2.0
"""
Take a trained model apart on recorded drives: what does its latent hold, what can it foresee.

All figures are of episodes that were held out, except those with `train` in their name.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.evaluation.probes import linear, nonlinear
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array, Obs
from smwm_ros.model.checkpoint import Checkpoint, require
from smwm_ros.model.regression import r2
from smwm_ros.model.world_model import Smwm
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.batches import Batches, in_two
from smwm_ros.training.metrics import measure, MIN_STD
import torch
from torch import Tensor

CHUNK = 256  # images in memory at once
STEPS = 512  # single model steps that are measured
WINDOWS = 256  # rollouts
LONGEST = 10  # model steps of a rollout, or the horizon of the planner if that is longer
ENOUGH = 16  # windows; where there are fewer, rollouts are shorter
OTHERS = 16  # action sequences of other drives that each recorded one is compared with
SHOWN = 4  # rollouts as pictures
FEW = 2  # frames with a measured state; fewer do not differ in what could be read off them
SIGNIFICANT = 0.15  # of the variance of the first principal direction

_some = partial(evenly_spaced, rounded=True)


class Rollouts(NamedTuple):
    """What was imagined over H model steps, and what came."""

    error: Array  # (H,) mean squared error of the latent
    copying: Array  # (H,) the same of the latent from which it began
    outdone: float  # share of other action sequences that seem to lead nearer to what came
    nearest: Array  # (n, H+1) rows of the training frames most like what was imagined
    came: Array  # (n, H+1) rows of the frames that came


class Examination(NamedTuple):
    """What was found."""

    measures: dict[str, float]
    probes: dict[str, tuple[float, float]]  # by state field: R2 of the linear one, of the other
    spectrum: Array  # (D,) shares of the variance of the latent, falling
    latents: Array  # (n, D) of held-out frames
    states: Array  # (n, P) of the same frames, NaN where none was measured
    rollouts: Rollouts
    actions: Array  # (m, K*A, 2) normalised: as recorded, as read back
    note: str = ''  # how the dataset was split, where it was not split as it says


@torch.inference_mode()
def examine(
    checkpoint: Checkpoint,
    data: TransitionDataset,
    samples: int,
    device: torch.device,
    progress: ShowProgress = NoProgress,
) -> Examination:
    """Examine a model on so many training frames, and on a fifth as many that were held out."""
    info = data.info
    require(checkpoint, str(data.folder), info.spec.size, info.spec.dt, info.image_size)
    model = checkpoint.model.to(device).eval()
    data, note = in_two(data)
    batches = Batches(data, checkpoint.mean, checkpoint.std, device)
    train, val = _some(data.starts('train'), samples), _some(data.starts('val'), samples // 5)
    known, z = (encode(model, data, rows, device, progress) for rows in (train, val))
    states = data.states(val)
    probes = _probes(data, (known, data.states(train)), (z, states))
    rollouts = _rollouts(model, batches, known, train, checkpoint.planner.horizon)
    shares = spectrum(z)
    measures = {
        'trained_on_it': float(checkpoint.info.get('dataset') == data.fingerprint),
        'train_transitions': float(len(data.starts('train'))),
        'train_episodes': float(sum(episode.split == 'train' for episode in data.episodes)),
        **_steps(model, batches, train, val),
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


def encode(
    model: Smwm,
    data: TransitionDataset,
    rows: Array,
    device: torch.device,
    progress: ShowProgress = NoProgress,
) -> Array:
    """Return the latents (n, D) of frames."""
    found = []
    parts = np.array_split(rows, max(len(rows) // CHUNK, 1))
    for part in progress(parts, desc='encoding', unit_scale=CHUNK, unit=' frames'):
        pixels = torch.from_numpy(data.pixels(part)).to(device).permute(0, 3, 1, 2)
        found.append(model.encode(Obs(pixels, torch.zeros(len(part), 0, device=device))).cpu())
    z: Array = torch.cat(found).numpy()
    return z


def spectrum(z: Array) -> Array:
    """Return the share of the variance of latents (n, D) in each principal direction, falling."""
    values = np.linalg.svd((z - z.mean(0)).astype(np.float64), compute_uv=False) ** 2
    shares: Array = values / max(values.sum(), np.finfo(np.float64).tiny)
    return shares


def significant(shares: Array, latent_std: float) -> int:
    """Count the principal directions that matter; of a latent that collapsed, none does."""
    return int((shares > SIGNIFICANT * shares[0]).sum()) if latent_std >= MIN_STD else 0


def _steps(model: Smwm, batches: Batches, train: Array, val: Array) -> dict[str, float]:
    """Measure single model steps, in training and in held-out episodes."""
    seen = measure(model, batches.at(_some(train, STEPS)))
    held = measure(model, batches.at(_some(val, STEPS)))
    names = [name for name in held if not name.startswith('val_')]
    return {
        **{name: held[name] for name in names},
        **{f'train_{name}': seen[name] for name in names},
    }


def _images(data: TransitionDataset, val: Array) -> dict[str, float]:
    """Tell how much the images change, of 255 grey levels."""
    frames = data.pixels(_some(val, STEPS)).astype(np.float32)
    return {'pixel_std': float(frames.std(0).max())}


def _coverage(data: TransitionDataset, train: Array) -> float:
    """Return the share of its limits that the command covers which covers least of them."""
    low, high = np.percentile(data.actions(train), (1, 99), axis=0)
    spec = data.info.spec
    return float(((high - low) / np.subtract(spec.high, spec.low)).min())


def _probes(
    data: TransitionDataset, train: tuple[Array, Array], val: tuple[Array, Array]
) -> dict[str, tuple[float, float]]:
    """Read the measured state off the latents, field by field."""
    train, val = (_measured(*part) for part in (train, val))
    if not data.info.state_size or min(len(train[1]), len(val[1])) < FEW:
        return {}
    names = expand(data.info.robot['state']['fields'])
    with torch.inference_mode(False):
        read = [r2(fit(*train)(val[0]), val[1]) for fit in (linear, nonlinear)]
    return {name: (float(a), float(b)) for name, a, b in zip(names, *read, strict=True)}


def _measured(latents: Array, states: Array) -> tuple[Array, Array]:
    """Return the latents (n, D) and states (n, P) of the frames at which a state was measured."""
    known = np.isfinite(states).all(axis=1)
    return latents[known], states[known]


def _rollouts(model: Smwm, batches: Batches, known: Array, train: Array, horizon: int) -> Rollouts:
    """Imagine held-out drives from their first frame and their actions."""
    data, block = batches.dataset, batches.dataset.info.action_block
    steps = max(LONGEST, horizon)
    while steps > 1 and len(data.starts('val', steps * block)) < ENOUGH:
        steps -= 1
    starts = _some(data.starts('val', steps * block), WINDOWS)
    longer = batches._replace(steps=steps)
    parts = [longer.at(part) for part in np.array_split(starts, max(len(starts) // 16, 1))]
    z = torch.cat([torch.stack(model.latents(part), dim=1) for part in parts])  # (W, H+1, D)
    actions = torch.cat([part.action for part in parts], dim=1).transpose(0, 1)  # (W, H, K*A)
    imagined = model.rollout(z[:, 0], actions)  # (W, H, D)
    some = _some(np.arange(len(starts)), SHOWN)
    drives = torch.cat([z[some, :1], imagined[some]], dim=1)
    near = torch.cdist(drives, torch.from_numpy(known).to(z.device)).argmin(dim=-1).cpu().numpy()
    return Rollouts(
        (imagined - z[:, 1:]).square().mean(dim=(0, 2)).cpu().numpy(),
        (z[:, :1] - z[:, 1:]).square().mean(dim=(0, 2)).cpu().numpy(),
        _outdone(model, z, actions, min(horizon, steps)),
        train[near],
        starts[some, None] + block * np.arange(steps + 1),
    )


def _outdone(model: Smwm, z: Tensor, actions: Tensor, horizon: int) -> float:
    """Say how often actions of another drive seem to lead nearer to what came than those taken."""

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
    """Return the error at the planner's horizon as a share of that of copying."""
    at = min(horizon, len(rollouts.error)) - 1
    return float(rollouts.error[at] / max(rollouts.copying[at], np.finfo(np.float32).tiny))


def _motion(rollouts: Rollouts, z: Array) -> float:
    """Return how far a model step moves the latent, squared, as a share of any two of them."""
    return float(rollouts.copying[0] / max(2 * z.var(0).mean(), np.finfo(np.float32).tiny))


def _read_back(model: Smwm, batches: Batches, starts: Array) -> Array:
    """Return normalised actions (n, K*A, 2): as recorded, and as read off two latents."""
    window = batches.at(starts)
    read = model.infer(*model.latents(window))
    pairs: Array = torch.stack([window.action[0], read], dim=-1).cpu().numpy()
    return pairs


def _commands(actions: Array, block: int) -> tuple[float, float]:
    """
    Return how much is read back of the mean command of a model step, and how much is echoed.

    Two frames show where a robot came, and little of the order of the commands between them. An
    echo goes up and down with the command, whatever its sign and scale.
    """
    means = actions.reshape(len(actions), block, -1, 2).mean(axis=1)  # (m, A, 2)
    recorded, read = means[..., 0], means[..., 1]
    away, off = recorded - recorded.mean(0), read - read.mean(0)
    power = (away**2).sum(0) * (off**2).sum(0)
    moves = (away**2).sum(0) > 0  # what never changes is not there to be read
    echo = (away * off).sum(0) ** 2 / np.maximum(power, np.finfo(np.float32).tiny)
    return float(np.nanmean(r2(read, recorded))), float(echo[moves].mean()) if moves.any() else 0.0
