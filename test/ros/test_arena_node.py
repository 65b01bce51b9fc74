# SPDX-License-Identifier: Apache-2.0
"""Tests for the arena node, as a process that is driven over ROS."""

import json
import math
import signal
import subprocess
import sys

from harness import PATIENCE
import numpy as np
import pytest
from remote import arena
from sensor_msgs.msg import CompressedImage
from smwm_ros.arenas import make_arena
from smwm_ros.codec.images import to_rgb

RIGHT = (0.5, 0.0)


def write_tasks(folder, *tasks):
    """Write a file of tasks, and return the words that name it."""
    path = folder / 'tasks.json'
    path.write_text(json.dumps([{'start': start, 'goal': goal} for start, goal in tasks]))
    return f'sim.tasks:={path}'


def test_the_camera_shows_where_odometry_says_the_robot_is():
    with arena() as remote:
        image, odometry = remote.images[-1], remote.states[-1]
        assert image.header.frame_id == 'camera_optical_frame'
        assert (odometry.header.frame_id, odometry.child_frame_id) == ('odom', 'base_link')
        assert image.header.stamp.sec > 0
        twin = make_arena('two_room', 16)
        assert np.array_equal(to_rgb(image), twin.set_state(np.array(remote.place)).pixels)
        assert np.array_equal(to_rgb(remote.goals[-1]), twin.set_goal(remote.task['goal']).pixels)
        twin.close()


def test_the_robot_obeys_commands_and_stops_when_they_stop(tmp_path):
    tasks = write_tasks(tmp_path, ([0.3, 0.5], [-0.9, -0.9]))
    with arena(tasks, 'sim.command_timeout:=0.1') as remote:
        assert remote.place == pytest.approx((0.3, 0.5))
        remote.ticks(3)
        assert remote.task['phase'] == 'waiting'
        remote.send(RIGHT)
        remote.wait(lambda: remote.place[0] > 0.3, 'motion')
        remote.ticks(10)  # 0.2 s
        rest = remote.place
        steps = remote.task['steps']
        remote.ticks(5)
        assert remote.place == rest
        assert rest[1] == pytest.approx(0.5, abs=1e-3)
        assert remote.task['phase'] == 'running'
        assert remote.task['steps'] > steps, 'time passes for a robot that stands still'


@pytest.mark.parametrize('nonsense', [(math.nan, 0.5), (math.inf, 0.0), (0.0, 0.0)])
def test_nonsense_and_stop_commands_start_no_task(nonsense):
    with arena() as remote:
        before = remote.place
        for _ in range(5):
            remote.send(nonsense)
            remote.ticks(1)
        assert remote.place == before
        assert remote.task['phase'] == 'waiting'
        remote.drive((-0.5, -0.5), lambda: remote.task['phase'] == 'running', 'the start')


def test_a_course_goes_from_success_to_failure_to_its_end(tmp_path):
    tasks = write_tasks(tmp_path, ([0.3, 0.5], [0.6, 0.5]), ([0.5, 0.0], [-0.9, 0.9]))
    with arena(tasks, 'sim.budget:=10') as remote:
        remote.drive(RIGHT, lambda: remote.task['phase'] != 'waiting', 'the start')
        remote.drive(RIGHT, lambda: remote.task['phase'] != 'running', 'the end')
        task = remote.task
        assert task['phase'] == 'success'
        assert task['path'][0] == pytest.approx([0.3, 0.5])
        assert len(task['path']) == task['steps'] + 1
        remote.drive(RIGHT, lambda: remote.place == pytest.approx(task['path'][-1]), 'rest')
        held = remote.place
        remote.send(RIGHT)
        remote.ticks(3)
        assert remote.place == held

        goals = len(remote.goals)
        assert remote.call('next').success
        remote.wait(lambda: len(remote.goals) > goals, 'the next goal')
        remote.wait(lambda: remote.task['task'] == 1 and remote.task['goal_shown'], 'task 1')
        assert (remote.task['phase'], remote.task['steps']) == ('waiting', 0)
        assert remote.place == pytest.approx((0.5, 0.0))
        remote.drive(RIGHT, lambda: remote.task['phase'] == 'failure', 'failure')
        assert remote.task['steps'] == 10

        answer = remote.call('next')
        assert not answer.success
        assert answer.message.startswith('no next task: all 2 tasks of sim.tasks have run')
        assert remote.call('reset').success
        remote.wait(lambda: remote.task['phase'] == 'waiting', 'a random task')


def test_random_tasks_follow_each_other_by_themselves_when_asked_to():
    with arena('sim.budget:=1', 'sim.auto_next:=0.2') as remote:
        remote.drive((0.5, 0.5), lambda: remote.task['task'] >= 2, 'the third task')


def test_the_camera_may_be_compressed_on_a_topic_of_its_own():
    words = ('robot.camera.type:=sensor_msgs/msg/CompressedImage', 'robot.camera.topic:=/eye')
    with arena(*words, camera=(CompressedImage, '/eye')) as remote:
        assert remote.images[-1].format == 'png'
        assert to_rgb(remote.images[-1]).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('arena.name:=two_rom', "'two_rom': no such arena; did you mean 'two_room'"),
        ('arena.image_size:=4', 'parameters of arena: image_size: 4 is out of range'),
        ('sim.budget:=-1', 'parameters of sim: budget: -1 is out of range'),
        ('sim.tasks:=/nowhere.json', '/nowhere.json: cannot be read'),
        ('robot.dt:=0.2', 'robot.dt: expected 0.1 s in this arena'),
        ('robot.command.type:=geometry_msgs/msg/Twits', "did you mean 'Twist'"),
        ('robot.command.type:=geometry_msgs/msg/Twist', "Twist has no field 'twist'"),
    ],
)
def test_a_bad_parameter_is_one_clear_line_and_exit_code_2(word, message):
    node = subprocess.run(
        [sys.executable, '-m', 'smwm_ros.nodes.arena', '--ros-args', '-p', word],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert node.returncode == 2
    assert message in node.stderr
    assert len(node.stderr.splitlines()) == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_however_often_ends_the_node_in_order(number):
    with arena() as remote:
        for _ in range(3):
            remote.process.send_signal(number)
        assert remote.process.wait(PATIENCE) == 0
