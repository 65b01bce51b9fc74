# SPDX-License-Identifier: Apache-2.0
"""Draw docs/arenas.png: every arena with its scripted expert, larger than its camera image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from smwm_ros.arenas import ARENA_NAMES, make_arena

ROOT = Path(__file__).resolve().parent.parent
SIZE = 240  # of a picture [px]
STEPS = (0, 12, 24)  # raw steps of the expert at which it is drawn


def main() -> None:
    """Draw a column for each arena, with time from top to bottom."""
    columns = []
    for name in ARENA_NAMES:
        arena = make_arena(name)
        try:
            arena.reset(3)
            views = []
            for step in range(STEPS[-1] + 1):
                if step in STEPS:
                    views.append(arena.render(SIZE))
                arena.step(arena.spec.clip(arena.expert()))
        finally:
            arena.close()
        columns.append(np.vstack(views))
    picture = np.hstack(columns)
    cv2.imwrite(str(ROOT / 'docs' / 'arenas.png'), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == '__main__':
    main()
