# SPDX-License-Identifier: Apache-2.0
"""Tests for arenas that differ from episode to episode, for distractors and for shifts."""

from contextlib import closing
import json
import pickle

from contract import check_time_and_draws, drive, equal
import numpy as np
import pytest
from smwm_ros.arenas import arena_of, make_arena
from smwm_ros.arenas.appearance import moved_camera
from smwm_ros.arenas.collection_policies import noisy_expert
from smwm_ros.arenas.ranges import draw, NEUTRAL, ranges_of, SHIFTS, USUAL
from smwm_ros.arenas.rooms import CAMERA
from smwm_ros.arenas.vary import effective_shifts, RandomisedArena, shifted
from smwm_ros.config import Arena, Config, Randomise
from smwm_ros.errors import ArenaError, ConfigError
from smwm_ros.load import load_config

# What a shift may change: how frames look, and how things move.
LOOKS = ('camera', 'light', 'colours', 'texture', 'noise')
MOVES = ('gain', 'latency')
PUSHED = ('friction', 'mass')  # where something is pushed


def varied(name='two_room', distractors=0, size=24, **ranges):
    """Make an arena that varies."""
    return RandomisedArena(make_arena(name, size), ranges_of(Randomise(**ranges)), distractors)


def flat(value):
    """Return every number in nested lists."""
    return (
        [number for item in value for number in flat(item)] if isinstance(value, list) else [value]
    )


def drive_as(arena, seed, actions):
    """Reset and apply actions."""
    return [arena.reset(seed), *(arena.step(action) for action in actions)]


def same_states(frames, others):
    """Say whether all states are the same to the bit."""
    return all(np.array_equal(a.state, b.state) for a, b in zip(frames, others, strict=True))


def looks_alike(frame, other):
    """Say whether two pictures are the same to the bit."""
    return np.array_equal(frame.pixels, other.pixels)


@pytest.fixture
def plain():
    arena = make_arena('two_room', 24)
    yield arena
    arena.close()


def test_a_robot_may_keep_its_looks_in_all_episodes():
    def looks(once, seed):
        ranges = Randomise(usual=True, once=once, noise=(0.0, 1e-9))
        config = Config(arena=Arena(image_size=16, seed=seed), randomise=ranges)
        with closing(arena_of(config)) as arena:
            found = []
            for episode in range(3):
                arena.reset(episode)
                found.append((arena.set_state(np.zeros(2)), arena.drawn()))
        return found

    one, other, each = looks(True, 0), looks(True, 1), looks(False, 0)
    assert one[0][1] == one[1][1] == one[2][1] != other[0][1]
    assert looks_alike(one[0][0], one[2][0])  # patterns, too
    assert each[0][1] != each[1][1]


def test_at_their_defaults_the_knobs_leave_the_arena_alone():
    arena = arena_of(Config(arena=Arena(image_size=24)))
    assert arena.drawn() == {}
    arena.close()


@pytest.mark.parametrize(
    'words', [['arena.distractors=1'], ['randomise.usual=true'], ['randomise.gain=[0.9,1.0]']]
)
def test_any_other_value_of_a_knob_makes_the_arena_vary(words):
    arena = arena_of(load_config(None, ['arena.image_size=24', *words]))
    assert arena.drawn()
    arena.close()


def test_neutral_ranges_change_nothing_to_the_bit_even_after_a_wild_episode(plain):
    frames, actions = drive(plain, 3)
    wild = varied(usual=True)
    drive(wild, 1)
    for arena in (varied(), RandomisedArena(wild.scene, ranges_of(Randomise()))):
        assert all(map(equal, frames, drive_as(arena, 3, actions)))
        assert equal(plain.set_goal(frames[5].state), arena.set_goal(frames[5].state))
        arena.close()


def test_a_seed_gives_one_episode_and_another_seed_another():
    arena, other = varied(distractors=2, usual=True), varied(distractors=2, usual=True)
    frames, _ = drive(arena, 5)
    drawn = arena.drawn()
    drive(arena, 6)
    assert arena.drawn() != drawn
    for again in (arena, other):
        assert all(map(equal, frames, drive(again, 5)[0]))
        assert again.drawn() == drawn
    arena.close()
    other.close()


def test_an_arena_that_varies_keeps_the_contract_of_time_and_draws():
    arena = varied(distractors=2, usual=True)
    check_time_and_draws(arena)
    arena.reset(1)
    drawn = arena.drawn()
    arena.randomise(2)
    assert arena.drawn() != drawn
    arena.close()


def test_the_seed_of_the_ranges_gives_other_draws_for_the_same_episodes():
    arena = varied(usual=True)
    arena.reset(1)
    drawn = arena.drawn()
    other = RandomisedArena(arena.scene, arena.ranges, seed=1)
    start = other.reset(1)
    assert other.drawn() != drawn
    assert np.array_equal(start.state, arena.scene.reset(1).state)
    arena.close()


def test_what_was_saved_goes_on_as_it_did_in_another_arena_too():
    words = {'distractors': 2, 'usual': True, 'latency': (3, 3), 'frame_drop': (0.5, 0.5)}
    words['lag'] = (0.3, 0.3)
    arena, other = varied(**words), varied(**words)
    frames, actions = drive(arena, 10)
    drive_as(arena, 10, actions[:10])
    saved = pickle.dumps(arena.save())
    drawn = arena.drawn()
    drive(arena, 11)
    for again in (arena, other):
        assert equal(frames[10], again.restore(pickle.loads(saved)))
        assert again.drawn() == drawn
        for action, expected in zip(actions[10:], frames[11:], strict=True):
            assert equal(expected, again.step(action))
    arena.close()
    other.close()


@pytest.mark.parametrize('name', SHIFTS)
def test_what_is_drawn_lies_within_the_ranges_and_fills_them(name):
    ranges = {**ranges_of(Randomise(usual=True)), **SHIFTS[name]}
    draws = [draw(ranges, (0, seed), 3) for seed in range(200)]
    for knob, intervals in ranges.items():
        numbers = np.array([flat(drawn[knob]) for drawn in draws]).ravel()
        inside = [(low <= numbers) & (numbers <= high) for low, high in intervals]
        assert np.any(inside, axis=0).all()
        for (low, high), those in zip(intervals, inside, strict=True):
            assert np.ptp(numbers[those]) >= 0.7 * (high - low)


def test_one_more_knob_leaves_the_draws_of_the_others_as_they_were():
    some = draw(ranges_of(Randomise(light=(0.5, 2.0))), (0, 7), 3)
    more = draw(ranges_of(Randomise(light=(0.5, 2.0), noise=(1.0, 9.0))), (0, 7), 3)
    assert {**more, 'noise': 0.0} == some
    assert more['noise'] > 0


def test_what_was_drawn_is_plain_data():
    arena = varied(distractors=3, usual=True)
    drawn = arena.drawn()
    assert json.loads(json.dumps(drawn)) == drawn
    assert drawn.keys() == {*NEUTRAL, 'distractors'}
    assert drawn['distractors'] == 3
    arena.close()


def test_usual_ranges_give_way_to_those_that_are_given():
    ranges = ranges_of(Randomise(usual=True, noise=(7.0, 8.0)))
    assert ranges['noise'] == ((7.0, 8.0),)
    assert ranges['light'] == (USUAL['light'],)
    assert ranges.keys() == NEUTRAL.keys() == USUAL.keys()


def test_shifts_are_held_out_of_the_usual_ranges():
    for name, shift in SHIFTS.items():
        assert shift, name
        for knob, intervals in shift.items():
            low, high = USUAL[knob]
            assert all(end <= low or begin >= high for begin, end in intervals)
            assert all(begin <= end for begin, end in intervals)


@pytest.mark.parametrize('name', LOOKS)
def test_a_shift_of_looks_changes_pictures_and_no_motion(plain, name):
    frames, actions = drive(plain, 2)
    arena = shifted(make_arena('two_room', 24), name)
    changed = drive_as(arena, 2, actions)
    assert same_states(frames, changed)
    assert not any(map(looks_alike, frames, changed))
    goal = np.array([0.5, 0.5])
    assert not looks_alike(plain.set_goal(goal), arena.set_goal(goal))
    arena.close()


@pytest.mark.parametrize('name', MOVES)
def test_a_shift_of_motion_changes_motion_and_no_looks(plain, name):
    frames, actions = drive(plain, 2)
    arena = shifted(make_arena('two_room', 24), name)
    changed = drive_as(arena, 2, actions)
    assert equal(frames[0], changed[0])
    assert not same_states(frames, changed)
    for frame in changed:
        assert equal(frame, plain.set_state(frame.state))
    arena.close()


@pytest.mark.parametrize('name', PUSHED)
def test_mass_and_friction_change_how_a_cube_moves_and_no_looks(name):
    plain, arena = make_arena('cube', 16), shifted(make_arena('cube', 16), name)
    differ = []
    for seed in range(4):  # a cube that is only lifted does not feel what it weighs
        ways = []
        for world in (plain, arena):
            frames = [world.reset(seed)]
            actions = noisy_expert(world, np.random.default_rng(seed))
            ways.append(frames + [world.step(next(actions)) for _ in range(60)])
        assert equal(ways[0][0], ways[1][0])
        differ.append(not same_states(*ways))
    assert any(differ)
    for frame in ways[1]:
        assert equal(frame, plain.set_state(frame.state))
    plain.close()
    arena.close()


def test_a_lost_frame_shows_the_one_before_and_measures_the_present(plain):
    frames, actions = drive(plain, 2)
    arena = varied(frame_drop=(0.5, 0.5))
    changed = drive_as(arena, 2, actions)
    assert same_states(frames, changed)
    lost = [not looks_alike(*pair) for pair in zip(frames, changed, strict=True)]
    assert 5 < sum(lost) < 25
    for step in np.flatnonzero(lost):
        assert looks_alike(changed[step], changed[step - 1])
    arena.close()


def test_an_action_acts_as_late_as_was_drawn(plain):
    frames, actions = drive(plain, 2)
    arena = varied(latency=(3, 3))
    late = drive_as(arena, 2, [*actions, *actions[:3]])
    assert all(np.array_equal(late[0].state, frame.state) for frame in late[:4])
    assert same_states(frames, late[3:])
    arena.set_state(frames[0].state)
    assert np.array_equal(arena.step(actions[0]).state, frames[0].state), 'old actions are gone'
    arena.close()


def test_each_field_acts_after_its_delay_and_by_its_gain():
    def moved(actions, delays=(), gains=()):
        actuators = Arena(image_size=16, field_delay=delays, field_gain=gains)
        with closing(arena_of(Config(arena=actuators))) as arena:
            places = [arena.set_state(np.array([0.5, 0.0])).state]
            places += [arena.step(np.array(action)).state for action in actions]
        return np.diff(places, axis=0)

    ahead, still = (0.2, 0.2), (0.0, 0.0)
    there = moved([ahead, still, still, still, still], (1, 3), (0.5, 1.5))
    plain = moved([ahead])[0]
    wanted = np.zeros((5, 2))
    wanted[1, 0], wanted[3, 1] = 0.5 * plain[0], 1.5 * plain[1]
    assert np.allclose(there, wanted, atol=2e-3)
    # Motors that are too strong are so at full command, too.
    assert moved([(0.0, 0.5)], (), (1.0, 1.5))[0, 1] > 1.3 * moved([(0.0, 0.5)])[0, 1]
    with pytest.raises(ArenaError, match=r'arena\.field_delay: expected one number for each of 2'):
        moved([], delays=(1,))
    with pytest.raises(ArenaError, match=r'arena\.field_gain: expected one number for each of 2'):
        moved([], gains=(1.0, 1.0, 1.0))


def test_commands_under_way_are_saved_with_an_arena():
    actuators = Arena(image_size=16, field_delay=(1, 3), field_gain=(0.5, 1.5))
    latency = Randomise(latency=(2, 2))
    with closing(arena_of(Config(arena=actuators, randomise=latency))) as arena:
        arena.reset(0)
        arena.step(np.array([0.3, 0.3]))
        saved = arena.save()
        first = [arena.step(np.zeros(2)) for _ in range(6)]
        arena.restore(saved)
        assert same_states(first, [arena.step(np.zeros(2)) for _ in range(6)])
        places = np.array([frame.state for frame in first])
        assert (np.abs(np.diff(places, axis=0)) > 1e-3).sum(axis=0).tolist() == [1, 1]


def test_velocities_follow_commands_with_the_time_constant_that_was_drawn():
    arena = varied(lag=(0.3, 0.3))
    arena.reset(0)
    start = arena.set_state([0.5, -0.8]).state
    way = [arena.step([0.0, 0.4]).state[1] - start[1] for _ in range(10)]
    times = 0.1 * np.arange(1, 11)
    assert way == pytest.approx(0.4 * (times - 0.3 * (1 - np.exp(-times / 0.3))), abs=1e-4)
    for _ in range(20):
        rest = arena.step([0.0, 0.0]).state[1] - start[1]
    assert rest == pytest.approx(0.4, abs=1e-3), 'in the end it moves as far as commanded'
    arena.step([0.0, 0.4])
    arena.set_state(start)
    assert np.array_equal(arena.step([0.0, 0.0]).state, start), 'it was placed at rest'
    arena.close()


def test_noise_is_as_strong_as_was_drawn_and_never_the_same(plain):
    arena = varied(noise=(10.0, 10.0))
    frame, clean = arena.reset(0), plain.reset(0)
    inside = (clean.pixels > 40) & (clean.pixels < 215)  # values that cannot be cut off
    error = (frame.pixels.astype(float) - clean.pixels)[inside]
    assert error.std() == pytest.approx(10.0, rel=0.1)
    assert abs(error.mean()) < 1.0
    assert not looks_alike(arena.step([0.0, 0.0]), frame)
    arena.close()


def test_more_light_is_brighter():
    dim, bright = (varied(light=(level, level)) for level in (0.6, 0.9))
    assert dim.reset(0).pixels.mean() < bright.reset(0).pixels.mean() - 20
    dim.close()
    bright.close()


def test_a_camera_that_is_moved_as_nothing_was_drawn_stays_where_it_was():
    neutral = draw(ranges_of(Randomise()), (0, 0), 1)
    moved = moved_camera(CAMERA, neutral)
    for before, after in zip(CAMERA, moved, strict=True):
        assert np.array_equal(before, after)


def test_distractors_are_seen_and_move_and_touch_nothing(plain):
    frames, actions = drive(plain, 4)
    arena = varied(distractors=5)
    seen = drive_as(arena, 4, actions)
    assert same_states(frames, seen), 'they are no part of the measured state'
    spots = [(a.pixels != b.pixels).any(-1) for a, b in zip(frames, seen, strict=True)]
    assert all(spot.any() for spot in spots)
    assert not np.array_equal(spots[0], spots[-1])
    arena.close()


def test_actions_do_not_move_the_distractors():
    arena = varied(distractors=3)
    ways = []
    for speed in (-0.5, 0.5):
        arena.reset(1)
        for _ in range(10):
            arena.step([speed, speed])
        ways.append(arena.save()['balls'][0])
    assert np.array_equal(*ways)
    arena.close()


def test_the_picture_of_a_goal_shows_distractors_elsewhere_and_leaves_them():
    arena = varied(distractors=3)
    frame = arena.reset(1)
    goal = arena.set_goal(frame.state)
    assert not looks_alike(goal, frame)
    assert equal(goal, arena.set_goal(frame.state))
    assert equal(frame, arena.set_state(frame.state))
    arena.close()


def test_a_shift_keeps_what_varies_besides_it():
    arena = shifted(make_arena('two_room', 24), 'noise', ranges_of(Randomise(gain=(0.5, 0.6))), 2)
    arena.reset(0)
    drawn = arena.drawn()
    assert 0.5 <= drawn['gain'] <= 0.6
    assert drawn['noise'] >= 8
    assert drawn['distractors'] == 2
    arena.close()


def test_one_shift_after_another_adds_up_to_nothing(plain):
    arena = make_arena('two_room', 24)
    for name in ('camera', 'colours', 'light', 'texture'):
        shifted(arena, name).reset(0)
    alone, after = shifted(make_arena('two_room', 24), 'light'), shifted(arena, 'light')
    assert equal(alone.reset(3), after.reset(3))
    alone.close()
    after.close()


def test_an_unknown_shift_is_refused(plain):
    with pytest.raises(ArenaError, match="'lihgt': no such shift; did you mean 'light'"):
        shifted(plain, 'lihgt')


def test_the_effective_shifts_leave_out_dynamics_where_nothing_is_pushed(plain):
    assert set(effective_shifts(plain)) == set(SHIFTS) - set(PUSHED)


@pytest.mark.parametrize('name', PUSHED)
def test_a_shift_that_would_change_nothing_is_refused(plain, name):
    with pytest.raises(ArenaError, match=f"'{name}': this shift changes nothing in this arena"):
        shifted(plain, name)


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('gain=[1.2,0.8]', r'randomise\.gain: expected \[low, high\], found \[1\.2, 0\.8\]'),
        ('gain=[1.0]', r'randomise\.gain: expected \[low, high\], found \[1\.0\]'),
        ('gain=1.0', r'randomise\.gain: expected a list of numbers, found 1\.0'),
        ('gain=[0,1]', r'randomise\.gain: 0\.0 is out of range; valid: 0\.1 to 3\.0'),
        ('latency=[0,1.5]', r'randomise\.latency: expected a list of whole numbers'),
        ('gian=[1,1]', r"randomise\.gian: unknown key; did you mean 'gain'"),
    ],
)
def test_a_bad_range_is_refused(word, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f'randomise.{word}'])


def test_nonsense_is_refused_at_once_however_late_actions_act():
    arena = varied(latency=(2, 2))
    with pytest.raises(ArenaError, match='action: expected 2 finite numbers'):
        arena.step([np.nan, 0.0])
    arena.close()
    arena.close()
    with pytest.raises(ArenaError, match='closed'):
        arena.reset(0)
