# SPDX-License-Identifier: Apache-2.0
"""Episodes that a model is judged by are none that any dataset could hold."""

from __future__ import annotations

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.collect.fresh import fresh_episodes
from smwm_ros.collect.record import begin_episode
from smwm_ros.interfaces import Array, Frame
from worlds import Line

SETTINGS = config.Arena(length=4, policy='random', seed=7)
EPISODES, SEEDS = 50, range(10)  # of data that is collected with each of these seeds


class Noted(Line):
    """An arena that notes the seeds of its episodes."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = list[int]()

    def reset(self, seed: int) -> Frame:
        """Begin an episode, and note its seed."""
        self.seeds.append(seed)
        return super().reset(seed)


def judged_by(seed: int) -> tuple[list[int], list[Array]]:
    """Return the seeds and the measured places of the episodes to judge by."""
    arena = Noted()
    episodes = fresh_episodes(arena, SETTINGS, 20, seed)
    return arena.seeds, episodes


def test_no_training_seed_gives_an_episode_of_an_evaluation() -> None:
    arena = Noted()
    for seed in SEEDS:
        settings = config.Arena(length=4, policy='random', seed=seed)
        for number in range(EPISODES):
            begin_episode(settings, arena, number)
    assert len(set(arena.seeds)) == EPISODES * len(SEEDS)
    for seed in SEEDS:
        seeds, episodes = judged_by(seed)
        assert not set(seeds) & set(arena.seeds)
        assert len({places.tobytes() for places in episodes}) == len(episodes)


@pytest.mark.parametrize('seed', [0, 3])
def test_a_seed_gives_its_episodes_again_and_no_other_seed_does(seed: int) -> None:
    seeds, episodes = judged_by(seed)
    again, same = judged_by(seed)
    assert seeds == again
    assert all(np.array_equal(one, other) for one, other in zip(episodes, same, strict=True))
    assert [len(places) for places in episodes] == [SETTINGS.length + 1] * 20
    assert not set(seeds) & set(judged_by(seed + 1)[0])
