# SPDX-License-Identifier: Apache-2.0
"""Who drives while data is collected: endless streams of raw actions."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, sqrt

import numpy as np
from smwm_ros.errors import ArenaError, did_you_mean
from smwm_ros.interfaces import ActionSpec, Arena, Array


def driver(policy: str, arena: Arena, episode: int, rng: np.random.Generator) -> Iterator[Array]:
    """Return who drives an episode: by the mixed policy, expert and random take turns."""
    if policy == 'mixed':
        policy = ('expert', 'random')[episode % 2]
    if policy == 'random':
        return random_walk(arena.spec, rng)
    if policy == 'expert':
        return noisy_expert(arena, rng)
    if policy == 'restless':
        return restless_expert(arena, rng)
    raise ArenaError(f"'{policy}': no such policy; {did_you_mean(policy, POLICIES)}")


POLICIES = ('expert', 'restless', 'random', 'mixed')


def random_walk(
    spec: ActionSpec, rng: np.random.Generator, spread: float = 0.7, memory: float = 0.5
) -> Iterator[Array]:
    """
    Yield Ornstein-Uhlenbeck noise: smooth, so that it gets somewhere, and forgetful.

    The spread is a share of half the action range, the memory is in seconds.
    """
    low, high = np.array(spec.low), np.array(spec.high)
    middle, half = (low + high) / 2, (high - low) / 2
    keep = exp(-spec.dt / memory)
    noise = rng.standard_normal(spec.size)
    while True:
        yield spec.clip(middle + spread * half * noise)
        noise = keep * noise + sqrt(1 - keep**2) * rng.standard_normal(spec.size)


def noisy_expert(arena: Arena, rng: np.random.Generator) -> Iterator[Array]:
    """Yield the expert's actions, disturbed; a goal that is reached gives way to a new one."""
    noise = random_walk(arena.spec, rng, spread=0.3, memory=0.3)
    while True:
        if arena.success():
            arena.aim(arena.sample(rng))
        yield arena.spec.clip(arena.expert() + next(noise))


def restless_expert(arena: Arena, rng: np.random.Generator) -> Iterator[Array]:
    """
    Yield the noisy expert's actions, and every now and then others for less than a second.

    A planner tries what no expert does: jerks, hesitation, letting go on the way. A model that has
    never seen what comes of it believes the best.
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
