# SPDX-License-Identifier: Apache-2.0
"""
Environments of stable-worldmodel: what is recorded, drawn and planned; its World as the judge.

The tests of its own World run where it is installed. The others need no part of it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
import json
from pathlib import Path
import re
import sys
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from smwm_ros.cli import main
from smwm_ros.codec.images import fit
from smwm_ros.config import Evaluate
from smwm_ros.errors import ArenaError, CheckpointError, DatasetError, SmwmError
from smwm_ros.exchange.episode_file import read_episodes, writing_episodes
from smwm_ros.exchange.from_hdf5 import import_hdf5
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import save
from smwm_ros.swm import installed, recorder
from smwm_ros.swm.cost_model import CostModel, LATENTS
from smwm_ros.swm.environments import environment_of, ENVIRONMENTS
from smwm_ros.swm.judge import draw_goals, judge
from smwm_ros.swm.policy import PlannerPolicy
import torch
from worlds import BLOCK, SIZE, tiny_checkpoint

ROOMS = environment_of('swm/TwoRoom-v1')
PAGE = Path(__file__).resolve().parents[1] / 'docs/stable_worldmodel.md'
THERE = find_spec('stable_worldmodel') is not None
needs_swm = pytest.mark.skipif(not THERE, reason='stable-worldmodel is not installed')
COLUMNS = {'proprio': 2, 'state': 7, 'qpos': 2, 'qvel': 2}
COLUMNS |= {'privileged_block_0_pos': 3, 'privileged_block_0_quat': 4}
COLUMNS |= {'proprio_effector_pos': 3, 'proprio_effector_yaw': 1, 'proprio_gripper_opening': 1}


def episode(count: int, first: int = 0) -> dict[str, Array]:
    """Return an episode whose every number is that of its row, from `first`."""
    rows = np.arange(first, first + count)
    action = np.repeat(rows[:, None] / 100, 2, axis=1).astype(np.float32)
    action[-1] = np.nan
    return {
        'pixels': np.tile(rows[:, None, None, None], (1, SIZE, SIZE, 3)).astype(np.uint8),
        'action': action,
        'proprio': np.repeat(rows[:, None], 2, axis=1).astype(float),
        'qpos': rows[:, None] + np.zeros((1, 2)),
        'qvel': -rows[:, None] + np.zeros((1, 2)),
        'step_idx': np.arange(count),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write two episodes of 40 and 30 rows."""
    path = tmp_path / 'recorded.h5'
    with writing_episodes(path) as episodes:
        episodes.append(episode(40))
        episodes.append(episode(30, 100))
    return path


# Environments.


@pytest.mark.parametrize('name', ENVIRONMENTS)
def test_the_shipped_configuration_fits_the_environment(name: str) -> None:
    environment = ENVIRONMENTS[name]
    robot = load_config(environment.config).robot
    assert len(expand(robot.command.fields)) == environment.action_size
    assert len(expand(robot.state.fields)) == sum(COLUMNS[one] for one in environment.states)
    recorded = {*environment.columns, *environment.extra}
    assert set(environment.states) <= recorded
    read = [
        spec['value']
        for call in environment.calls
        for spec in call['args'].values()
        if spec['in_dataset']
    ]
    # World.evaluate silently leaves out what the file lacks.
    assert {word.removeprefix('goal_') for word in read if word != 'goal_state'} <= {
        *environment.columns
    }


@pytest.mark.parametrize(
    ('name', 'near', 'far'),
    [
        ('swm/TwoRoom-v1', {'proprio': [15.9, 0]}, {'proprio': [12, 12]}),
        ('swm/PushT-v1', {'state': [10, 0, 10, 0, 6.0, 9, 9]}, {'state': [15, 0, 15, 0, 0, 0, 0]}),
        ('swm/PushT-v1', {'state': [0, 0, 0, 0, 0.3, 0, 0]}, {'state': [0, 0, 0, 0, 0.4, 0, 0]}),
        ('swm/ReacherDMControl-v0', {'qpos': [0.04, -0.04]}, {'qpos': [0.0, -0.06]}),
        (
            'swm/OGBCube-v0',
            {'privileged_block_0_pos': [0.03, 0.02, 0]},
            {'privileged_block_0_pos': [0.03, 0.03, 0]},
        ),
    ],
)
def test_a_start_is_solved_within_the_tolerance_of_the_environment(
    name: str, near: dict[str, list[float]], far: dict[str, list[float]]
) -> None:
    is_solved = ENVIRONMENTS[name].is_solved
    goal = {key: np.zeros(len(value)) for key, value in near.items()}
    assert is_solved({key: np.array(value) for key, value in near.items()}, goal)
    assert not is_solved({key: np.array(value) for key, value in far.items()}, goal)


# Files.


def test_a_recorded_file_becomes_a_dataset_with_the_same_rows(file: Path, tmp_path: Path) -> None:
    made = import_hdf5(file, tmp_path / 'made', load_config('swm_two_room'), 'proprio')
    rows = np.array([0, 38, 40, 68])
    assert made.states(rows)[:, 0].tolist() == [0, 38, 100, 128]
    assert made.actions(rows)[:, 0].tolist() == pytest.approx([0, 0.38, 1.0, 1.28])
    assert [(one.start, one.stop) for one in made.episodes] == [(0, 40), (40, 70)]


def test_several_columns_make_one_measured_state(file: Path, tmp_path: Path) -> None:
    config = load_config('swm_reacher')
    made = import_hdf5(file, tmp_path / 'made', config, 'qpos,qvel')
    assert made.states(np.array([7])).tolist() == [[7, 7, -7, -7]]
    with pytest.raises(DatasetError, match='column qpos has 2 numbers per row, expected 4'):
        import_hdf5(file, tmp_path / 'other', config, 'qpos')


def test_pairs_lie_within_an_episode_and_the_goal_is_an_offset_later(file: Path) -> None:
    settings = Evaluate(pairs=18, offset=26)
    goals = draw_goals(ROOMS, file, settings)
    found = set(zip(goals.episodes, goals.starts, strict=True))
    # 40 - 26 and 30 - 26 rows have one that is 26 later in their episode; none is drawn twice.
    assert found == {(0, start) for start in range(14)} | {(1, start) for start in range(4)}
    near = draw_goals(ROOMS, file, Evaluate(pairs=10, offset=11))
    assert near.solved == [True] * 10, '11 px along each axis are 15.6 px'
    far = draw_goals(ROOMS, file, Evaluate(pairs=10, offset=12))
    assert far.solved == [False] * 10
    again = draw_goals(ROOMS, file, settings)
    assert again == goals
    assert draw_goals(ROOMS, file, Evaluate(pairs=10, offset=12, seed=1)).starts != far.starts


def test_too_few_pairs_and_missing_columns_are_errors(file: Path) -> None:
    with pytest.raises(DatasetError, match='found 18 pairs of rows 26 raw steps apart'):
        draw_goals(ROOMS, file, Evaluate(pairs=19, offset=26))
    with pytest.raises(DatasetError, match='lacks 2 columns: privileged_block_0_pos, priv'):
        draw_goals(environment_of('swm/OGBCube-v0'), file, Evaluate(pairs=1))


# The loop that records.


class Instants:
    """Stands for a World: an instant shows its number; infos keep their arrays."""

    def __init__(self, done: int) -> None:
        self.done, self.time = done, 0
        self.infos: dict[str, Any] = {}
        self.envs = SimpleNamespace(step=self.step)
        self.taken: list[float] = []

    def reset(self, seed: list[int]) -> None:
        self.time = 0
        self.infos = {
            'pixels': np.zeros((1, 1, SIZE, SIZE, 3), np.uint8),
            'proprio': np.zeros((1, 1, 2)),
            'state': np.zeros((1, 1, 2), np.float32),
            'terminated': np.zeros((1, 1), bool),
        }

    def step(self, action: Array) -> None:
        self.taken.append(float(action[0, 0]))
        self.time += 1
        for name in ('pixels', 'proprio', 'state'):
            self.infos[name][:] = self.time
        self.infos['terminated'][:] = self.time == self.done


@pytest.mark.parametrize(('done', 'steps'), [(4, 4), (99, 6)])
def test_a_row_is_an_instant_and_the_action_that_was_taken_there(done: int, steps: int) -> None:
    world = Instants(done)
    driver = SimpleNamespace(get_action=lambda infos: infos['proprio'][:, 0] + 0.5)
    made = recorder._episode(ROOMS, world, driver, 0, 6)
    assert made['pixels'][:, 0, 0, 0].tolist() == list(range(steps + 1)), 'from the first frame on'
    assert made['action'][:-1, 0].tolist() == [0.5 + at for at in range(steps)] == world.taken
    assert np.isnan(made['action'][-1]).all()
    assert made['terminated'].tolist() == [False] * steps + [done == steps]
    assert made['truncated'].tolist() == [False] * steps + [done != steps]


def test_held_actions_are_kept_and_cover_the_limits() -> None:
    held = recorder.HeldActions(0)
    low, high = np.full((1, 2), -2.0), np.full((1, 2), 3.0)
    held.set_env(SimpleNamespace(action_space=SimpleNamespace(low=low, high=high, dtype=float)))
    actions = np.concatenate([held.get_action({}).copy() for _ in range(500)])
    same = (actions[1:] == actions[:-1]).all(axis=1)
    assert 0.7 < same.mean() < 0.95
    assert actions.min() < -1.9
    assert actions.max() > 2.9


# The policy.


def envs(count: int, size: int = 2, limit: float = 1.0) -> Any:
    """Return what World passes to a policy: the spaces of so many environments."""
    shape = (count, size)
    space = SimpleNamespace(
        shape=shape, dtype=np.float32, low=np.full(shape, -limit), high=np.full(shape, limit)
    )
    return SimpleNamespace(action_space=space)


def infos_at(time: int, goals: list[int], size: int = SIZE) -> dict[str, Any]:
    """Return what environments show at a time, towards these goals."""
    seen = np.random.default_rng(time).integers(0, 256, (len(goals), 1, size, size, 3), np.uint8)
    wanted = np.stack(
        [np.random.default_rng((9, one)).integers(0, 256, (1, size, size, 3)) for one in goals]
    ).astype(np.uint8)
    return {'pixels': seen, 'goal': wanted, 'terminated': np.zeros((len(goals), 1), bool)}


def begun(count: int) -> PlannerPolicy:
    policy = PlannerPolicy(tiny_checkpoint(), execute=2)
    policy.set_env(envs(count))
    return policy


def test_an_environment_is_planned_for_as_if_it_were_alone() -> None:
    both, alone = begun(2), begun(1)
    for time in range(5):
        infos = infos_at(time, [1, 2])
        mine = {key: value[1:] for key, value in infos.items()}
        np.testing.assert_allclose(both.get_action(infos)[1:], alone.get_action(mine), atol=1e-5)


@pytest.mark.parametrize('how', ['flag', 'goal'])
def test_a_reset_or_a_new_goal_begins_one_environment_anew_and_leaves_the_others(how: str) -> None:
    policy, untouched, fresh = begun(2), begun(2), begun(1)
    goals = [1, 2]
    for time in range(5):
        infos = infos_at(time, goals)
        if time == 3:
            goals = [3, 2] if how == 'goal' else goals
            infos = infos_at(time, goals)
            if how == 'flag':
                infos['_needs_flush'] = np.array([True, False])
        actions = policy.get_action(infos)
        expected = untouched.get_action(infos_at(time, [1, 2]))
        np.testing.assert_allclose(actions[1], expected[1], atol=1e-5)
        if time >= 3:
            mine = {key: value[:1] for key, value in infos_at(time, goals).items()}
            np.testing.assert_allclose(actions[:1], fresh.get_action(mine), atol=1e-5)
        else:
            np.testing.assert_allclose(actions[0], expected[0], atol=1e-5)


def test_one_that_has_terminated_rests_but_not_where_its_first_row_was_the_end_of_a_task() -> None:
    policy = begun(2)
    infos = infos_at(0, [1, 2])
    infos['terminated'][:] = True
    first = policy.get_action(infos)
    assert (first != 0).all()
    second = infos_at(1, [1, 2])
    second['terminated'][0] = True
    actions = policy.get_action(second)
    assert actions[0].tolist() == [0, 0]
    assert (actions[1] != 0).all()
    assert actions.dtype == np.float32


def test_images_are_resized_as_in_training() -> None:
    large = infos_at(0, [1], 4 * SIZE)
    small = {
        key: np.stack([[fit(value[0, 0], SIZE, 'stretch')]]) if value.ndim == 5 else value
        for key, value in large.items()
    }
    actions = [begun(1).get_action(infos) for infos in (large, small)]
    np.testing.assert_array_equal(actions[0], actions[1])


def test_what_a_policy_cannot_use_is_an_error() -> None:
    policy = PlannerPolicy(tiny_checkpoint())
    with pytest.raises(ArenaError, match='its actions have 2 numbers, expected 5'):
        policy.set_env(envs(1, 5))
    with pytest.raises(ArenaError, match=r'its actions reach from .* expected within'):
        policy.set_env(envs(1, limit=0.75))
    policy.set_env(envs(1))
    with pytest.raises(ArenaError, match='8x8 px are smaller than those of the run, 16 px'):
        policy.get_action(infos_at(0, [1], 8))
    floats = {key: value.astype(float) for key, value in infos_at(0, [1]).items()}
    with pytest.raises(ArenaError, match=r'expected .*uint8, found .*float64; do not transform'):
        policy.get_action(floats)


def test_the_paper_executes_whole_plans() -> None:
    policy = PlannerPolicy.as_in_the_paper(tiny_checkpoint())
    (agent,) = policy._idle
    assert agent._execute == agent.pilot.raw_steps == 5 * BLOCK
    assert policy._planner is not None
    assert (policy._planner.samples, policy._planner.iterations) == (300, 30)


# The cost for their solvers.


def test_the_cost_is_the_squared_latent_distance_after_the_last_step() -> None:
    checkpoint = tiny_checkpoint()
    cost = CostModel(checkpoint)
    infos = infos_at(0, [1, 2])
    info = {
        key: torch.from_numpy(infos[key]).unsqueeze(1).expand(-1, 6, -1, -1, -1, -1)
        for key in ('pixels', 'goal')
    }
    plans = torch.randn(2, 6, 3, 2 * BLOCK)
    found = cost.get_cost(info, plans)
    model = checkpoint.model
    for row in range(2):
        seen, wanted = (
            model.encode(torch.from_numpy(infos[key][row]).permute(0, 3, 1, 2))
            for key in ('pixels', 'goal')
        )
        z = seen.expand(6, -1)
        for step in range(3):
            z = model.predict(z, plans[row, :, step])
        torch.testing.assert_close(found[row], (z - wanted).square().sum(1), rtol=1e-4, atol=1e-5)
    assert found.shape == (2, 6)
    info['pixels'] = info['goal'] = torch.zeros(0)
    torch.testing.assert_close(cost.get_cost(info, plans), found)
    assert LATENTS in info, 'images are encoded once for all iterations'


def test_actions_are_normalised_by_the_statistics_of_the_run() -> None:
    process = CostModel(tiny_checkpoint(mean=0.1, std=0.3)).process['action']
    raw = np.array([[0.1, 0.4]])
    assert process.transform(raw).tolist() == pytest.approx(np.array([[0.0, 1.0]]), abs=1e-6)
    np.testing.assert_allclose(process.inverse_transform(process.transform(raw)), raw, atol=1e-6)


# Errors on the command line.


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def test_bad_words_are_errors_that_say_what_is_valid(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    save(run, tiny_checkpoint())
    rooms, out = ('--env', 'swm/TwoRoom-v1'), ('--out', tmp_path / 'new.h5')
    for words, error in (
        (
            ('collect', '--env', 'swm/TwoRom-v1', *out),
            "did you mean 'swm/TwoRoom-v1'? valid: swm/",
        ),
        (('collect', *rooms, *out, '--policy', 'weak'), 'valid: expert, random'),
        (('collect', *rooms, '--out', tmp_path / 'new'), 'expected a name such as'),
        (('collect', *rooms, '--out', file), 'exists already'),
        (('evaluate', run, '--env', 'pusht'), "'pusht': no such environment of the paper"),
        (('evaluate', run, *rooms), '--env: needs --data FILE.h5'),
        (('evaluate', run, *rooms, '--data', file, '--strict'), '--strict: is not possible'),
        (('evaluate', run, *rooms, '--data', file, '--methods', 'sigreg'), 'pass its run folder'),
        (
            ('evaluate', run, '--env', 'swm/OGBCube-v0', '--data', file),
            'its actions have 2 numbers, expected 5 in swm/OGBCube-v0',
        ),
    ):
        assert error in said(capsys, *words), words
    assert not (tmp_path / 'new.h5').exists()


def test_without_stable_worldmodel_the_command_that_installs_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, 'stable_worldmodel', None)
    words = ('collect', '--env', 'swm/TwoRoom-v1', '--out', tmp_path / 'a.h5')
    error = said(capsys, *words)
    assert "needs the extra 'swm' of this package" in error
    assert f'pip install {installed.PACKAGES}' in error


@pytest.mark.parametrize(
    ('why', 'remedy'),
    [
        ('operator torchvision::nms does not exist', 'both for the CPU, or both for CUDA'),
        ('no such symbol', f'pip install {installed.PACKAGES}'),
    ],
)
def test_a_package_that_cannot_be_imported_is_reported_with_what_helps(
    why: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / 'stable_worldmodel.py'
    broken.write_text(f"raise RuntimeError('{why}')\n", encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'stable_worldmodel', raising=False)
    words = ('collect', '--env', 'swm/TwoRoom-v1', '--out', tmp_path / 'a.h5')
    error = said(capsys, *words)
    assert error.rstrip().endswith(remedy)
    assert why in error


def test_a_method_that_world_evaluate_would_skip_is_an_error() -> None:
    inner = SimpleNamespace(_set_state=print)
    world: Any = SimpleNamespace(envs=SimpleNamespace(envs=[SimpleNamespace(unwrapped=inner)]))
    with pytest.raises(ArenaError, match='has no _set_goal_state to set start and goal'):
        installed.require_calls(ROOMS, world)


# Their World.


class Replay:
    """Takes the recorded actions of each pair."""

    def __init__(self, actions: list[Array]) -> None:
        self._actions, self._time = np.stack(actions), 0

    def set_env(self, envs: Any) -> None:
        """Need nothing."""

    def get_action(self, infos: Any) -> Array:
        """Return the next actions (N, A)."""
        self._time += 1
        return self._actions[:, min(self._time, self._actions.shape[1]) - 1]


@needs_swm
@pytest.mark.parametrize(
    ('name', 'episodes', 'length', 'pairs', 'offset'),
    [
        ('swm/TwoRoom-v1', 4, 40, 8, 15),
        ('swm/PushT-v1', 4, 40, 8, 15),
        ('swm/ReacherDMControl-v0', 2, 30, 4, 20),
        ('swm/OGBCube-v0', 1, 20, 2, 10),  # renders slowly
    ],
)
def test_recorded_actions_lead_from_start_to_goal_as_their_world_judges(
    name: str, episodes: int, length: int, pairs: int, offset: int, tmp_path: Path
) -> None:
    environment, path = ENVIRONMENTS[name], tmp_path / 'held_out.h5'
    knobs = [f'arena.episodes={episodes}', f'arena.length={length}']
    settings = load_config(environment.config, knobs).arena
    recorder.record(environment, path, settings, environment.policies[-1])
    protocol = Evaluate(pairs=pairs, offset=offset, budget=offset, lanes=pairs)
    goals = draw_goals(environment, path, protocol)
    with h5py.File(path) as file:
        first = file['ep_offset'][:]
        begins = [
            first[one] + start for one, start in zip(goals.episodes, goals.starts, strict=True)
        ]
        actions = [file['action'][at : at + offset] for at in begins]
    policies: Any = {
        'replay': (lambda _: Replay(actions), 1),
        'away': (lambda _: Replay([np.ones_like(one) for one in actions]), 1),
    }
    found = judge(environment, goals, policies, protocol)
    # A block that still moves at the start goes on in the recording alone.
    assert found['replay'].rate() >= 1 - 1 / pairs
    if name != 'swm/OGBCube-v0':  # where it is enough that the cube stays
        assert found['away'].rate() < found['replay'].rate()


@needs_swm
def test_the_same_seed_records_the_same_file(tmp_path: Path) -> None:
    settings = load_config('swm_two_room', ['arena.episodes=2', 'arena.length=20']).arena
    seeds = {'one': 3, 'same': 3, 'other': 4}
    found = {}
    for name, seed in seeds.items():
        out = tmp_path / f'{name}.h5'
        recorder.record(ROOMS, out, replace(settings, seed=seed), 'expert')
        with h5py.File(out) as file:
            found[name] = [file[key][:] for key in ('pixels', 'action', 'ep_len')]
    for one, same in zip(found['one'], found['same'], strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(found['one'][1], found['other'][1], equal_nan=True)


def blocks(language: str) -> list[str]:
    """Return the code of the page in a language."""
    text = PAGE.read_text(encoding='utf-8')
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


@needs_swm
def test_the_commands_of_the_page_lead_to_a_judged_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fewer = {
        'collect': ['--episodes', '6', 'arena.length=40'],
        'train': ['train.steps=4', 'train.batch=8'],
        'evaluate': ['evaluate.pairs=2', 'evaluate.repeats=1', 'evaluate.lanes=2'],
    }
    for command in blocks('bash')[1].splitlines():
        words = command.split()
        assert words[0] == 'smwm'
        assert main([*words[1:], *fewer.get(words[1], [])]) == 0, command
    shown = capsys.readouterr().out
    assert 'swm/TwoRoom-v1, judged by World.evaluate: 2 pairs' in shown
    results = json.loads(Path('runs/rooms/evaluate_swm_two_room.json').read_text())
    assert list(results['results']) == ['smwm', 'paper', 'random']
    assert results['methods']['paper']['execute'] == 25


@needs_swm
def test_the_code_of_the_page_runs_a_run_as_their_policy_and_as_the_cost_of_their_solver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    save(run, tiny_checkpoint())
    code = '\n'.join(blocks('python')).replace('runs/pusht', str(run))
    for many, few in (
        ('num_envs=4', 'num_envs=2'),
        ('max_episode_steps=100', 'max_episode_steps=12'),
        ('episodes=8', 'episodes=3'),
        ('num_samples=300, n_steps=30, topk=30', 'num_samples=16, n_steps=2, topk=4'),
    ):
        assert many in code
        code = code.replace(many, few)
    names: dict[str, Any] = {}
    exec(code, names)
    rates = [line for line in capsys.readouterr().out.splitlines() if 'CEM' not in line]
    assert len(rates) == 2
    assert all(0 <= float(rate) <= 100 for rate in rates)


def test_an_unknown_environment_and_a_latent_model_are_refused() -> None:
    with pytest.raises(SmwmError, match='no such environment'):
        environment_of('TwoRoom')
    checkpoint = tiny_checkpoint()._replace(model=torch.nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match='use PlannerPolicy'):
        CostModel(checkpoint)


def test_a_file_is_read_by_its_index(file: Path) -> None:
    with read_episodes(file, ('qpos',)) as found:
        assert found.lengths == [40, 30]
        assert (found.image_size, found.action_size) == (SIZE, 2)
        assert found.row(1, 3, ('qpos',))['qpos'].tolist() == [103, 103]
