# SPDX-License-Identifier: Apache-2.0
"""
The four environments of stable-worldmodel that the paper evaluates in, and how it uses them.

Nothing here imports stable-worldmodel: names and files can be checked where it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.errors import ArenaError, ConfigError, did_you_mean
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

Row = Mapping[str, Array]  # the columns of one row of a recorded file
Columns = tuple[str, ...]


class Environment(NamedTuple):
    """One environment, with the task of the paper."""

    name: str  # as Gymnasium knows it
    config: str  # the shipped configuration
    action_size: int
    words: Mapping[str, Any]  # for Gymnasium: the task of the paper
    recorder_words: Mapping[str, Any]  # further ones while data are recorded
    columns: Columns  # that a recorded file must have, beside pixels and action
    extra: Columns  # further ones that are recorded
    states: Columns  # those that make the measured state of the shipped configuration
    calls: list[dict[str, Any]]  # how World.evaluate sets start and goal
    policies: Columns  # that can record data; the first is the default
    is_solved: Callable[[Row, Row], bool]  # whether a start already counts as the goal
    paper: float  # success of the paper's model, as a share
    renders_3d: bool = False  # by MuJoCo, with EGL or OSMesa


def _call(method: str, **values: str | int) -> dict[str, Any]:
    """Return a call as World.evaluate takes it; words name columns, numbers are passed on."""
    return {
        'method': method,
        'args': {
            name: {'value': value, 'in_dataset': isinstance(value, str)}
            for name, value in values.items()
        },
    }


def _near_spot(start: Row, goal: Row) -> bool:
    return bool(np.linalg.norm(start['proprio'] - goal['proprio']) < 16)  # [px]


def _near_pose(start: Row, goal: Row) -> bool:
    here, there = start['state'], goal['state']
    turn = abs(there[4] - here[4])
    turn = min(turn, 2 * np.pi - turn)
    return bool(np.linalg.norm(there[:4] - here[:4]) < 20 and turn < np.pi / 9)  # [px], [rad]


def _near_joints(start: Row, goal: Row) -> bool:
    return bool((np.abs(start['qpos'] - goal['qpos']) < 0.05).all())  # [rad]


def _near_cube(start: Row, goal: Row) -> bool:
    place = 'privileged_block_0_pos'
    return bool(np.linalg.norm(start[place] - goal[place]) <= 0.04)  # [m]


_CUBE = ('privileged_block_0_pos', 'privileged_block_0_quat')
_ARM = ('proprio_effector_pos', 'proprio_effector_yaw', 'proprio_gripper_opening')

ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment(
            'swm/TwoRoom-v1',
            'swm_two_room',
            2,
            {},
            {},
            ('proprio',),
            ('state',),
            ('proprio',),
            [
                _call('_set_state', state='proprio'),
                _call('_set_goal_state', goal_state='goal_proprio'),
            ],
            ('expert', 'random'),
            _near_spot,
            1.0,
        ),
        Environment(
            'swm/PushT-v1',
            'swm_push_t',
            2,
            {},
            {},
            ('state',),
            ('proprio', 'n_contacts'),
            ('state',),
            [
                _call('_set_state', state='state'),
                _call('_set_goal_state', goal_state='goal_state'),
            ],
            ('weak', 'random'),
            _near_pose,
            0.844,
        ),
        Environment(
            'swm/ReacherDMControl-v0',
            'swm_reacher',
            2,
            {'task': 'qpos_match'},
            {},
            ('qpos', 'qvel'),
            ('observation',),
            ('qpos', 'qvel'),
            [
                _call('set_state', qpos='qpos', qvel='qvel'),
                _call('set_target_qpos', target_qpos='goal_qpos'),
            ],
            ('random', 'held'),
            _near_joints,
            0.714,
            renders_3d=True,
        ),
        Environment(
            'swm/OGBCube-v0',
            'swm_cube',
            5,
            {
                'env_type': 'single',
                'ob_type': 'states',
                'width': 224,
                'height': 224,
                'terminate_at_goal': True,
                'visualize_info': False,
            },
            {'mode': 'data_collection', 'terminate_at_goal': False},
            ('qpos', 'qvel', *_CUBE),
            (*_ARM, 'privileged_block_0_yaw'),
            (*_ARM, *_CUBE),
            [
                _call('set_state', qpos='qpos', qvel='qvel'),
                _call(
                    'set_target_pos',
                    cube_id=0,
                    target_pos=f'goal_{_CUBE[0]}',
                    target_quat=f'goal_{_CUBE[1]}',
                ),
            ],
            ('expert', 'random'),
            _near_cube,
            0.83,
            renders_3d=True,
        ),
    )
}


def environment_of(name: str) -> Environment:
    """Return an environment, or raise with the valid names."""
    if name not in ENVIRONMENTS:
        raise ArenaError(
            f"--env: '{name}': no such environment of the paper; "
            f'{did_you_mean(name, ENVIRONMENTS)}'
        )
    return ENVIRONMENTS[name]


def policy_of(environment: Environment, name: str | None) -> str:
    """Return the name of the policy that records, or raise with the valid ones."""
    if not name:
        return environment.policies[0]
    if name not in environment.policies:
        raise ConfigError(
            f"--policy: '{name}' does not record {environment.name}; "
            f'{did_you_mean(name, environment.policies)}'
        )
    return name


def require_actions(environment: Environment, size: int, where: str) -> None:
    """Raise if a run or a file has another number of action fields."""
    if size != environment.action_size:
        raise ArenaError(
            f'{where}: its actions have {count_of(size, "number")}, expected '
            f'{environment.action_size} in {environment.name}'
        )
