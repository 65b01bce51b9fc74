# SPDX-License-Identifier: Apache-2.0
"""A stop holds until a person ends it: through transitions, and in the next process."""

import os
import signal
import threading

from harness import FakePilot, PATIENCE, wait_until, world
import pytest
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.robot_setup import Setup
from test_plan_process import robot  # noqa: F401 - a fixture


def test_a_stop_outlives_deactivation_and_a_new_configuration(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        assert here.stop().success
        for transitions in (['deactivate', 'activate'], TURN):
            for name in transitions:
                assert here.transition(name)
            here.wait_for('STOPPED')
            here.frames_more(10)
            assert here.status == 'STOPPED'
        moved = len([c for c in here.commands if c.twist.linear.x])
        here.frames_more(10)
        assert len([c for c in here.commands if c.twist.linear.x]) == moved
        assert here.engage().success
        here.wait_for('RUNNING')


TURN = ['deactivate', 'cleanup', 'configure', 'activate']


@pytest.mark.parametrize('word', ['stop', 'engage'])
def test_a_stop_of_a_node_that_is_not_active_holds_once_it_is(checkpoint, word):
    with world(checkpoint, 'node.autostart:=false') as here:
        assert here.transition('configure')
        answer = here.stop() if word == 'stop' else here.engage(False)
        assert answer.success
        assert not here.engage(True).success, 'there is nothing to engage yet'
        here.camera_on = True
        here.aim()
        assert here.transition('activate')
        reason = 'STOPPED' if word == 'stop' else 'NOT_ENGAGED'
        here.wait_for(reason)
        here.frames_more(10)
        assert here.status == reason
        assert here.commands == []
        wait_until(lambda: here.health.get('stop_latched') == 'true', 'diagnostics')
        assert here.engage().success
        here.wait_for('RUNNING')
        assert here.transition('deactivate')
        assert here.transition('activate')
        here.wait_for('RUNNING')


def test_a_stop_is_served_while_a_transition_takes_its_time(checkpoint):
    go = threading.Event()

    def slow(*words):
        go.wait(PATIENCE)
        return FakePilot(*words)

    with world(checkpoint, 'node.autostart:=false', make_pilot=slow) as here:
        here.camera_on = True
        here.aim()
        done = threading.Thread(target=lambda: here.transition('configure'))
        done.start()
        assert here.stop().success, 'though the node is busy'
        go.set()
        done.join()
        assert here.transition('activate')
        here.wait_for('STOPPED')


def test_a_stop_is_served_while_an_image_and_a_goal_are_read(checkpoint, monkeypatch):
    with world(checkpoint) as here:
        here.drive()
        go = threading.Event()
        view, pixels = Setup.view, Setup.pixels
        reading = set()

        def slow(read, what):
            def wait(*words):
                reading.add(what)
                go.wait(PATIENCE)
                return read(*words)

            return wait

        monkeypatch.setattr(Setup, 'view', slow(view, 'image'))
        monkeypatch.setattr(Setup, 'pixels', slow(pixels, 'goal'))
        here.aim(10)
        wait_until(lambda: reading == {'image', 'goal'}, 'both to be read')
        assert here.stop().success
        here.wait_for('STOPPED')
        go.set()


@pytest.mark.parametrize('kept', [True, False])
def test_a_stop_outlives_the_process_where_that_is_wanted(
    checkpoint,
    robot,  # noqa: F811
    tmp_path,
    kept,
):
    knobs = {'checkpoint': str(checkpoint), 'node': {'keep_stop': kept}}
    environment = {**os.environ, 'XDG_STATE_HOME': str(tmp_path / 'state')}

    def start():
        return ChildProcess('smwm_ros.nodes.plan', knobs, tmp_path, environment)

    with start() as child:
        wait_until(lambda: len(robot) > 2, 'commands')
        assert robot.call_stop().success
        os.kill(child.pid, signal.SIGKILL)
    robot.statuses.clear()
    with start():
        expected = 'STOPPED' if kept else 'RUNNING'
        wait_until(lambda: expected in robot.statuses, expected)
        if kept:
            assert 'RUNNING' not in robot.statuses
            # The status may still be that of the killed process.
            wait_until(lambda: robot.call_engage().success, 'the activation')
            wait_until(lambda: 'RUNNING' in robot.statuses, 'motion')
    robot.statuses.clear()
    with start():
        wait_until(lambda: 'RUNNING' in robot.statuses, 'the end of the stop to hold, too')
