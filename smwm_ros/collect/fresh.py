# SPDX-License-Identifier: Apache-2.0
"""Fresh episodes for an evaluation, which are in no dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from smwm_ros.collect.record import begin_episode
from smwm_ros.config import Arena as ArenaConfig
from smwm_ros.interfaces import Arena, Array
from smwm_ros.reporting import NoProgress, ShowProgress

LAST_SEED = 2**31 - 1  # fresh episodes count down from here; users count up from 0


def fresh_episodes(
    arena: Arena,
    settings: ArenaConfig,
    count: int,
    seed: int,
    progress: ShowProgress = NoProgress,
) -> list[Array]:
    """Run the collection policy with separate seeds; return the states (L, P) of each episode."""
    settings = replace(settings, seed=LAST_SEED - seed)
    episodes = []
    for number in progress(range(count), desc='fresh episodes', unit='episode'):
        frame, actions = begin_episode(settings, arena, number)
        states = [frame.state]
        for _ in range(settings.length):
            states.append(arena.step(next(actions)).state)
        episodes.append(np.stack(states))
    return episodes
