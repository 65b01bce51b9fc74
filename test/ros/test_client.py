# SPDX-License-Identifier: Apache-2.0
"""The verbs that speak to a plan node: what a person types, against a node that runs."""

from contextlib import contextmanager, ExitStack, suppress
from functools import partial
import json
import os
import threading
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from harness import wait_until, world
from lifecycle_msgs.srv import GetState
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from smwm_ros.cli import main
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.errors import SmwmError
from smwm_ros.nodes import connection
from smwm_ros.nodes.client import Client
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger


@pytest.fixture
def here(measured, tmp_path):
    """Return a node that drives and knows a goal."""
    GoalLibrary(tmp_path / 'goals').save('dock', [np.full((8, 8, 3), 77, np.uint8)])
    with world(
        measured,
        f'goal.folder:={tmp_path / "goals"}',
        'goal.near:=0.0',
        'node.image_timeout:=20.0',
    ) as made:
        made.drive()
        yield made


def say(capsys, *words):
    """Run a verb; return its code, and what it printed."""
    code = main(list(words))
    out = capsys.readouterr()
    return code, out.out + out.err


def test_stop_and_engage(here, capsys):
    code, said = say(capsys, 'stop')
    assert (code, said) == (0, 'stopped; call ~/engage to resume\n')
    here.wait_for('STOPPED')
    assert say(capsys, 'engage') == (0, 'engaged\n')
    here.wait_for('RUNNING')


def test_status_shows_what_the_robot_does_and_why(here, capsys):
    code, said = say(capsys, 'status')
    assert code == 0
    assert said.startswith('/plan: RUNNING: commands follow the plan')
    assert 'planning time: ' in said
    assert 'nan' not in said


def test_several_names_are_alternative_goals(here, capsys, tmp_path):
    GoalLibrary(tmp_path / 'goals').save('home', [np.full((8, 8, 3), 200, np.uint8)])
    code, said = say(capsys, 'goal', 'name', 'dock', 'home')
    assert (code, said) == (0, 'goal 2: dock, home, any of 2 goals\n')


def test_a_measured_state_is_a_goal_and_an_unknown_field_names_the_valid_ones(located, capsys):
    with world(located) as running:
        running.camera_on = True
        wait_until(lambda: running.plan.session, 'the activation')
        code, said = say(capsys, 'goal', 'state', 'x=0.5')
        assert (code, said) == (0, 'goal 1: /goal/state, 1 subgoal\n')
        code, said = say(capsys, 'goal', 'state', 'x=0.5', 'z=1')
        assert code == 2
        assert "'z': not in robot.state.fields; " in said
        assert 'valid: pose.pose.position.x, pose.pose.position.y' in said


@pytest.mark.parametrize(
    ('words', 'what'),
    [
        (['x=far'], "'x=far': expected FIELD=VALUE with a finite number"),
        (['x=inf'], "'x=inf': expected FIELD=VALUE"),
        ([], 'state: expected FIELD=VALUE'),
        (['position[name=x]=far'], "'position[name=x]=far': expected FIELD=VALUE"),
        (['=1'], "'=1': expected FIELD=VALUE"),
        (['x'], "'x': expected FIELD=VALUE"),
        (['x=1', 'x=2'], 'x: named twice'),
        (['x=1', '2'], '1 number without a field beside FIELD=VALUE'),
    ],
)
def test_a_state_that_cannot_be_read_is_refused_before_a_node_is_called(capsys, words, what):
    code, said = say(capsys, 'goal', 'state', *words)
    assert code == 2
    assert what in said


def test_goals_by_name_and_picture_are_accepted_and_a_bad_one_gives_the_reason(
    here, capsys, tmp_path
):
    code, said = say(capsys, 'goal', 'name', 'dock')
    assert (code, said) == (0, 'goal 2: dock, 1 subgoal\n')
    code, said = say(capsys, 'goal', 'name', 'dokc')
    assert code == 2
    assert "no goal 'dokc' in" in said
    assert "did you mean 'dock'" in said
    cv2.imwrite(str(tmp_path / 'there.png'), np.full((20, 30, 3), 99, np.uint8))
    code, said = say(capsys, 'goal', 'image', str(tmp_path / 'there.png'))
    assert (code, said) == (0, 'goal 3: /goal/image, 1 subgoal\n')
    wait_until(lambda: here.pilot.goals[-1] == 99, 'the picture')
    code, said = say(capsys, 'goal', 'image', str(tmp_path / 'nothing.png'))
    assert code == 2
    assert 'nothing.png: cannot be read' in said


def test_what_the_camera_shows_and_drives_are_kept(here, capsys):
    code, said = say(capsys, 'goal', 'capture')
    assert (code, said) == (0, 'goal: view_1\n')
    wait_until(lambda: json.loads(here.accepted[-1])['source'] == 'view_1', 'word of the goal')
    assert say(capsys, 'goal', 'route', 'start') == (0, 'route: recording\n')
    code, said = say(capsys, 'goal', 'route', 'start')
    assert (code, said) == (0, 'route: recording; the recording before is discarded\n')


class LosesFirstAnswers(Node):
    """A node whose first answer of each service is lost, as before it has discovered a client."""

    def __init__(self, context):
        super().__init__('plan', context=context)
        self.calls = []
        for kind, name in ((Trigger, 'stop'), (SetBool, 'engage'), (GetState, 'get_state')):
            self.create_service(kind, f'~/{name}', partial(self._on_call, name))

    def _on_call(self, name, _, answer):
        self.calls.append(name)
        if self.calls.count(name) == 1 and name != 'engage':
            return None  # rclpy raises, and sends nothing
        if name != 'get_state':
            answer.success, answer.message = True, name
        return answer


@contextmanager
def serving(node_of):
    """Run a node in a thread."""
    context = Context()
    rclpy.init(context=context)
    node = node_of(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ended = threading.Event()

    def serve():
        while not ended.is_set():
            with suppress(TypeError):
                executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield node
    finally:
        ended.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


@pytest.fixture
def unlucky(monkeypatch):
    monkeypatch.setattr(connection, '_DISCOVERY', 20.0)  # answers are lost here, not discovery
    with serving(LosesFirstAnswers) as node:
        yield node


def test_a_lost_answer_costs_a_second_and_an_engagement_is_never_repeated(unlucky, capsys):
    assert say(capsys, 'stop') == (0, 'stop\n')
    assert unlucky.calls == ['stop', 'stop']
    unlucky.calls.clear()
    assert say(capsys, 'engage') == (0, 'engage\n')
    assert unlucky.calls == ['get_state', 'get_state', 'engage']


class Answers(Node):
    """A node that answers at once."""

    def __init__(self, context):
        super().__init__('plan', context=context)
        self.calls = list[Any]()
        for kind, name in ((Trigger, 'stop'), (SetBool, 'engage'), (GetState, 'get_state')):
            self.create_service(kind, f'~/{name}', partial(self._on_call, name))
        self.create_subscription(Float64MultiArray, '/arena/goal_state', self.calls.append, 10)
        health = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        reason = KeyValue(key='reason', value='RUNNING')
        status = DiagnosticStatus(name='plan: control', message='it drives', values=[reason])
        self.create_timer(0.1, lambda: health.publish(DiagnosticArray(status=[status])))

    def _on_call(self, name, _, answer):
        self.calls.append(name)
        if name != 'get_state':
            answer.success, answer.message = True, name
        return answer


@pytest.fixture
def joins(monkeypatch):
    """Start a node that only a client that joins a second time can discover; note all joins."""
    noted = list[Any]()
    monkeypatch.setattr(connection, '_DISCOVERY', 0.5)
    join = connection.Connection._join
    with ExitStack() as running:

        def late(self):
            if noted:
                noted.append(running.enter_context(serving(Answers)))
                monkeypatch.setattr(connection, '_DISCOVERY', 20.0)  # the machine may be busy
            else:
                noted.append(None)
            join(self)

        monkeypatch.setattr(connection.Connection, '_join', late)
        yield noted


@pytest.mark.parametrize(
    ('words', 'answer'),
    [
        (['engage'], 'engage\n'),
        (['stop'], 'stop\n'),
        (['status'], '/plan: RUNNING: it drives\n'),
        (['goal', 'state', '1', '2'], ''),
    ],
)
def test_a_node_that_was_not_discovered_is_looked_for_once_more(joins, capsys, words, answer):
    code, said = say(capsys, *words)
    assert code == 0, said
    assert answer in said
    _, node = joins
    if words == ['engage']:
        assert node.calls.count('engage') == 1
    if words[0] == 'goal':
        wait_until(lambda: [list(call.data) for call in node.calls] == [[1.0, 2.0]], 'the state')


def test_a_state_that_the_arena_node_did_not_receive_is_an_error(capsys, monkeypatch):
    monkeypatch.setattr(Publisher, 'wait_for_all_acked', lambda *_: False)
    with serving(Answers):
        code, said = say(capsys, 'goal', 'state', '1', '2')
    assert (code, said) == (
        2,
        'smwm goal: the subscriber of /arena/goal_state did not receive it in 10 s\n',
    )


def test_a_middleware_without_acknowledgements_gets_time_to_send(capsys, monkeypatch):
    def unsupported(*_):
        raise NotImplementedError

    monkeypatch.setattr(Publisher, 'wait_for_all_acked', unsupported)
    with serving(Answers) as node:
        assert say(capsys, 'goal', 'state', '1', '2')[0] == 0
        wait_until(lambda: node.calls, 'the state')


class HalfDiscovered(Node):
    """A node of which only one service was discovered."""

    def __init__(self, context):
        # In a namespace of its own, since nodes of earlier tests may still be discovered.
        super().__init__('plan', context=context, namespace='half')
        self.create_service(SetBool, '~/engage', lambda _, answer: answer)


def test_a_node_that_was_discovered_by_half_is_looked_for_once_more(capsys, monkeypatch):
    monkeypatch.setattr(connection, '_DISCOVERY', 1.0)
    with serving(HalfDiscovered):
        code, said = say(capsys, 'engage', '--namespace', 'half')
    assert code == 2
    assert 'no service /half/plan/engage or /half/plan/get_state within 2 s' in said


def test_a_client_joins_twice_at_most_and_once_where_its_node_is_known(capsys, monkeypatch):
    # In a domain of its own, since nodes of earlier tests may still be discovered.
    monkeypatch.setenv('ROS_DOMAIN_ID', str(1 + (os.getpid() + 50) % 100))
    monkeypatch.setattr(connection, '_DISCOVERY', 0.5)
    joined = []
    join = connection.Connection._join

    def count(self):
        joined.append(self)
        join(self)

    monkeypatch.setattr(connection.Connection, '_join', count)
    code, said = say(capsys, 'engage')
    assert code == 2
    missing = 'no service /plan/engage or /plan/get_state within 1 s; no other plan node was found'
    assert missing in said
    assert len(joined) == 2
    joined.clear()
    monkeypatch.setattr(connection, '_DISCOVERY', 20.0)
    with serving(Answers), Client('') as client:
        assert client.engage() == 'engage'
        monkeypatch.setattr(connection, '_DISCOVERY', 0.5)
        with pytest.raises(SmwmError, match=r'no service /plan/goal/capture or .* within 0 s'):
            client.capture()
        assert client.stop() == 'stop', 'what was discovered is still in use'
    assert len(joined) == 1


def test_a_node_of_another_namespace_is_pointed_out(here, capsys, monkeypatch):
    monkeypatch.setattr(connection, '_DISCOVERY', 5.0)  # twice; DDS announces nodes every 3 s
    for words in (['stop'], ['engage'], ['status'], ['goal', 'name', 'dock']):
        code, said = say(capsys, *words, '--namespace', 'elsewhere')
        assert code == 2
        assert '/elsewhere/' in said
        assert 'found /plan; see --namespace' in said
    code, said = say(capsys, 'goal', 'state', '1.0', '2.0')
    assert code == 2
    assert 'no subscriber on /arena/goal_state' in said
