# SPDX-License-Identifier: Apache-2.0
"""
Choose the clock of a bag: the header stamps of its messages, or their receive times.

All topics of a bag use the same clock. Two clocks would shift the actions against the frames by
their difference, and the model would learn effects that come before their causes. Only the user
may mix clocks, topic by topic, and only where the clocks agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.errors import BagError
from smwm_ros.interfaces import Array

MAX_CLOCK_DIFFERENCE = 0.5  # latency included [s]
# A clock that is further ahead than this, both of the recorder and of another clock, is wrong [s].
MAX_AHEAD = 0.1
_WORTH_REPORTING = 0.1  # smaller offsets and drifts are not reported [s]


class Stamps(NamedTuple):
    """Header stamps and receive times of some messages of a topic, sampled over the bag."""

    header: Array  # (n,) int64 [ns]
    receive: Array  # (n,) int64 [ns]

    def offset(self) -> Array:
        """Return header stamp minus receive time (n,) [s]."""
        ahead: Array = (self.header - self.receive) / 1e9
        return ahead


class Clock(NamedTuple):
    """The chosen clock, and why."""

    base: str  # 'header' or 'receive'
    why: str


class Clocks(NamedTuple):
    """The clock of each topic, and why."""

    bases: dict[str, str]  # topic -> 'header' or 'receive'
    why: str

    def about(self) -> dict[str, Any]:
        """Return the clocks as plain data for meta.json."""
        bases = set(self.bases.values())
        base = bases.pop() if len(bases) == 1 else 'mixed'
        return {'base': base, 'why': self.why, 'topics': self.bases}


def choose_clocks(wanted: Mapping[str, str], samples: Mapping[str, Stamps | None]) -> Clocks:
    """Choose a clock for each topic; the samples of a topic without headers are None."""
    if len(set(wanted.values())) == 1:
        clock = choose_clock(next(iter(wanted.values())), samples)
        return Clocks(dict.fromkeys(wanted, clock.base), clock.why)
    fixed = {topic: base for topic, base in wanted.items() if base != 'auto'}
    free = [topic for topic in wanted if topic not in fixed]
    bases = dict(fixed)
    if free:
        if len(set(fixed.values())) > 1:
            raise BagError(
                f'the configuration mixes clocks ({_topic_list(fixed)}); '
                f'set header or receive for {", ".join(free)} too'
            )
        bases.update(dict.fromkeys(free, next(iter(fixed.values()))))
    by_header = {topic: samples[topic] for topic, base in bases.items() if base == 'header'}
    flaw = header_problem(by_header)
    if flaw:
        raise BagError(
            f'{_topic_list(fixed)} as configured, but {flaw}; '
            f'to mix clocks, set header or receive for each topic'
        )
    if len(by_header) < len(bases):
        return Clocks(
            bases, f'mixed as configured: {_topic_list(bases)}{_mixed_clocks_remark(by_header)}'
        )
    return Clocks(bases, f'{_topic_list(fixed)} as configured, and the others agree')


def choose_clock(wanted: str, samples: Mapping[str, Stamps | None]) -> Clock:
    """Choose one clock for all topics; the samples of a topic without headers are None."""
    if wanted == 'receive':
        return Clock('receive', 'as configured')
    flaw = header_problem(samples)
    if wanted == 'header':
        if flaw:
            raise BagError(f'dataset.time=header cannot be used: {flaw}; set auto or receive')
        return Clock('header', 'as configured')
    flaw = flaw or _header_in_future(samples)
    if flaw:
        return Clock('receive', flaw)
    return Clock('header', f'all topics have valid header stamps{_remarks(samples)}')


def header_problem(samples: Mapping[str, Stamps | None]) -> str:
    """Return why the header stamps of these topics cannot be used, or ''."""
    for topic, stamps in samples.items():
        if stamps is None:
            return f'messages of {topic} have no header'
        if (stamps.header <= 0).any():
            return f'header stamps of {topic} are zero'
        if len(stamps.header) > 1 and (stamps.header == stamps.header[0]).all():
            return f'header stamps of {topic} are all the same'
    known = [(name, item) for name, item in samples.items() if item]
    for topic, stamps in known[1:]:
        first, reference = known[0]
        apart = _largest_difference(reference, stamps)
        if apart > MAX_CLOCK_DIFFERENCE:
            return f'header clocks of {first} and {topic} are up to {apart:.3g} s apart'
    return ''


def _header_in_future(samples: Mapping[str, Stamps | None]) -> str:
    """Return which topic has header stamps in the future while another has not, or ''."""
    ahead = sorted(
        (float(np.median(item.offset())), name) for name, item in samples.items() if item
    )
    (low, other), (high, topic) = ahead[0], ahead[-1]
    late, early = samples[other], samples[topic]
    assert late is not None
    assert early is not None
    if (
        high <= MAX_AHEAD
        or np.median(early.offset() - _interpolated_offset(late, early.receive)) <= MAX_AHEAD
    ):
        return ''
    return (
        f'header stamps of {topic} are {high:.3g} s ahead of receive time, '
        f'those of {other} {low:.3g} s'
    )


def _largest_difference(reference: Stamps, stamps: Stamps) -> float:
    """Return the largest difference between two clocks [s]."""
    # Between two samples of the reference, its clock either drifts evenly or jumps. The offset is
    # interpolated for the first case, and taken from the nearest sample for the second.
    between = (reference.receive[1:] + reference.receive[:-1]) // 2
    nearest = reference.offset()[np.searchsorted(between, stamps.receive)]
    offset, interpolated = stamps.offset(), _interpolated_offset(reference, stamps.receive)
    return float(np.minimum(np.abs(offset - nearest), np.abs(offset - interpolated)).max())


def _interpolated_offset(stamps: Stamps, receive: Array) -> Array:
    """Return the header offset at receive times (n,) [s], linear between the samples."""
    offset = stamps.offset()
    if len(offset) < 2:
        return np.full(len(receive), offset[0])
    after = np.clip(np.searchsorted(stamps.receive, receive), 1, len(offset) - 1)
    before = after - 1
    span = np.maximum(stamps.receive[after] - stamps.receive[before], 1)
    share = (receive - stamps.receive[before]) / span  # extrapolates beyond the first and last
    interpolated: Array = offset[before] + share * (offset[after] - offset[before])
    return interpolated


def _remarks(samples: Mapping[str, Stamps | None]) -> str:
    """Return remarks about header clocks that agree with each other, or ''."""
    offsets = {topic: stamps.offset() for topic, stamps in samples.items() if stamps}
    usual = {topic: float(np.median(offset)) for topic, offset in offsets.items()}
    moved = max(float(np.ptp(offset)) for offset in offsets.values())
    last, first = min(usual, key=usual.__getitem__), max(usual, key=usual.__getitem__)
    words = []
    if min(map(abs, usual.values())) > 3600:
        words.append('; they are from another clock than the recorder, such as simulated time')
    if usual[first] - usual[last] > _WORTH_REPORTING:
        words.append(f'; those of {last} are {usual[first] - usual[last]:.3g} s behind {first}')
    if moved > _WORTH_REPORTING:
        words.append(f'; their offset to receive time varies by {moved:.3g} s')
    return ''.join(words)


def _mixed_clocks_remark(by_header: Mapping[str, Stamps | None]) -> str:
    """Return how far apart mixed clocks are; raise where it is too far."""
    words = ''
    for topic, stamps in by_header.items():
        assert stamps is not None
        offset = stamps.offset()
        if np.abs(offset).max() > MAX_CLOCK_DIFFERENCE:
            raise BagError(
                f'header stamps of {topic} are up to {np.abs(offset).max():.3g} s from receive '
                f'time, expected at most {MAX_CLOCK_DIFFERENCE:g} s to mix them with topics that '
                'use receive time'
            )
        words += f'; header stamps of {topic} are {np.median(offset):+.3g} s from receive time'
        words += f', which varies by {np.ptp(offset):.3g} s'
    return words


def _topic_list(bases: Mapping[str, str]) -> str:
    return ', '.join(f'{topic} by {base}' for topic, base in bases.items())


def nanoseconds(seconds: float) -> int:
    """Convert seconds to whole nanoseconds."""
    return round(seconds * 1e9)
