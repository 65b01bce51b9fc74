# SPDX-License-Identifier: Apache-2.0
"""
Which clock orders the messages of a bag: the stamps in their headers, or when they were received.

All topics of a bag go by the same clock: an action that is shifted against its frame by the
difference of two clocks would teach the model a world in which causes follow effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from smwm_ros.core.interfaces import Array
from smwm_ros.errors import BagError

AGREE = 0.5  # header clocks of two topics may be this far apart, latency included [s]
_TELL = 0.1  # a drift that is worth telling [s]


class Stamps(NamedTuple):
    """Both stamps of some messages of a topic, taken all over the bag."""

    header: Array  # (n,) int64 [ns]
    receive: Array  # (n,) int64 [ns]

    def offset(self) -> Array:
        """Return how far the header is ahead of the receiver's clock (n,) [s]."""
        ahead: Array = (self.header - self.receive) / 1e9
        return ahead


class Clock(NamedTuple):
    """The clock that was chosen, and why."""

    base: str  # 'header' or 'receive'
    why: str


def choose_clock(wanted: str, samples: Mapping[str, Stamps | None]) -> Clock:
    """Choose one clock for all topics; a topic without a header has no samples."""
    if wanted == 'receive':
        return Clock('receive', 'as configured')
    flaw = header_flaw(samples)
    if wanted == 'header':
        if flaw:
            raise BagError(f'dataset.time=header cannot be: {flaw}; use auto or receive')
        return Clock('header', 'as configured')
    if flaw:
        return Clock('receive', flaw)
    return Clock('header', f'all topics have sound headers{_remarks(samples)}')


def header_flaw(samples: Mapping[str, Stamps | None]) -> str:
    """Say why the headers of these topics cannot order their messages, or nothing."""
    for topic, stamps in samples.items():
        if stamps is None:
            return f'messages of {topic} carry no header'
        if (stamps.header <= 0).any():
            return f'headers of {topic} have no stamp'
        if len(stamps.header) > 1 and (stamps.header == stamps.header[0]).all():
            return f'headers of {topic} all have the same stamp'
    (first, reference), *others = [(name, item) for name, item in samples.items() if item]
    for topic, stamps in others:
        expected = np.interp(stamps.receive, reference.receive, reference.offset())
        apart = float(np.abs(stamps.offset() - expected).max())
        if apart > AGREE:
            return f'headers of {first} and {topic} are up to {apart:.3g} s apart'
    return ''


def _remarks(samples: Mapping[str, Stamps | None]) -> str:
    """Tell what is odd about headers that agree with each other."""
    offsets = np.concatenate([item.offset() for item in samples.values() if item])
    words = []
    if abs(np.median(offsets)) > 3600:
        words.append('; another clock than the recorder, such as that of a simulation')
    if np.ptp(offsets) > _TELL:
        words.append(f'; they move by {np.ptp(offsets):.3g} s against the recorder')
    return ''.join(words)
