# SPDX-License-Identifier: Apache-2.0
"""Tests for what all arenas have in common."""

from itertools import pairwise
import subprocess
import sys

from contract import check_arena, MOVING
import numpy as np
import pytest
from smwm_ros.arenas import ARENA_NAMES, make_arena, require_fit
from smwm_ros.arenas.collection_policies import policy_actions
from smwm_ros.cli import main
from smwm_ros.codec.fields import action_spec
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import ArenaError
from smwm_ros.load import load_config


@pytest.fixture(params=ARENA_NAMES)
def arena(request):
    arena = make_arena(request.param, 32)
    yield arena
    arena.close()


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_every_arena_keeps_the_contract(name):
    check_arena(name)


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_the_expert_reaches_every_goal(name):
    arena = make_arena(name, 16)
    failed = []
    for seed in range(20):
        arena.reset(seed)
        if not any(arena.step(arena.expert()) and arena.success() for _ in range(200)):
            failed.append(seed)
    arena.close()
    assert not failed


def test_an_unknown_arena_is_refused_with_the_nearest_name():
    with pytest.raises(ArenaError, match=r"'two_rom': no such arena; did you mean 'two_room'"):
        make_arena('two_rom')


@pytest.mark.parametrize('size', [0, 15, 1025])
def test_image_sizes_out_of_range_are_refused(size):
    with pytest.raises(ArenaError, match=f'image size: {size} is out of range; valid: 16 to 1024'):
        make_arena('two_room', size)


def test_arenas_are_named_without_loading_the_simulator():
    code = 'import sys, smwm_ros.arenas; sys.exit("pybullet" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_making_an_arena_prints_nothing():
    code = 'from smwm_ros.arenas import make_arena; make_arena("two_room").close()'
    made = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert (made.stdout, made.stderr) == ('', '')


def test_a_command_to_stand_still_moves_nothing(arena):
    rng = np.random.default_rng(0)
    for _ in range(10):
        before = arena.set_state(arena.sample(rng))
        after = arena.step(np.zeros(arena.spec.size))
        np.testing.assert_allclose(after.state, before.state, atol=1e-4)


def test_the_camera_distinguishes_states(arena):
    rng = np.random.default_rng(0)
    frames = [arena.set_state(arena.sample(rng)) for _ in range(20)]
    for frame, other in pairwise(frames):
        assert (frame.pixels != other.pixels).any(axis=-1).sum() >= 4


def test_a_sampled_goal_is_seldom_reached_by_standing_still(arena):
    rng = np.random.default_rng(0)
    reached = []
    for _ in range(50):
        arena.set_state(arena.sample(rng))
        arena.set_goal_state(arena.sample(rng))
        reached.append(arena.success())
    assert sum(reached) <= 10


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_the_shipped_configuration_describes_the_robot_of_its_arena(name):
    shipped, arena = load_config(name), make_arena(name, 16)
    require_fit(arena, shipped.robot)
    spec = action_spec(shipped.robot)
    assert (spec.low, spec.high) == (arena.spec.low, arena.spec.high)
    assert shipped.arena.name == name
    arena.close()


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_what_was_recorded_and_converted_can_be_replayed_to_the_bit(name, tmp_path):
    bags, data = tmp_path / 'bags', tmp_path / 'data'
    words = ['arena.episodes=2', 'arena.length=12', 'arena.image_size=16', '--jobs', '1']
    assert main(['collect', name, '--out', str(bags), *words]) == 0
    convert = ['convert', str(bags), '--out', str(data), '--config', name]
    assert main([*convert, 'dataset.image_size=16']) == 0
    recorded = TransitionDataset.open(data)
    rows = recorded.starts('all', 1)
    assert len(rows) == 24
    arena = make_arena(name, 16)
    begins = [episode.start for episode in recorded.episodes]
    for row in np.array(rows):
        if name not in MOVING or row in begins:
            arena.set_state(recorded.states(row[None])[0])
        frame = arena.step(recorded.actions(row[None])[0])
        assert np.array_equal(frame.pixels, recorded.pixels(row[None] + 1)[0])
        assert np.array_equal(frame.state, recorded.states(row[None] + 1)[0])
    arena.close()


@pytest.mark.parametrize('policy', ['expert', 'random', 'mixed'])
def test_policies_stay_within_the_limits_and_use_most_of_them(arena, policy):
    actions = []
    for episode in range(2):
        arena.reset(episode)
        stream = policy_actions(policy, arena, episode, np.random.default_rng(episode))
        for _ in range(40):
            actions.append(next(stream))
            assert np.array_equal(actions[-1], arena.spec.clip(actions[-1]))
            arena.step(actions[-1])
    span = np.ptp(actions, axis=0) / np.subtract(arena.spec.high, arena.spec.low)
    assert span.min() > 0.6


def test_an_unknown_policy_is_refused(arena):
    with pytest.raises(ArenaError, match=r"'expret': no such policy; did you mean 'expert'"):
        policy_actions('expret', arena, 0, np.random.default_rng(0))
