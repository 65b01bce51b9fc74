# SPDX-License-Identifier: Apache-2.0
"""
The acceptance tests of a latent-action model, with the figures that a usable model reaches.

Maps are those of images; the measured state is only used to read motion from maps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.evaluation import latent_actions as measures
from smwm_ros.evaluation.latent_actions import Acceptance, LatentDynamics
from smwm_ros.evaluation.transitions import Transitions
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Arena, Array
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.regression import r2
from smwm_ros.training.metrics import ACTIVE, FEWEST_CODES
import torch
from torch import Tensor

SIMULATED = 200  # transitions repeated in an arena
READABLE = 0.3  # least R2 of recorded motion with which a probe judges other motion


def judge_images(dynamics: LatentDynamics, held_out: Transitions) -> list[Acceptance]:
    """Run the tests that need nothing but images."""
    s, s_next = held_out.s, held_out.s_next
    other = s_next.roll(len(s) // 2, dims=0)  # rows are in order: it is from another episode
    cut = measures.scene_cut(dynamics, s, s_next, other)
    helped = measures.error(dynamics.predict(s, held_out.z), s_next)
    gain = helped / measures.error(dynamics.without_action(s), s_next)
    return [
        Acceptance(
            'error with z over that without', gain, None, 0.7,
            'The forward model predicts the next map better with the latent action than without.',
        ),
        Acceptance(
            'scene cut: error ratio', cut.ratio, 2.0, None,
            'Across a cut to another scene, prediction has to fail: a latent action is not the '
            'next image.',
        ),
        Acceptance(
            'scene cut: leak', cut.leak - cut.without_action, None, 0.2,
            'Share of the difference of two scenes that the latent action carries, beyond what '
            'is predicted without it: 0 for none, 1 for the whole next image.',
        ),
        Acceptance(
            'cycle A, B, A: error ratio', measures.cycle(dynamics, s, s_next), None, 1.6,
            'Latent actions that are inferred from a predicted image are nearly as good as those '
            'from a recorded one.',
        ),
    ]  # fmt: skip


class MotionReading(NamedTuple):
    """Reads motion from maps; recorded states calibrate it."""

    z: Tensor  # (n, Z) of training transitions
    moved: Array  # (n, P) in these
    held_out: Transitions  # those with a measured state
    read: measures.Probe  # maps to states
    most: float  # R2 of the motion that it reads in recorded maps: no map shows more

    def ceiling(self) -> str:
        """Say how well it reads motion."""
        return (
            f'The probe reads recorded motion with R2 {self.most:.2f}, so that is the most to '
            'expect.'
        )


def motion_reading(seen: Transitions, held_out: Transitions) -> MotionReading | None:
    """Fit a probe to training transitions; None without measured states."""
    seen, held_out = seen.measured(), held_out.measured()
    if min(len(seen.rows), len(held_out.rows)) < 2 or not seen.states.size:
        return None
    maps, states = torch.cat([seen.s, seen.s_next]), np.concatenate([*seen.states.swapaxes(0, 1)])
    read = measures.fit_probe(maps, states)
    found = read(held_out.s_next) - read(held_out.s)
    most = max(measures.shared_r2(found, held_out.moved), 0.0)
    return MotionReading(seen.z, seen.moved, held_out, read, most)


def judge_motion(
    dynamics: LatentDynamics,
    reading: MotionReading | None,
    mine: Array,
    checkpoint: Checkpoint,
    arena: Arena | None,
) -> list[Acceptance]:
    """Run the tests that read motion from maps; commands move the state fields `mine` (P,)."""
    names = {
        'transfer': 'transfer of motion, R2',
        'probe': 'probe of commanded motion, R2',
        'others': 'probe of other motion, R2',
        'drift': 'drift with the z of a still image',
    }
    if reading is None:
        why = 'Not measured: the dataset has no measured state.'
        return [Acceptance(name, math.nan, None, None, why) for name in names.values()]
    held_out, most = reading.held_out, reading.most
    score, source = _transfer(dynamics, reading.read, held_out, arena)
    probe = measures.fit_probe(reading.z, reading.moved)
    motion = r2(probe(held_out.z), held_out.moved, measures.TINY)
    fields = np.array(expand(checkpoint.robot.state.fields))
    exact = checkpoint.model_config.latent_action.paper_exact
    return [
        Acceptance(
            names['transfer'], score, 0.8 * most if most > READABLE else None, None,
            'Latent actions of one place, applied at others, make the same motion, as '
            f'{source} it and a linear probe of the map reads it. {reading.ceiling()}',
        ),
        Acceptance(
            names['probe'], _mean(motion[mine]), 0.8, None,
            f'A linear probe reads from z how the robot moved ({", ".join(fields[mine])}).',
        ),
        Acceptance(
            names['others'], _mean(motion[~mine]), None, None,
            'How much z says of state fields that the commands do not move '
            f'({", ".join(fields[~mine]) or "none in this dataset"}).',
        ),
        Acceptance(
            names['drift'], measures.drift(dynamics, reading.read, held_out.s, held_out.moved),
            None, None if exact else 0.04,
            'Motion per model step while nothing should move, as a share of a full-scale step'
            f'{"; paper_exact has no code for standing still, so it is not judged" * exact}.',
        ),
    ]  # fmt: skip


def _transfer(
    dynamics: LatentDynamics, read: measures.Probe, held_out: Transitions, arena: Arena | None
) -> tuple[float, str]:
    """Return R2 of transferred motion, and what it was compared with."""
    shift = max(len(held_out.rows) // 3, 1)
    acted = np.flatnonzero(np.isfinite(held_out.actions).all(axis=(1, 2)))
    if arena is None or len(acted) < measures.FEWEST:
        s = held_out.s.roll(shift, dims=0)
        score = measures.transfer(dynamics, read, s, held_out.z, held_out.moved)
        return score, 'the recording shows'
    chosen = evenly_spaced(acted, SIMULATED)
    at = (chosen + shift) % len(held_out.rows)
    moved = moved_in(arena, held_out.states[at, 0], held_out.actions[chosen])
    score = measures.transfer(dynamics, read, held_out.s[at], held_out.z[chosen], moved)
    return score, 'the arena shows'


def _mean(scores: Array) -> float:
    """Return the mean of scores that are defined, nan without any."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else math.nan


def judge_action_maps(checkpoint: Checkpoint) -> list[Acceptance]:
    """Report how well controller and decoder, fitted to labelled moments, do on held-out ones."""
    found = checkpoint.info.actions
    if not found:
        why = 'Not measured: the training had no labelled moments, so there is no {}.'
        return [
            Acceptance(f'{part}, R2', math.nan, None, None, why.format(part))
            for part in ('controller', 'decoder')
        ]
    words = {
        part: ', '.join(f'{name} {score:.2f}' for name, score in found[part].items())
        for part in ('controller', 'decoder')
    }
    return [
        Acceptance(
            'controller, R2', measures.best(found['controller']), None, None,
            'The controller leads from an action to the latent action that the images show, '
            f'which also describes other motion. At held-out moments: {words["controller"]}.',
        ),
        Acceptance(
            'decoder, R2', found['r2'], 0.7, None,
            'The decoder leads from a latent action to the mean command of a model step, at '
            f'held-out moments. Each command by itself: {words["decoder"]}.',
        ),
    ]  # fmt: skip


def judge_control(
    model: LatentActionModel, reading: MotionReading | None, mine: Array, checkpoint: Checkpoint
) -> Acceptance:
    """Compare the motion that commands make, by way of the controller, with the measured one."""
    name = 'motion by the controller, R2'
    known = np.zeros(0, np.int64)
    if reading and checkpoint.info.actions:
        known = np.flatnonzero(np.isfinite(reading.held_out.actions).all(axis=(1, 2)))
    if reading is None or len(known) < measures.FEWEST:
        why = 'Not measured: it needs labelled moments, and held-out commands and states.'
        return Acceptance(name, math.nan, None, None, why)
    s, actions = reading.held_out.s[known], reading.held_out.actions[known]
    flat = checkpoint.scaler.normalise(actions).reshape(len(known), -1)
    z = model.controller(torch.from_numpy(flat).to(s), model.state(s))
    moved = reading.read(model.forward_model(s, z)) - reading.read(s)
    score = _mean(r2(moved, reading.held_out.moved[known], measures.TINY)[mine])
    return Acceptance(
        name, score, 0.7 * reading.most if reading.most > READABLE else None, None,
        'Recorded commands, turned into latent actions by the controller, make the measured '
        f'motion, as a linear probe of the map reads it. {reading.ceiling()}',
    )  # fmt: skip


def judge_capacity(
    model: LatentActionModel, held_out: Transitions, checkpoint: Checkpoint
) -> list[Acceptance]:
    """Report how much latent actions carry."""
    lam = checkpoint.model_config.latent_action
    target = lam.nats if lam.bottleneck in ('noisy', 'prefix') else 0.0
    variance = held_out.z.var(dim=0)
    active = float((variance > ACTIVE * variance.max().clamp(min=measures.TINY)).sum())
    codes, nats = model.bottleneck.perplexity, float(held_out.nats.mean())
    return [
        Acceptance(
            'information [nats per transition]', nats,
            0.75 * target or None, 1.25 * target or None,
            f'Not measured: the bottleneck {lam.bottleneck} does not define it.'
            if math.isnan(nats)
            else 'What a latent action carries' + (f'; the target is {target:g}.' * bool(target)),
        ),
        Acceptance(
            'active dimensions', active, float(checkpoint.spec.size), None,
            'Numbers of z that vary; at least one for each field of an action.',
        ),
        Acceptance(
            'code book perplexity', float(codes.min()) if len(codes) else math.nan,
            FEWEST_CODES, None,
            'Codes in use in the smallest code book; below 2 it has collapsed.'
            if len(codes)
            else f'Not measured: the bottleneck {lam.bottleneck} has no code book.',
        ),
    ]  # fmt: skip


def moved_in(arena: Arena, states: Array, actions: Array) -> Array:
    """Return the motions (n, P) that raw actions (n, K, A) make from states (n, P), at rest."""
    moved = np.zeros(states.shape)
    for motion, state, block in zip(moved, states, actions, strict=True):
        frame = arena.set_state(state)
        for action in block:
            frame = arena.step(arena.spec.clip(action))
        motion[:] = frame.state - state
    return moved
