# SPDX-License-Identifier: Apache-2.0
"""
Draw the attempts of a run that missed their goals, for docs/failures.md.

    python tools/failures.py runs/push_t push_t docs/failures_push_t.jpg

Each row is one attempt: the goal, then the scene at equal intervals from start to end. Start and
goal are those of `smwm evaluate`. Further words set knobs, such as evaluate.pairs=20.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
import sys

import cv2
import numpy as np
from smwm_ros.arenas import arena_of
from smwm_ros.evaluation.agents import PlannerAgent
from smwm_ros.evaluation.closed_loop import Outcome, run_pairs
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.interfaces import Arena, Array
from smwm_ros.load import config_for_run
from smwm_ros.model.checkpoint import load
from smwm_ros.planning.pilot import Pilot
from smwm_ros.progress import show_progress
from smwm_ros.verbs.evaluation_pairs import draw

SIZE = 112  # of a picture [px]
MOMENTS = 7  # of an attempt
MOST = 8  # rows
GAP = 6  # between the goal and the attempt [px]


def main(run: str, name: str, file: str, *knobs: str) -> None:
    """Evaluate a run, and draw the attempts that failed."""
    checkpoint = load(Path(run))
    words = [*knobs, f'arena.image_size={checkpoint.image_size}']
    config = config_for_run(name, words, checkpoint.planner)
    with ExitStack() as opened:
        lanes = [arena_of(config) for _ in range(config.evaluate.lanes)]
        for lane in lanes:
            opened.callback(lane.close)
        ((protocol, pairs, _),) = draw(config, [config.evaluate.offset], None, lanes[0])
        agent = PlannerAgent(Pilot(checkpoint, config.planner), protocol.execute, protocol.delay)
        outcomes = run_pairs(lanes, pairs, agent, protocol.budget, name, 1, show_progress)
        missed = [both for both in zip(pairs, outcomes, strict=True) if not both[1].success]
        if not missed:
            sys.exit(f'{run} reached all of {len(pairs)} goals')
        sheet = np.vstack([drawn(lanes[0], *both) for both in missed[:MOST]])
    cv2.imwrite(file, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f'{file}: {min(len(missed), MOST)} of {len(missed)} misses, {len(pairs)} goals')


def drawn(arena: Arena, pair: Pair, outcome: Outcome) -> Array:
    """Draw the goal and an attempt, from left to right."""
    arena.reset(pair.start_row)
    steps = np.linspace(0, len(outcome.path) - 1, MOMENTS).round().astype(int)
    states = [pair.goal_state, *(np.asarray(outcome.path[step], np.float32) for step in steps)]
    views = []
    for state in states:
        arena.set_state(state)
        views.append(arena.render(SIZE))
    views.insert(1, np.full((SIZE, GAP, 3), 255, np.uint8))
    return np.hstack(views)


if __name__ == '__main__':
    main(*sys.argv[1:])
