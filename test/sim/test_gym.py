# SPDX-License-Identifier: Apache-2.0
"""Tests for the arenas as environments of Gymnasium."""

import subprocess
import sys

import gymnasium
from gymnasium.utils.env_checker import check_env
import numpy as np
import pytest
from smwm_ros.arenas import ARENA_NAMES
from smwm_ros.arenas.gym import ArenaEnv, ArenaFleet, environment_id
from smwm_ros.errors import ArenaError, ConfigError


def alike(one, other):
    """Say whether two observations are the same to the bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.fixture
def env():
    env = ArenaEnv('two_room', image_size=16, budget=5, render_mode='rgb_array')
    yield env
    env.close()


@pytest.mark.filterwarnings('ignore:.*Box (observation|action) space')
@pytest.mark.parametrize('name', ARENA_NAMES)
@pytest.mark.parametrize(
    'words',
    [
        {'lag': 0.2, 'acceleration': [1.0]},
        {'reward': 'dense', 'distractors': 2, 'randomise': {'usual': True}},
    ],
    ids=['inert', 'varied'],
)
def test_gymnasium_finds_nothing_wrong(name, words):
    env = gymnasium.make(environment_id(name), image_size=16, render_mode='rgb_array', **words)
    check_env(env.unwrapped)
    env.close()


def test_an_environment_may_have_inertia():
    ways = []
    for lag in (0.0, 0.5):
        env = ArenaEnv('two_room', image_size=16, lag=lag)
        env.reset(seed=0, options={'start': [0.5, 0.0]})
        ways.append([env.step(np.array([0.2, 0.0]))[0]['state'][0] for _ in range(3)][-1] - 0.5)
        env.close()
    assert ways[0] == pytest.approx(0.06, abs=1e-3)
    assert 0.0 < ways[1] < 0.03


def test_the_ids_are_found_without_an_import_of_ones_own():
    code = (
        'import gymnasium, sys\n'
        'env = gymnasium.make("smwm_ros.arenas.gym:smwm_ros/TwoRoom-v0", image_size=16)\n'
        'sys.exit(env.reset(seed=0)[0]["state"].shape != (2,))'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
    assert environment_id('two_room_differential') == 'smwm_ros/TwoRoomDifferential-v0'


def test_an_observation_is_what_is_seen_measured_and_wanted(env):
    seen, info = env.reset(seed=1)
    assert seen.keys() == {'pixels', 'state', 'goal'}
    assert not np.array_equal(seen['pixels'], seen['goal'])
    assert info['distance'] > 1
    assert not info['is_success']
    there, _ = env.reset(seed=1, options={'start': [0.5, 0.5], 'goal': [0.5, 0.5]})
    assert np.array_equal(there['pixels'], there['goal'])
    np.testing.assert_allclose(there['state'], [0.5, 0.5])


def test_a_goal_ends_an_episode_and_so_does_the_budget(env):
    env.reset(seed=1, options={'start': [0.5, 0.5], 'goal': [0.7, 0.5]})
    outcomes = [env.step(np.array([0.5, 0.0]))[1:4] for _ in range(2)]
    assert outcomes == [(0.0, False, False), (1.0, True, False)]
    env.reset(seed=1, options={'start': [0.5, 0.5], 'goal': [-0.7, 0.5]})
    outcomes = [env.step(np.array([0.5, 0.0]))[1:4] for _ in range(5)]
    assert outcomes == [(0.0, False, False)] * 4 + [(0.0, False, True)]


def test_dense_rewards_add_up_to_the_way_that_was_made():
    env = ArenaEnv('two_room', image_size=16, reward='dense')
    _, before = env.reset(seed=2)
    steps = [env.step(env.action_space.sample()) for _ in range(20)]
    made = before['distance'] - steps[-1][4]['distance']
    assert sum(step[1] for step in steps) == pytest.approx(made)
    assert any(step[1] < 0 for step in steps)
    env.close()


def test_goals_that_are_drawn_are_not_reached_yet():
    env = ArenaEnv('cube', image_size=16)
    assert not any(env.reset(seed=seed)[1]['is_success'] for seed in range(30))
    env.close()


def test_the_info_of_a_reset_holds_the_drawn_values():
    env = ArenaEnv('two_room', image_size=16, randomise={'gain': [0.5, 0.6]})
    _, info = env.reset(seed=0)
    assert 0.5 <= info['drawn']['gain'] <= 0.6
    assert 'drawn' not in env.step(np.zeros(2))[4]
    env.close()


def test_render_gives_a_picture_if_it_was_asked_for(env):
    env.reset(seed=0)
    assert env.render().shape == (256, 256, 3)
    env.render_mode = None
    assert env.render() is None


def test_processes_give_what_one_process_gives():
    fleet = ArenaFleet('two_room', 2, image_size=16)
    alone = [ArenaEnv('two_room', image_size=16) for _ in range(2)]
    try:
        seen, _ = fleet.reset(seed=7)
        expected = [env.reset(seed=7 + number)[0] for number, env in enumerate(alone)]
        for _ in range(5):
            for number in range(2):
                assert alike({key: part[number] for key, part in seen.items()}, expected[number])
            actions = fleet.action_space.sample()
            seen = fleet.step(actions)[0]
            expected = [env.step(action)[0] for env, action in zip(alone, actions, strict=True)]
    finally:
        fleet.close()
        for env in alone:
            env.close()


def test_a_process_that_dies_is_named():
    fleet = ArenaFleet('two_room', 2, image_size=16)
    fleet.reset(seed=0)
    fleet.processes[1].kill()
    fleet.processes[1].join()
    with pytest.raises(ArenaError, match=r'environment 1 \(exit code -9\) of 2: the process died'):
        fleet.step(fleet.action_space.sample())
    fleet.close()
    assert not any(process.is_alive() for process in fleet.processes)


def test_gymnasium_makes_processes_by_itself():
    envs = gymnasium.make_vec(
        environment_id('reacher'),
        num_envs=2,
        vectorization_mode='async',
        vector_kwargs={'context': 'spawn'},
        image_size=16,
    )
    seen, _ = envs.reset(seed=0)
    assert seen['pixels'].shape == (2, 16, 16, 3)
    envs.close()


@pytest.mark.parametrize(
    ('words', 'error', 'message'),
    [
        ({'name': 'two_rom'}, ArenaError, "'two_rom': no such arena; did you mean 'two_room'"),
        ({'image_size': 0}, ConfigError, r'arena\.image_size: 0 is out of range; valid: 16 to'),
        ({'image_size': 10_000}, ConfigError, r'arena\.image_size: 10000 is out of range'),
        ({'reward': 'dens'}, ArenaError, "reward: 'dens' is not a choice; did you mean 'dense'"),
        ({'render_mode': 'human'}, ArenaError, "render_mode: 'human' is not a choice"),
        ({'budget': 0}, ArenaError, 'budget: 0 is out of range'),
        ({'lag': -1}, ConfigError, r'arena\.lag: -1\.0 is out of range'),
        ({'acceleration': [1, 2, 3]}, ArenaError, r'arena\.acceleration: expected one number'),
        ({'distractors': -1}, ConfigError, r'arena\.distractors: -1 is out of range'),
        ({'randomise': {'gian': [1, 1]}}, ConfigError, "did you mean 'gain'"),
        ({'randomise': {'gain': [2, 1]}}, ConfigError, r'gain: expected \[low, high\]'),
    ],
)
def test_bad_words_are_refused(words, error, message):
    with pytest.raises(error, match=message):
        ArenaEnv(**words)


def test_bad_options_and_actions_are_refused(env):
    with pytest.raises(ArenaError, match="options: 'gaol' is not a choice; did you mean 'goal'"):
        env.reset(options={'gaol': [0, 0]})
    with pytest.raises(ArenaError, match='state: expected 2 finite numbers'):
        env.reset(options={'goal': [0, 0, 0]})
    env.reset(seed=0)
    with pytest.raises(ArenaError, match='action: expected 2 finite numbers'):
        env.step(np.full(2, np.nan))
    with pytest.raises(ArenaError, match='count: 0 is out of range'):
        ArenaFleet('two_room', 0)


def test_without_gymnasium_it_says_what_to_install():
    code = 'import sys; sys.modules["gymnasium"] = None; import smwm_ros.arenas.gym'
    said = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert (
        "the extra 'gym' of this package, which is not installed: pip install gymnasium pybullet"
        in said.stderr
    )


def test_closing_twice_is_legal():
    env = ArenaEnv('two_room', image_size=16)
    env.close()
    env.close()
    with pytest.raises(ArenaError, match='closed'):
        env.reset()
