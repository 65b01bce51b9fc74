# SPDX-License-Identifier: Apache-2.0
"""Measure a model on held-out windows: prediction error, inverse error, collapse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import math

from smwm_ros.errors import TrainingError
from smwm_ros.interfaces import Window
from smwm_ros.latent_actions.model import LatentActionModel, recorded
from smwm_ros.model.alignment import StateHead
from smwm_ros.model.any_model import AnyModel
from smwm_ros.model.world_model import Smwm
import torch
from torch import nn, Tensor

MIN_STD = 0.01  # of a latent that has not collapsed
MIN_INVERSE_R2 = 0.1
EMPTY = 0.9  # share of the error without latent actions above which these carry nothing
FEWEST_CODES = 2.0  # perplexity of a code book that has not collapsed
ACTIVE = 0.01  # share of the largest variance above which a dimension of z is active
OVERFIT_R2 = 0.5  # least inverse R2 on training images at which a model counts as overfitted
TINY = torch.finfo(torch.float32).tiny


@torch.inference_mode()
def held_out(model: AnyModel, batch: Window, settled: bool) -> dict[str, float]:
    """
    Return measures of one batch; the mode of the model is restored.

    While weights change fast, the running statistics of BatchNorm lag behind, and a sound model
    looks broken. Unless `settled`, the statistics of the batch itself are used. Only `misfit`, by
    which the best checkpoint is chosen, is always that of the deployed model: forward error as a
    share of the copy baseline, plus the share of the actions' variance that h does not explain.
    """
    training = model.training
    model.eval()
    deployed = found = measure(model, batch)
    if not settled:
        with _statistics_of_the_batch(model):
            found = measure(model, batch)
    model.train(training)
    return {**found, 'misfit': deployed['forward_over_copy'] + 1 - deployed['inverse_r2']}


def measure(model: AnyModel, batch: Window) -> dict[str, float]:
    """Return the loss terms, and measures of one model step that are comparable between runs."""
    if isinstance(model, LatentActionModel):
        return _measure_latent_actions(model, batch)
    frames = model.latents(batch)
    terms = model.terms(frames, batch)
    # The first step of each window, whatever their length.
    z, z_next, action = frames[0], frames[1], batch.action[0]
    forward = (model.predict(z, action) - z_next).square().mean()
    inverse = (model.infer(z, z_next) - action).square().mean()
    measures = {
        **{f'val_{name}': float(term) for name, term in terms.items()},
        # 1: no better than copying the latent (nothing moves); 0: perfect
        'forward_over_copy': float(forward / (z - z_next).square().mean().clamp(min=TINY)),
        'inverse_r2': float(1 - inverse / _variance(action)),
        'latent_std': float(z.std(dim=0).mean()),
        'effective_rank': effective_rank(z),
    }
    if batch.goal and model.actor:
        measures |= actor_skill(model, frames, batch)
    if model.state_head:
        seen = frames[: len(batch.obs.state)]  # without the goal of an actor
        measures |= _measure_state(model.state_head, seen, batch.obs.state)
    return measures


def _measure_state(head: StateHead, frames: Sequence[Tensor], state: Tensor) -> dict[str, float]:
    """Return R2 of the state at the second frame, and of its changes; 0 where none is known."""
    measures = {'state_r2': known_r2(head(frames[0], frames[1]), head.targets(state[1]))}
    if head.change:
        measures['state_change_r2'] = known_r2(*head.changes(frames, state))
    return measures


def known_r2(read: Tensor, true: Tensor) -> float:
    """Return R2 of what was read (n, P), over the known numbers; 0 where none is known."""
    known = true.isfinite()
    if not known.any():
        return 0.0
    about = torch.where(known, true - true.nanmean(dim=0), 0.0).square().sum()
    missed = torch.where(known, true - read, 0.0).square().sum()
    return float(1 - missed / about.clamp(min=TINY))


def actor_skill(model: Smwm, frames: Sequence[Tensor], batch: Window) -> dict[str, float]:
    """
    Return the R2 of the first raw action to the goals, of the actor and of the inverse model.

    The inverse model is the baseline: it takes each goal for the next frame.
    """
    assert batch.goal
    assert model.actor
    z, goal, left = frames[0], frames[-1], batch.goal.left[0]  # (B, K)
    fields = batch.action.shape[-1] // left.shape[-1]
    true = batch.action[0, :, :fields]
    tried = {
        'actor_r2': model.actor(z, goal, left[:, 0])[0],
        'goal_inverse_r2': model.infer(z, goal),
    }
    errors = {name: (found[:, :fields] - true).square().mean() for name, found in tried.items()}
    return {name: float(1 - error / _variance(true)) for name, error in errors.items()}


def _measure_latent_actions(model: LatentActionModel, batch: Window) -> dict[str, float]:
    """Return the measures of a latent-action model; R2 of decoded actions is 0 without labels."""
    maps = model.maps(batch)
    terms = model.terms(maps, batch)
    now, then = maps[0], maps[1]
    code = model.latent_action(now, then)
    copying = (then - now).square().mean().clamp(min=TINY)
    known, actions = recorded(batch._replace(action=batch.action[:1], weight=_first(batch.weight)))
    known = known.squeeze(1)
    r2 = 0.0
    if known.sum() > 1:
        missed = (model.anchor(code.mean) - actions)[known].square().mean()
        r2 = float(1 - missed / _variance(actions[known]))
    variance = code.mean.var(dim=0)
    forward = (model.forward_model(now, code.mean) - then).square().mean()
    return {
        **{f'val_{name}': float(term) for name, term in terms.items()},
        'forward_over_copy': float(forward / copying),
        'without_action': float((model.without_action(now) - then).square().mean() / copying),
        'inverse_r2': r2,
        'latent_std': float(model.state(now).std(dim=0).mean()),
        'effective_rank': effective_rank(code.mean),
        **({} if code.nats.isnan().any() else {'nats': float(code.nats.mean())}),
        'active_dimensions': float((variance > ACTIVE * variance.max().clamp(min=TINY)).sum()),
        **{f'perplexity_{n}': v for n, v in enumerate(model.bottleneck.perplexity.tolist())},
    }


def _first(weight: Tensor | None) -> Tensor | None:
    """Return the weights of the first step of each window."""
    return None if weight is None else weight[:1]


def effective_rank(z: Tensor) -> float:
    """Return exp(entropy) of the normalised eigenvalues of the covariance of z (n, D)."""
    eigenvalues = torch.linalg.svdvals((z - z.mean(dim=0)).double()).square()
    share = eigenvalues / eigenvalues.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return math.exp(-float(torch.xlogy(share, share).sum()))


def collapse_warning(measures: Mapping[str, float]) -> str | None:
    """Return a warning if the latent has collapsed or the model overfits, else None."""
    if 'without_action' in measures:
        return _empty_warning(measures)
    r2, known = measures['inverse_r2'], measures.get('train_inverse_r2', math.nan)
    if measures['latent_std'] < MIN_STD:
        what = f'all images share one latent (std {measures["latent_std"]:.4f})'
    elif r2 >= MIN_INVERSE_R2:
        return None
    elif known > OVERFIT_R2:
        return (
            f'the model overfits: it infers actions from training images (inverse R2 {known:.2f}) '
            f'but not from held-out images ({r2:.2f}); add data, above all more episodes, use '
            'fewer train.steps, or raise train.warp and train.colour_jitter'
        )
    else:
        what = f'the actions cannot be inferred from it (inverse R2 {r2:.2f})'
    return (
        f'the latent has collapsed: {what}; use model.kind smwm, raise model.inverse_weight or '
        'set model.inverse_target, or add data'
    )


def _empty_warning(measures: Mapping[str, float]) -> str | None:
    """Return a warning if latent actions predict no more than the model without them."""
    forward, without = measures['forward_over_copy'], measures['without_action']
    if forward < EMPTY * without:
        return None
    return (
        f'latent actions carry nothing: with them the forward error is {forward:.2f} of the copy '
        f'baseline, without them {without:.2f}; use more train.steps, raise '
        'model.latent_action.nats, lower model.latent_action.strength, or set '
        'model.latent_action.blur to the motion of the robot in a model step'
    )


def require_code_book(measures: Mapping[str, float]) -> None:
    """Raise a TrainingError if a code book of a latent-action model has collapsed."""
    for name, value in measures.items():
        if name.startswith('perplexity') and value < FEWEST_CODES:
            raise TrainingError(
                f'step {measures["step"]:.0f}: a code book has collapsed: its perplexity is '
                f'{value:.2f}, expected at least {FEWEST_CODES}; use '
                'model.latent_action.bottleneck=noisy, or pvq with more groups, or a smaller '
                'train.lr'
            )


def _variance(values: Tensor) -> Tensor:
    """Return the mean variance of the columns of (n, C)."""
    return values.var(dim=0, unbiased=False).mean().clamp(min=TINY)


@contextmanager
def _statistics_of_the_batch(model: nn.Module) -> Iterator[None]:
    """Make BatchNorm use the statistics of the batch, without updating the running ones."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    yield
    for norm in norms:
        norm.eval()
        norm.track_running_stats = True
