# SPDX-License-Identifier: Apache-2.0
"""Command topics are proposed by what they are, with what stops the robot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import made, STORE, TinyBag
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.errors import DatasetError

Capture = pytest.CaptureFixture[str]
JOINTS = ['elbow', 'wrist']


def inspect(capsys: Capture, path: Path) -> tuple[dict[str, Any], str]:
    """Return what inspect finds in a bag: the data, and its remarks."""
    assert main(['inspect', '--json', str(path)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found, '\n'.join(found['remarks'])


def joints(tick: float, *wheels: str) -> Any:
    msg = new_message(STORE, 'sensor_msgs/msg/JointState')
    msg.name = [*JOINTS, *wheels]
    msg.position = np.sin(np.arange(len(msg.name)) + tick / 9)
    return msg


def trajectory(points: list[tuple[float, list[float]]]) -> Any:
    """Make a trajectory of points: seconds from the start, and positions."""
    msg = new_message(STORE, 'trajectory_msgs/msg/JointTrajectory')
    msg.joint_names = JOINTS
    for seconds, positions in points:
        point = new_message(STORE, 'trajectory_msgs/msg/JointTrajectoryPoint')
        point.positions = np.array(positions, float)
        whole = int(seconds)
        point.time_from_start.sec = whole
        point.time_from_start.nanosec = round((seconds - whole) * 1e9)
        msg.points.append(point)
    return msg


def array(*numbers: float) -> Any:
    msg = new_message(STORE, 'std_msgs/msg/Float64MultiArray')
    msg.data = np.array(numbers, float)
    return msg


def twist(speed: float) -> Any:
    msg = new_message(STORE, 'geometry_msgs/msg/Twist')
    msg.linear.x = speed
    return msg


def test_a_trajectory_is_proposed_before_busier_joint_states_and_a_stop_holds(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(60):
        bag.frame(tick)
        for part in range(5):
            bag.send('/joint_states', joints(tick, 'left_wheel'), tick + part / 5)
        bag.send('/arm/joint_trajectory', trajectory([(0.1, [np.sin(tick / 9), tick])]), tick)
    found, _ = inspect(capsys, bag.close())
    assert found['robot']['command']['topic'] == '/arm/joint_trajectory'
    assert found['robot']['command']['stop'] == 'hold'
    assert found['robot']['state']['topic'] == '/joint_states'


@pytest.mark.parametrize(
    ('topic', 'make', 'stop', 'doubt'),
    [
        ('/cmd_vel', lambda tick: twist(tick + 1), 'zero', ''),
        ('/arm/position_commands', lambda tick: array(tick, 1), 'hold', ''),
        ('/arm/velocity_commands', lambda tick: array(tick, 1), 'zero', ''),
        (
            '/arm/commands',
            lambda tick: array(0.3, tick),
            'hold',
            'no message of /arm/commands is all zeros',
        ),
        (
            '/arm/commands',
            lambda tick: array(0, tick % 9),
            'zero',
            'some messages of /arm/commands are all zeros',
        ),
        ('/base/twist', lambda tick: twist(tick), 'zero', 'check that the robot follows it'),
        ('/joint_commands', joints, 'hold', ''),
    ],
)
def test_what_stops_a_robot_follows_from_what_its_commands_are(
    tmp_path: Path, capsys: Capture, topic: str, make: Any, stop: str, doubt: str
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(40):
        bag.frame(tick)
        bag.send(topic, make(tick), tick)
        for part in (0.2, 0.6):
            bag.send('/wheel/odom_twist', twist(tick + part), tick + part)
            bag.send('/joint_states', joints(tick), tick + part)
    found, remarks = inspect(capsys, bag.close())
    assert found['robot']['command']['topic'] == topic
    assert found['robot']['command']['stop'] == stop
    for words in (
        'no message of /arm/commands is all zeros',
        'some messages of /arm/commands are all zeros',
        'check that the robot follows it',
    ):
        assert (words in remarks) == (words == doubt)


def test_measured_joints_never_stand_for_commands_without_saying_so(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(40):
        bag.frame(tick)
        bag.send('/joint_states', joints(tick), tick)
    found, remarks = inspect(capsys, bag.close())
    assert found['robot']['command']['topic'] == '/joint_states'
    assert found['robot']['command']['stop'] == 'hold'
    assert found['dataset']['action'] == 'next_state_delta'
    assert '/joint_states is a measurement' in remarks
    assert 'the plan node does not accept it' in remarks


def test_positions_are_never_advised_to_become_zero(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(60):
        bag.frame(tick)
        if tick % 30 < 12:
            bag.send('/arm/position_commands', array(tick, 1), tick)
    path = bag.close()
    _, remarks = inspect(capsys, path)
    assert 'set a larger dataset.hold to keep them' in remarks
    assert 'after_hold' not in remarks
    words = ['robot.command.fields=["data[0:2]"]', 'robot.command.stop=hold', 'dataset.hold=0.1']
    words += ['robot.command.type=std_msgs/msg/Float64MultiArray', 'dataset.min_length=50']
    with pytest.raises(DatasetError, match=r'set a larger dataset\.hold to keep them'):
        made(tmp_path, path, 'robot.command.topic=/arm/position_commands', *words)


WORDS = (
    'robot.command.topic=/arm',
    'robot.command.type=trajectory_msgs/msg/JointTrajectory',
    'robot.command.fields=["points[0].positions[joint_names=elbow,wrist]"]',
    'robot.command.stop=hold',
)


def test_a_trajectory_of_several_points_is_read_along_its_time_from_start(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(40):
        bag.frame(tick)
        if tick == 0:  # two seconds, of which another takes the place after one
            bag.send('/arm', trajectory([(0.5, [5, 0]), (1.0, [10, 0]), (2.0, [20, -10])]), tick)
        if tick == 10:
            bag.send('/arm', trajectory([(0.2, [11, 1]), (2.2, [31, 21])]), tick)
    data = made(tmp_path, bag.close(), *WORDS, 'dataset.hold=0.3')
    actions = data.actions(np.arange(len(data)))
    # The first goal, from wherever the arm is; then half a unit each period, at its end.
    assert actions[:10, 0].tolist() == pytest.approx([5, 5, 5, 5, 5, 6, 7, 8, 9, 10])
    assert actions[10:32, 0].tolist() == pytest.approx([11, *range(11, 32)])
    assert actions[10:32, 1].tolist() == pytest.approx([1, *range(1, 22)])
    assert len(data) == 31 + 1 + 3, 'then the last position is held'


def test_limits_are_of_all_points_of_a_trajectory(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(40):
        bag.frame(tick)
        goal = [np.sin(tick), 1.0]
        bag.send('/arm/joint_trajectory', trajectory([(0.1, goal), (0.5, [3.0, -2.0])]), tick)
    found, _ = inspect(capsys, bag.close())
    assert found['robot']['command']['high'] == [3.0, 1.0]
    assert found['robot']['command']['low'][1] == -2.0
