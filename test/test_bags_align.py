# SPDX-License-Identifier: Apache-2.0
"""The grid is causal, never bridges a gap, and counts all that it leaves out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from properties import examples
import pytest
from smwm_ros.bags.converting.ages import Ages
from smwm_ros.bags.converting.align import align, AlignedRows, Track, ViewTrack
from smwm_ros.bags.converting.grid import FrameGate, ticks
from smwm_ros.bags.reading.clock import choose_clock, choose_clocks, Stamps
from smwm_ros.config import Dataset
from smwm_ros.errors import BagError

DT = 100  # [ns]: everything here happens within a few microseconds
KNOBS: dict[str, Any] = {'action_block': 2, 'min_length': 3, 'max_frame_age': 150e-9, 'hold': 3e-7}
STEPS = st.lists(st.integers(1, 400), min_size=0, max_size=60)
NOTHING = Track(np.zeros(0, np.int64), np.zeros((0, 0)))


def rows(
    frames: Any, commands: dict[int, float], states: Track = NOTHING, bad: int = -1, **knobs: Any
) -> AlignedRows:
    """Align frames at some stamps with commands {stamp: value}."""
    stamps = np.array(sorted(commands), np.int64)
    values = np.array([[commands[stamp]] for stamp in sorted(commands)], float).reshape(-1, 1)
    frames = np.array(frames, np.int64)
    good = np.arange(len(frames)) != bad
    config = Dataset(**{**KNOBS, **knobs})
    return align(frames, good, Track(stamps, values), states, DT, config)


@examples(300)
@given(STEPS, st.integers(1, 250), st.integers(0, 250))
def test_the_gate_lets_through_exactly_the_frames_of_the_grid(
    steps: list[int], dt: int, gap: int
) -> None:
    frames = np.cumsum([1000, *steps])
    gate = FrameGate(dt, gap)
    needed = [*[gate.next(int(stamp)) for stamp in frames][1:], gate.end()]
    assert np.flatnonzero(needed).tolist() == sorted(set(ticks(frames, dt, gap)[1].tolist()))


@examples(300)
@given(STEPS, st.integers(1, 250), st.integers(0, 250), st.booleans())
def test_the_frame_of_a_tick_is_the_last_one_before_it_and_never_old(
    steps: list[int], dt: int, gap: int, shift: bool
) -> None:
    frames = np.cumsum([1000, *steps])
    stamp, frame, run = ticks(frames, dt, gap, shift)
    assert frames[0] <= stamp[0] < frames[0] + dt
    assert shift or stamp[0] == frames[0]
    age = stamp - frames[frame]
    assert (age >= 0).all()
    assert (age <= gap).all()
    later = frame + 1 < len(frames)
    assert (frames[frame[later] + 1] > stamp[later]).all()
    assert (np.diff(stamp)[np.diff(run) == 0] == dt).all()
    assert (np.diff(stamp)[np.diff(run) != 0] > 0).all()


@examples(200)
@given(STEPS, st.integers(1, 250), st.integers(0, 250))
def test_a_shifted_grid_has_the_same_ticks_and_never_more_repeats(
    steps: list[int], dt: int, gap: int
) -> None:
    frames = np.cumsum([1000, *steps])
    plain, shifted = ticks(frames, dt, gap), ticks(frames, dt, gap, shift=True)
    assert (plain[2] == shifted[2]).all()
    for run in range(plain[2][-1] + 1):
        before, after = (int((np.diff(f[r == run]) == 0).sum()) for _, f, r in (plain, shifted))
        assert after <= before


def test_a_shift_is_no_larger_than_it_must_be() -> None:
    even = np.arange(20) * DT
    assert (ticks(even, DT, 150, shift=True)[0] == even).all()
    late = even + np.where(np.arange(20) % 3, 0, 13)
    stamp, frame, _ = ticks(late, DT, 150, shift=True)
    assert frame.tolist() == list(range(19))
    assert (stamp - late[:19]).max() <= 14


@examples(150)
@given(
    STEPS, st.lists(st.integers(0, 8000), max_size=80), st.integers(0, 30), st.sampled_from([2, 5])
)
def test_every_tick_is_kept_or_dropped_for_one_reason_and_episodes_are_even(
    steps: list[int], heard: list[int], bad: int, shortest: int
) -> None:
    frames = np.cumsum([1000, *steps])
    found = rows(frames, {stamp: float(stamp) for stamp in heard}, bad=bad, min_length=shortest)
    assert len(found.frame) + sum(found.dropped.values()) == len(ticks(frames, DT, 150)[0])
    assert bad not in found.frame
    stops = [0]
    for start, stop in found.episodes:
        assert start == stops[-1]
        assert stop - start >= max(shortest, 3)
        assert (np.diff(found.stamp[start:stop]) == DT).all()
        stops.append(stop)
    assert stops[-1] == len(found.frame)
    age = found.stamp + DT - found.action[:, 0]  # an action is the stamp of its command
    assert (age > 0).all()
    assert (age <= 300 + DT).all()


@pytest.mark.parametrize(
    ('policy', 'expected'), [('last', 3.0), ('first', 1.0), ('mean', 2.0), ('sum', 6.0)]
)
def test_the_action_of_a_tick_comes_from_the_commands_received_in_it(
    policy: str, expected: float
) -> None:
    commands = {0: 0.0, 100: 1.0, 150: 2.0, 199: 3.0, 200: 9.0, 300: 9.0}
    found = rows(range(0, 500, 100), commands, action=policy)
    assert found.action[1, 0] == expected
    assert found.action[0, 0] == 0.0
    assert found.action[2, 0] == 9.0


def test_a_command_is_held_and_then_dropped_or_zero() -> None:
    commands = {0: 1.0, 100: 2.0}
    frames = range(0, 1000, 100)
    found = rows(frames, commands)
    assert found.action[:, 0].tolist() == [1, 2, 2, 2, 2]  # held for 300 ns
    assert (found.counts['actions held'], found.counts['actions set to zero']) == (3, 0)
    assert found.dropped['no command was received in time'] == 5
    found = rows(frames, commands, after_hold='zero')
    assert found.action[:, 0].tolist() == [1, 2, 2, 2, 2, 0, 0, 0, 0, 0]
    assert (found.counts['actions held'], found.counts['actions set to zero']) == (3, 5)
    found = rows(frames, commands, action='sum')
    assert found.action[:, 0].tolist() == [1, 2, 0, 0, 0]


def test_an_action_is_unknown_where_no_command_is_valid_and_costs_no_tick() -> None:
    commands, frames = {300: 1.0, 400: np.nan, 500: 2.0}, range(0, 1200, 100)
    found = rows(frames, commands, after_hold='unknown')
    nan = float('nan')
    expected = [nan, nan, nan, 1, nan, 2, 2, 2, 2, nan, nan, nan]
    np.testing.assert_array_equal(found.action[:, 0], expected)
    assert found.episodes == [(0, 12)]
    assert sum(found.dropped.values()) == 0
    assert found.counts['ticks without a known action'] == 7
    assert found.counts['actions set to zero'] == 0
    for nothing in (rows(frames, {}, after_hold='unknown'), rows(frames, commands, action='none')):
        assert np.isnan(nothing.action).all()
        assert nothing.episodes == [(0, 12)]
        assert nothing.counts['ticks without a known action'] == 12
    assert rows(frames, commands).counts['ticks without a known action'] == 0


def test_a_change_of_state_that_was_not_measured_may_be_unknown() -> None:
    measured = {stamp: float(stamp) for stamp in range(0, 2000, 100) if not 700 <= stamp < 1200}
    frames = range(0, 2000, 100)
    found = rows(frames, measured, action='next_state_delta', after_hold='unknown')
    known = np.flatnonzero(np.isfinite(found.action[:, 0]))
    assert (100 * known).tolist() == [*range(0, 600, 100), *range(1200, 1900, 100)]
    assert found.episodes == [(0, 20)]


def test_nothing_is_an_action_before_the_first_command() -> None:
    found = rows(range(0, 1000, 100), dict.fromkeys(range(450, 1000, 100), 1.0))
    assert found.stamp.tolist() == list(range(400, 1000, 100))


def test_what_is_not_a_number_is_dropped() -> None:
    commands = dict.fromkeys(range(0, 1000, 100), 1.0)
    found = rows(range(0, 1000, 100), {**commands, 500: np.nan})
    assert found.dropped['the command is not a number'] == 1
    assert found.episodes == [(0, 5), (5, 9)]
    stamps = np.arange(0, 1000, 100)
    states = Track(stamps, np.where(stamps == 300, np.inf, 0.0)[:, None])
    found = rows(range(0, 1000, 100), commands, states)
    assert found.episodes == [(0, 10)], 'a state that is not a number is unknown, no more'
    assert np.flatnonzero(np.isnan(found.state[:, 0])).tolist() == [3]


def test_a_state_is_as_fresh_as_a_frame_or_unknown_and_costs_no_tick() -> None:
    commands = dict.fromkeys(range(0, 1000, 100), 1.0)
    stamps = np.array([0, 90, 200, 310, 390, 500, 600])
    found = rows(range(0, 1000, 100), commands, Track(stamps, np.stack([stamps, -stamps], 1)))
    expected = [0, 90, 200, 200, 390, 500, 600, 600, np.nan, np.nan]
    np.testing.assert_array_equal(found.state[:, 0], expected)
    np.testing.assert_array_equal(found.state[:, 1], -np.array(expected))
    assert found.episodes == [(0, 10)]
    assert found.counts['ticks without a measured state'] == 2
    without = rows(range(0, 1000, 100), commands)
    assert np.array_equal(found.frame, without.frame)
    assert np.array_equal(found.action, without.action)
    assert found.dropped == without.dropped
    assert without.counts['ticks without a measured state'] == 0


def test_where_the_change_of_the_state_is_the_action_a_tick_without_it_is_dropped() -> None:
    measured = {stamp: float(stamp) for stamp in range(0, 2000, 100) if not 700 <= stamp < 1200}
    stamps = np.array(sorted(measured))
    states = Track(stamps, stamps[:, None].astype(float))
    found = rows(range(0, 2000, 100), measured, states, action='next_state_delta')
    assert np.isfinite(found.state).all()
    assert found.stamp.tolist() == [*range(0, 600, 100), *range(1200, 1900, 100)]
    assert found.dropped['the change of state was not measured'] == 7


@examples(100)
@given(st.lists(st.integers(0, 400), max_size=80), st.integers(0, 80), st.integers(0, 300))
def test_ages_are_counted_the_same_in_one_piece_or_two(
    ages: list[int], cut: int, limit: int
) -> None:
    whole, parts = Ages(limit / 1e9), Ages(limit / 1e9)
    every = np.array(ages, np.int64)
    whole.add(every, 0)
    parts.add(every[:cut], 0)
    parts.add(every[cut:], len(every[:cut]))
    about = whole.about()
    assert about == parts.about()
    within = every[every <= limit]
    assert (sum(about['counts']), about['beyond']) == (len(within), (every > limit).sum())
    assert all(every[row] == round(1e9 * age) > 0 for row, age in about['worst'])
    worst = sorted((within[within > 0]).tolist(), reverse=True)[:10]
    assert [every[row] for row, _ in about['worst']] == worst


def test_no_frames_give_no_rows() -> None:
    found = rows([], {0: 1.0})
    assert (len(found.frame), found.episodes) == (0, [])


def test_marks_cut_runs_and_what_lies_outside_is_dropped() -> None:
    frames = np.arange(0, 2000, 100)
    track = Track(np.array([250, 850, 1450]), np.array([[0.0], [1.0], [-1.0]]))
    config = Dataset(**KNOBS)
    commands = Track(frames, np.zeros((20, 1)))
    found = align(
        frames, np.ones(20, bool), commands, Track(frames, np.zeros((20, 0))), DT, config,
        marks=track,
    )  # fmt: skip
    spans = [(found.stamp[a], found.stamp[b - 1]) for a, b in found.episodes]
    assert spans == [(300, 800), (900, 1400)]
    assert found.dropped['outside of the marked episodes'] == 3 + 5


def test_a_change_of_state_needs_fresh_measurements_on_both_sides() -> None:
    frames = range(0, 1500, 100)
    measured = {
        stamp: float(stamp**2) for stamp in [*range(-50, 700, 100), *range(950, 1600, 100)]
    }
    found = rows(frames, measured, action='next_state_delta')
    kept = found.stamp.tolist()
    assert kept == [0, 100, 200, 300, 400, 500, 1000, 1100, 1200, 1300, 1400]
    stamps = np.array(sorted(measured))
    values = np.array([measured[s] for s in stamps])
    expected = np.interp(found.stamp + DT, stamps, values) - np.interp(found.stamp, stamps, values)
    np.testing.assert_allclose(found.action[:, 0], expected)
    assert found.dropped['the change of state was not measured'] == 4


def test_a_further_camera_must_be_as_fresh_as_the_first() -> None:
    frames = np.arange(0, 1000, 100)
    commands = Track(frames, np.zeros((10, 1)))
    view = ViewTrack(
        '/left', np.array([-30, 70, 170, 470, 570, 670, 770, 870]), np.arange(8) != 5, np.zeros(8)
    )
    found = align(
        frames, np.ones(10, bool), commands, NOTHING, DT, Dataset(**{**KNOBS, 'min_length': 2}),
        others=[view],
    )  # fmt: skip
    assert found.dropped['no frame of /left in time'] == 1
    assert found.dropped['the frame of /left cannot be decoded'] == 1
    assert (found.stamp - view.stamps[found.others[0]] <= 150).all()


SECONDS = np.arange(20) * 10**9
WALL = SECONDS + 1_700_000_000 * 10**9


def test_sound_headers_order_the_messages() -> None:
    clock = choose_clock('auto', {'/a': Stamps(WALL, WALL + 10**7), '/b': Stamps(WALL, WALL)})
    assert clock.base == 'header'


def test_the_clock_of_one_topic_binds_those_left_to_choose() -> None:
    samples = {'/a': Stamps(WALL, WALL + 10**7), '/b': Stamps(WALL, WALL), '/c': None}
    two = {'/a': samples['/a'], '/b': samples['/b']}
    found = choose_clocks({'/a': 'header', '/b': 'auto'}, two)
    assert found.bases == {'/a': 'header', '/b': 'header'}
    found = choose_clocks({'/a': 'receive', '/b': 'auto'}, two)
    assert set(found.bases.values()) == {'receive'}
    found = choose_clocks({'/a': 'header', '/b': 'header', '/c': 'receive'}, samples)
    assert found.about()['base'] == 'mixed'
    assert '/c by receive' in found.why
    with pytest.raises(BagError, match='set header or receive for /b too'):
        choose_clocks({'/a': 'header', '/b': 'auto', '/c': 'receive'}, samples)
    with pytest.raises(BagError, match='messages of /c have no header; to mix clocks, set'):
        choose_clocks({'/a': 'header', '/b': 'header', '/c': 'auto'}, samples)


def test_a_clock_that_jumps_is_still_one_clock() -> None:
    jumped = np.where(np.arange(20) < 9, WALL, WALL - 500 * 10**9)
    for late in (0, 3 * 10**7):
        samples = {'/a': Stamps(jumped, WALL), '/b': Stamps(jumped, WALL + late)}
        assert choose_clock('auto', samples).base == 'header'


def test_a_foreign_clock_that_all_headers_share_is_used_and_reported() -> None:
    simulated = Stamps(SECONDS + 10**9, WALL)
    clock = choose_clock('auto', {'/a': simulated, '/b': simulated})
    assert clock.base == 'header'
    assert 'another clock than the recorder' in clock.why
    slow = Stamps(WALL[0] + SECONDS // 2, WALL)
    assert 'varies by 9.5 s' in choose_clock('auto', {'/a': slow, '/b': slow}).why


@given(st.floats(0.1, 10.0), st.lists(st.integers(1, 18), min_size=4, max_size=18, unique=True))
def test_a_clock_that_all_headers_share_may_run_at_any_speed(
    speed: float, looks: list[int]
) -> None:
    seconds = np.array(sorted(looks)) * 10**9
    stamps = [Stamps((at * speed).astype(np.int64), WALL[0] + at) for at in (SECONDS, seconds)]
    first, second = (item._replace(header=item.header + 10**9) for item in stamps)
    assert choose_clock('auto', {'/a': first, '/b': second}).base == 'header'
    assert choose_clock('auto', {'/b': second, '/a': first}).base == 'header'


def test_headers_that_agree_but_for_a_delay_say_so() -> None:
    late = Stamps(WALL - 3 * 10**8, WALL)
    clock = choose_clock('auto', {'/a': late, '/b': Stamps(WALL, WALL)})
    assert clock.why == 'all topics have valid header stamps; those of /a are 0.3 s behind /b'


@pytest.mark.parametrize(
    ('other', 'why'),
    [
        (None, '/b have no header'),
        (Stamps(np.zeros_like(WALL), WALL), 'header stamps of /b are zero'),
        (Stamps(np.full_like(WALL, WALL[0]), WALL), 'header stamps of /b are all the same'),
        (Stamps(SECONDS + 1, WALL), '/a and /b are up to 1.7e+09 s apart'),
        (Stamps(WALL - 2 * 10**9, WALL), '/a and /b are up to 2 s apart'),
        (Stamps(WALL + SECONDS // 5, WALL), '/a and /b are up to 3.8 s apart'),
    ],
)
def test_headers_that_cannot_be_trusted_give_way_to_receive_time(
    other: Stamps | None, why: str
) -> None:
    samples = {'/a': Stamps(WALL, WALL), '/b': other}
    clock = choose_clock('auto', samples)
    assert clock.base == 'receive'
    assert why in clock.why
    with pytest.raises(BagError, match='time=header cannot be'):
        choose_clock('header', samples)
    assert choose_clock('receive', samples).base == 'receive'
