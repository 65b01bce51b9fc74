# SPDX-License-Identifier: Apache-2.0
"""Choose the episodes to train on by their outcome, which was recorded with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from smwm_ros.config import EVERY, FAILURE, NOT_FAILED, SUCCEEDED, SUCCESS
from smwm_ros.data.split import Drive, Episode
from smwm_ros.errors import DatasetError

_WANTED = {EVERY: ('', SUCCESS, FAILURE), NOT_FAILED: ('', SUCCESS), SUCCEEDED: (SUCCESS,)}
_WORDS = {SUCCESS: 'succeeded', FAILURE: 'failed', '': 'without an outcome'}


def choose(
    drives: Sequence[Drive], episodes: Sequence[Episode], outcomes: str, folder: Path
) -> tuple[tuple[Drive, ...], tuple[Episode, ...]]:
    """Return the drives with these outcomes, a choice of train.outcomes, and their episodes."""
    kept = tuple(drive for drive in drives if drive.outcome in _WANTED[outcomes])
    mine = tuple(part for part in episodes if any(d.start <= part.start < d.stop for d in kept))
    for split, name in (('train', 'training'), ('val', 'held-out')):
        had = any(part.split == split for part in episodes)
        if had and not any(part.split == split for part in mine):
            raise DatasetError(
                f'{folder}: train.outcomes={outcomes} leaves no {name} episode: '
                f'{in_words(drives)}; record more, set outcomes (smwm record), or choose another '
                'value'
            )
    return kept, mine


def in_words(drives: Iterable[Drive]) -> str:
    """Return how many drives had each outcome: 3 succeeded, 1 failed."""
    counts = Counter(drive.outcome for drive in drives)
    return ', '.join(f'{counts[key]} {word}' for key, word in _WORDS.items() if counts[key])


def left_out(drives: Iterable[Drive], outcomes: str) -> str:
    """Return how many drives a choice of outcomes leaves out, as text; '' for none."""
    return in_words(drive for drive in drives if drive.outcome not in _WANTED[outcomes])


def about(drive: Drive) -> str:
    """Return outcome and task of a drive as text: failed; task: open the door; '' for neither."""
    outcome = _WORDS[drive.outcome] if drive.outcome else ''
    return '; '.join(filter(None, [outcome, drive.task and f'task: {drive.task}']))
