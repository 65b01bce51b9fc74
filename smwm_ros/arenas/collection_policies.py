# SPDX-License-Identifier: Apache-2.0
"""Policies that collect data: endless streams of raw actions."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, sqrt

import numpy as np
from smwm_ros.errors import ArenaError, did_you_mean
from smwm_ros.interfaces import ActionSpec, Arena, Array

POLICIES = ('expert', 'restless', 'random', 'mixed')


def policy_actions(
    policy: str, arena: Arena, episode: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Return the action stream of a policy; `mixed` alternates expert and random by episode."""
    if policy == 'mixed':
        policy = ('expert', 'random')[episode % 2]
    if policy == 'random':
        return random_walk(arena.spec, rng)
    if policy == 'expert':
        return noisy_expert(arena, rng)
    if policy == 'restless':
        return restless_expert(arena, rng)
    raise ArenaError(f"'{policy}': no such policy; {did_you_mean(policy, POLICIES)}")


def random_walk(
    spec: ActionSpec, rng: np.random.Generator, std: float = 0.7, time_constant: float = 0.5
) -> Iterator[Array]:
    """
    Yield Ornstein-Uhlenbeck noise: it is smooth, so the robot covers some distance.

    `std` is a share of half the action range; `time_constant` is in seconds.
    """
    low, high = np.array(spec.low), np.array(spec.high)
    middle, half = (low + high) / 2, (high - low) / 2
    keep = exp(-spec.dt / time_constant)
    noise = rng.standard_normal(spec.size)
    while True:
        yield spec.clip(middle + std * half * noise)
        noise = keep * noise + sqrt(1 - keep**2) * rng.standard_normal(spec.size)


def noisy_expert(arena: Arena, rng: np.random.Generator) -> Iterator[Array]:
    """Yield the expert's actions plus noise; draw a new goal when the goal is reached."""
    noise = random_walk(arena.spec, rng, std=0.3, time_constant=0.3)
    while True:
        if arena.success():
            arena.set_goal_state(arena.sample(rng))
        yield arena.spec.clip(arena.expert() + next(noise))


def restless_expert(arena: Arena, rng: np.random.Generator) -> Iterator[Array]:
    """
    Yield the noisy expert's actions, interrupted by disturbances of less than a second.

    A planner tries actions that no expert takes: it jerks, hesitates, releases the object. A model
    trained without such actions is too optimistic about their results.
    """
    spec = arena.spec
    half = (np.array(spec.high) - np.array(spec.low)) / 2
    calm, wild = noisy_expert(arena, rng), random_walk(spec, rng)
    while True:
        for _ in range(rng.integers(1, 26)):
            yield next(calm)
        kind = rng.integers(3)
        for _ in range(rng.integers(1, 9)):
            if kind == 0:
                yield next(wild)
            elif kind == 1:
                yield rng.uniform(spec.low, spec.high)
            else:
                yield spec.clip(next(calm) + half * rng.standard_normal(spec.size))
