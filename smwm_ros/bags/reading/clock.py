# SPDX-License-Identifier: Apache-2.0
"""
Which clock orders the messages of a bag: the stamps in their headers, or when they were received.

All topics of a bag go by the same clock: an action that is shifted against its frame by the
difference of two clocks would teach the model a world in which causes follow effects. Only the
user may mix clocks, topic by topic, and only where they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.errors import BagError
from smwm_ros.interfaces import Array

AGREE = 0.5  # two clocks may be this far apart, latency included [s]
# A clock is wrong that is further ahead than this, of the recorder and of another [s].
FUTURE = 0.1
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


class Clocks(NamedTuple):
    """The clock of each topic, and why."""

    bases: dict[str, str]  # topic -> 'header' or 'receive'
    why: str

    def about(self) -> dict[str, Any]:
        """Return what meta.json tells of the clocks."""
        bases = set(self.bases.values())
        base = bases.pop() if len(bases) == 1 else 'mixed'
        return {'base': base, 'why': self.why, 'topics': self.bases}


def choose_clocks(wanted: Mapping[str, str], samples: Mapping[str, Stamps | None]) -> Clocks:
    """Choose a clock for each topic; a topic without a header has no samples."""
    if len(set(wanted.values())) == 1:
        clock = choose_clock(next(iter(wanted.values())), samples)
        return Clocks(dict.fromkeys(wanted, clock.base), clock.why)
    fixed = {topic: base for topic, base in wanted.items() if base != 'auto'}
    free = [topic for topic in wanted if topic not in fixed]
    bases = dict(fixed)
    if free:
        if len(set(fixed.values())) > 1:
            raise BagError(
                f'the clocks of {_list(fixed)} are mixed by configuration; '
                f'say header or receive for {", ".join(free)} too'
            )
        bases.update(dict.fromkeys(free, next(iter(fixed.values()))))
    by_header = {topic: samples[topic] for topic, base in bases.items() if base == 'header'}
    flaw = header_flaw(by_header)
    if flaw:
        raise BagError(
            f'{_list(fixed)} as configured, but {flaw}; '
            f'to mix clocks, say header or receive for each topic'
        )
    if len(by_header) < len(bases):
        return Clocks(bases, f'mixed as configured: {_list(bases)}{_mixture(by_header)}')
    return Clocks(bases, f'{_list(fixed)} as configured, and the others agree')


def choose_clock(wanted: str, samples: Mapping[str, Stamps | None]) -> Clock:
    """Choose one clock for all topics; a topic without a header has no samples."""
    if wanted == 'receive':
        return Clock('receive', 'as configured')
    flaw = header_flaw(samples)
    if wanted == 'header':
        if flaw:
            raise BagError(f'dataset.time=header cannot be: {flaw}; use auto or receive')
        return Clock('header', 'as configured')
    flaw = flaw or _future(samples)
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
    known = [(name, item) for name, item in samples.items() if item]
    for topic, stamps in known[1:]:
        first, reference = known[0]
        apart = _apart(reference, stamps)
        if apart > AGREE:
            return f'headers of {first} and {topic} are up to {apart:.3g} s apart'
    return ''


def _future(samples: Mapping[str, Stamps | None]) -> str:
    """Name the headers that lie in the future while others do not, or return nothing."""
    ahead = sorted(
        (float(np.median(item.offset())), name) for name, item in samples.items() if item
    )
    (low, other), (high, topic) = ahead[0], ahead[-1]
    late, early = samples[other], samples[topic]
    assert late is not None
    assert early is not None
    if high <= FUTURE or np.median(early.offset() - _evenly(late, early.receive)) <= FUTURE:
        return ''
    return (
        f'headers of {topic} are {high:.3g} s ahead of when they were received, '
        f'those of {other} {low:.3g} s'
    )


def _apart(reference: Stamps, stamps: Stamps) -> float:
    """Return by how much two clocks differ at most [s]."""
    # Where the other topic was not looked at, its clock either runs on evenly, if fast or slow,
    # or jumps, and then the nearest look tells.
    between = (reference.receive[1:] + reference.receive[:-1]) // 2
    nearest = reference.offset()[np.searchsorted(between, stamps.receive)]
    offset, even = stamps.offset(), _evenly(reference, stamps.receive)
    return float(np.minimum(np.abs(offset - nearest), np.abs(offset - even)).max())


def _evenly(stamps: Stamps, receive: Array) -> Array:
    """Return how far ahead headers would be (n,) [s], if their clock ran evenly between looks."""
    offset = stamps.offset()
    if len(offset) < 2:
        return np.full(len(receive), offset[0])
    after = np.clip(np.searchsorted(stamps.receive, receive), 1, len(offset) - 1)
    before = after - 1
    span = np.maximum(stamps.receive[after] - stamps.receive[before], 1)
    share = (receive - stamps.receive[before]) / span  # beyond the first and last look, too
    even: Array = offset[before] + share * (offset[after] - offset[before])
    return even


def _remarks(samples: Mapping[str, Stamps | None]) -> str:
    """Tell what is odd about headers that agree with each other."""
    offsets = {topic: stamps.offset() for topic, stamps in samples.items() if stamps}
    usual = {topic: float(np.median(offset)) for topic, offset in offsets.items()}
    moved = max(float(np.ptp(offset)) for offset in offsets.values())
    last, first = min(usual, key=usual.__getitem__), max(usual, key=usual.__getitem__)
    words = []
    if min(map(abs, usual.values())) > 3600:
        words.append('; another clock than the recorder, such as that of a simulation')
    if usual[first] - usual[last] > _TELL:
        words.append(f'; those of {last} are {usual[first] - usual[last]:.3g} s behind {first}')
    if moved > _TELL:
        words.append(f'; they move by {moved:.3g} s against the recorder')
    return ''.join(words)


def _mixture(by_header: Mapping[str, Stamps | None]) -> str:
    """Tell how far apart two clocks are that are mixed, or refuse where it is too far."""
    words = ''
    for topic, stamps in by_header.items():
        assert stamps is not None
        offset = stamps.offset()
        if np.abs(offset).max() > AGREE:
            raise BagError(
                f'headers of {topic} are up to {np.abs(offset).max():.3g} s from when they were '
                f'received, too far to be mixed with topics that go by receive time'
            )
        words += f'; headers of {topic} are {np.median(offset):+.3g} s from receive time'
        words += f' and move by {np.ptp(offset):.3g} s'
    return words


def _list(bases: Mapping[str, str]) -> str:
    return ', '.join(f'{topic} by {base}' for topic, base in bases.items())


def nanoseconds(seconds: float) -> int:
    """Turn seconds into whole nanoseconds."""
    return round(seconds * 1e9)
