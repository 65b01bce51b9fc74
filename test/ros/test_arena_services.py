# SPDX-License-Identifier: Apache-2.0
"""What else an arena node does: goals and draws on request, simulated time, robots with joints."""

from contextlib import contextmanager
import subprocess
import sys

import numpy as np
import pytest
from remote import arena
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from smwm_ros.codec.images import to_rgb
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import Float64MultiArray, String

RIGHT = (0.5, 0.0)


def stamp(message):
    """Return the stamp of a message [ns]."""
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def joints(message):
    """Return the measured joints by name."""
    return dict(zip(message.name, message.position, strict=True))


def test_goals_come_by_service_and_by_topic_and_the_robot_stays_where_it_is():
    with arena('robot.command.high:=[0.1, 0.1]') as remote:
        remote.drive(RIGHT, lambda: remote.task['steps'] > 5, 'some steps')
        xs = [state.pose.pose.position.x for state in remote.states[-5:]]
        assert np.diff(xs).max() <= 0.1 * 0.1 + 1e-6, 'narrower limits are obeyed'

        goal, shown = remote.task['goal'], len(remote.goals)
        assert remote.call('set_goal').success
        remote.wait(lambda: remote.task['goal'] != goal and remote.task['goal_shown'], 'a goal')
        assert (remote.task['phase'], remote.task['steps']) == ('waiting', 0)
        assert remote.task['start'] == pytest.approx(remote.place)
        remote.wait(lambda: len(remote.goals) > shown, 'the picture of the goal')

        publisher = remote.node.create_publisher(Float64MultiArray, '/arena/goal_state', 10)
        remote.wait(publisher.get_subscription_count, 'somebody who listens')
        goal = remote.task['goal']
        for nonsense in ([0.5], [np.nan, 0.5], []):
            publisher.publish(Float64MultiArray(data=nonsense))
        remote.ticks(5)
        assert remote.task['goal'] == goal
        publisher.publish(Float64MultiArray(data=[0.5, -0.25]))
        remote.wait(lambda: remote.task['goal'] == [0.5, -0.25], 'the goal')

        answer = remote.call('randomise')
        assert not answer.success
        assert answer.message.startswith('nothing is randomised in this arena; set')
        remote.wait(lambda: len(remote.health) > 1, 'diagnostics')
        assert remote.health[-1]['real_time_factor_asked_for'] == 5.0
        assert 0 < remote.health[-1]['real_time_factor'] < 10.0


def test_what_varies_is_drawn_anew_on_request_and_published():
    multi = 'std_msgs/msg/Float64MultiArray'
    words = (
        'randomise.usual:=true',
        'arena.distractors:=2',
        f'robot.command.type:={multi}',
        'robot.command.fields:=["data[0:2]"]',
        f'robot.state.type:={multi}',
        'robot.state.fields:=["data[0:2]"]',
    )
    kinds = {'state': (Float64MultiArray, '/odom'), 'command': (Float64MultiArray, '/cmd_vel')}
    with arena(*words, **kinds) as remote:
        remote.wait(lambda: remote.drawn, 'what was drawn')
        x, y = remote.states[-1].data
        before, looked = remote.drawn[-1], to_rgb(remote.images[-1])
        assert before['distractors'] == 2
        assert remote.call('randomise').success
        remote.wait(lambda: remote.drawn[-1] != before, 'another draw')
        remote.ticks(2)
        assert list(remote.states[-1].data) == [x, y]
        assert not np.array_equal(to_rgb(remote.images[-1]), looked)
        last = to_rgb(remote.images[-1])
        remote.wait(lambda: not np.array_equal(to_rgb(remote.images[-1]), last), 'rolling balls')

        def moved():
            remote.command.publish(Float64MultiArray(data=[-0.5 if x > 0 else 0.5, 0.0]))
            return abs(remote.states[-1].data[0] - x) > 0.1

        remote.wait(moved, 'motion')
        assert remote.states[-1].data[1] == pytest.approx(y, abs=1e-3)


@pytest.mark.parametrize(
    ('field', 'words'),
    [
        ('velocity', ['arena.name:=reacher']),
        ('effort', ['arena.name:=reacher_torque']),
        ('velocity', ['arena.name:=reacher', 'arena.lag:=0.2', 'arena.acceleration:=[5.0]']),
    ],
    ids=['velocity', 'torque', 'inertia'],
)
def test_a_robot_with_joints_is_measured_and_commanded_by_their_names(field, words):
    topics = {'state': (JointState, '/joint_states'), 'command': (JointState, '/joint_commands')}
    with arena(*words, **topics) as remote:
        start = joints(remote.states[-1])
        assert start.keys() == {'shoulder', 'elbow'}
        assert remote.states[-1].header.frame_id == 'base_link'
        wrong = JointState(name=['wrist'], **{field: [1.0]})
        turn = JointState(name=['elbow', 'shoulder'], **{field: [0.0, 1.0]})

        def turning():
            remote.command.publish(wrong)
            remote.command.publish(turn)
            return abs(joints(remote.states[-1])['shoulder'] - start['shoulder']) > 0.2

        remote.wait(turning, 'a shoulder that turns')
        if field == 'velocity':  # a torque of the shoulder bends the elbow, too
            assert joints(remote.states[-1])['elbow'] == pytest.approx(start['elbow'], abs=1e-3)
        remote.wait(lambda: remote.health, 'diagnostics')
        remote.wait(lambda: remote.health[-1]['commands_refused'] > 0, 'a wrong command')


def test_things_that_are_moved_are_measured_too():
    words = {'state': (JointState, '/joint_states'), 'command': (JointState, '/joint_commands')}
    with arena('arena.name:=cube', **words) as remote:
        names = joints(remote.states[-1]).keys()
        assert {'gap', 'cube_x', 'cube_cos'} < names
        assert len(names) == 9


@contextmanager
def planner(*words):
    """Start a plan node with the model of the package."""
    parameters = [part for word in words for part in ('-p', word)]
    process = subprocess.Popen(
        [sys.executable, '-m', 'smwm_ros.nodes.plan', '--ros-args', *parameters]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_plan_node_drives_it_by_simulated_time_as_it_drives_a_robot():
    words = ('sim.clock:=true', 'sim.real_time_factor:=0.5', 'arena.image_size:=64')
    reasons, times = [], []
    knobs = ('use_sim_time:=true', 'planner.samples:=32', 'node.exclusive:=false')
    with arena(*words) as remote, planner(*knobs):
        hear = remote.node.create_subscription
        hear(Clock, '/clock', lambda m: times.append(m.clock.sec * 10**9 + m.clock.nanosec), 100)
        hear(String, '/plan/status', lambda message: reasons.append(message.data), LATCHED)
        remote.wait(lambda: 'RUNNING' in reasons, 'a plan')
        remote.wait(lambda: remote.task['steps'] > 3 or remote.task['phase'] == 'success', 'steps')
        assert remote.task['phase'] in ('running', 'success')
        remote.ticks(3)
        steps = np.diff(times)
        assert steps.min() > 0
        assert np.median(steps) <= 0.02 * 1e9, 'time moves on within a raw step'
        assert all(stamp(message) % 10**8 == 0 for message in remote.images)
        assert set(map(stamp, remote.images[2:-2])) <= set(map(stamp, remote.states))
        assert stamp(remote.images[-1]) < 600 * 10**9, 'time begins at zero'
