# SPDX-License-Identifier: Apache-2.0
"""Draw the pairs of start and goal for verbs, from a dataset or from fresh episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TYPE_CHECKING

from smwm_ros.config import Config, Evaluate

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.pairs import Pair
    from smwm_ros.interfaces import Arena

MARGIN = 100  # extra raw steps of a fresh episode, so that pairs differ
PAIRS_PER_EPISODE = 4


class Drawn(NamedTuple):
    """The pairs of one offset."""

    protocol: Evaluate  # the budget scales with the offset
    pairs: list[Pair]
    starts: float  # share of the frames of all episodes that may be starts


def draw(
    config: Config,
    offsets: Sequence[int],
    dataset: TransitionDataset | None,
    arena: Arena,
    strict: bool = False,
    unsolved: bool = False,
) -> list[Drawn]:
    """
    Draw the pairs of each offset.

    If strict, others follow for those that are solved at the start; if unsolved, they replace
    those.
    """
    from smwm_ros.collect.fresh import fresh_episodes
    from smwm_ros.evaluation.closed_loop import solved_at_start
    from smwm_ros.evaluation.pairs import draw_pairs, fresh_pairs, share_of_starts
    from smwm_ros.progress import show_progress

    base = config.evaluate
    protocols = [
        replace(base, offset=offset, budget=max(1, round(base.budget * offset / base.offset)))
        for offset in offsets
    ]
    solved = partial(solved_at_start, arena) if strict or unsolved else None
    if dataset:
        lengths = [one.stop - one.start for one in dataset.episodes if one.split == 'val']
        found = [draw_pairs(dataset, protocol, solved) for protocol in protocols]
    else:
        length = max(config.arena.length, max(offsets) + MARGIN)
        # Few pairs per episode: pairs of one episode are correlated.
        count = max(1, base.pairs // PAIRS_PER_EPISODE)
        settings = replace(config.arena, length=length)
        episodes = fresh_episodes(arena, settings, count, base.seed, show_progress)
        lengths = list(map(len, episodes))
        found = [fresh_pairs(episodes, protocol, solved) for protocol in protocols]
    if solved and unsolved:
        found = [[pair for pair in pairs if not solved(pair)] for pairs in found]
    return [
        Drawn(protocol, pairs, share_of_starts(lengths, protocol.offset))
        for protocol, pairs in zip(protocols, found, strict=True)
    ]
