# SPDX-License-Identifier: Apache-2.0
"""Tests of the action of the plan node, with a real client and the types that colcon builds."""

import math
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys
import time
from xml.etree import ElementTree

from harness import picture, wait_until, world
from interfaces import load_action
import numpy as np
from person import Person
import pytest
from rclpy.action import ActionClient
from sensor_msgs.msg import CompressedImage, Image, JointState
from smwm_ros.codec.images import fill_image
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.nodes.goal_action import ACTION, KINDS
import yaml

PAGE = (Path(__file__).parents[2] / 'docs' / 'nodes.md').read_text(encoding='utf-8')
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6


@pytest.fixture(scope='module')
def action(tmp_path_factory):
    """Return the class of the action."""
    return load_action(tmp_path_factory.mktemp('interfaces'))


class Drive:
    """One goal of the action: what its client receives."""

    def __init__(self, future, feedback):
        wait_until(future.done, 'the answer to a goal')
        self.handle, self.feedback = future.result(), feedback
        assert self.handle.accepted
        self._answer = self.handle.get_result_async()

    @property
    def status(self):
        """Return the status at the end."""
        wait_until(self._answer.done, 'the result')
        return self._answer.result().status

    @property
    def result(self):
        """Return the result."""
        wait_until(self._answer.done, 'the result')
        return self._answer.result().result

    @property
    def ended(self):
        """Return whether the result has come."""
        return self._answer.done()

    def cancel(self):
        """Cancel the goal, and wait for the answer."""
        future = self.handle.cancel_goal_async()
        wait_until(future.done, 'the answer to a cancellation')
        assert len(future.result().goals_canceling) == 1

    def expect(self, status, code, *texts):
        """Wait for the result; check its status, its code and texts in its message."""
        assert (self.status, self.result.error_code) == (status, code), self.result.error_msg
        for text in texts:
            assert text in self.result.error_msg

    def last(self):
        """Return the last feedback."""
        wait_until(lambda: self.feedback, 'feedback')
        return self.feedback[-1]

    def wait_for(self, condition, what):
        """Wait for feedback of which this is true."""
        wait_until(lambda: self.feedback and condition(self.feedback[-1]), what)


class Driver(Person):
    """Also gives goals by the action."""

    def __init__(self, here, action):
        super().__init__(here)
        self.action = action
        # In the thread of the executor, which must not see a client that is half made.
        made = here.robot.executor.create_task(
            lambda: ActionClient(here.robot, action, '/plan/go_to_image')
        )
        wait_until(made.done, 'the client')
        self._client = made.result()
        assert self._client.wait_for_server(20.0)

    def send(self, time_limit=0.0, **words):
        """Send a goal, and return the drive when it is accepted."""
        goal, feedback = self.action.Goal(**words), []
        goal.time_limit.sec, goal.time_limit.nanosec = 0, int(1e9 * time_limit)
        sent = self._client.send_goal_async(goal, lambda said: feedback.append(said.feedback))
        return Drive(sent, feedback)

    def drive(self, grey=100, **words):
        """Send an image as the goal, and wait until the robot drives there."""
        drive = self.send(image=picture(grey), **words)
        drive.wait_for(lambda said: not said.reason, 'motion')
        self.here.wait_for_motion()
        return drive


@pytest.fixture
def driven(measured, action):
    """Return a world with a robot that sees 10, and what drives it by the action."""
    with world(measured) as here:
        driver = Driver(here, action)
        driver.grey = 10
        wait_until(lambda: here.plan.session, 'the activation')
        yield driver


def test_a_goal_gives_feedback_and_succeeds_when_it_is_reached(driven, action):
    here = driven.here
    here.pilot.seconds = 2.5
    drive = driven.drive()
    drive.wait_for(lambda said: said.subgoals, 'progress')
    said = drive.last()
    assert (said.distance, said.seconds_to_go, said.subgoal, said.subgoals) == (2.0, 2.5, 0, 1)
    here.pilot.seconds = None
    drive.wait_for(lambda said: math.isnan(said.seconds_to_go), 'no time to go')
    driven.go(98)
    drive.expect(SUCCEEDED, action.Result.NONE)
    assert drive.result.error_msg == ''
    assert drive.result.distance == 2.0
    here.wait_for('GOAL_REACHED')
    here.wait_for_rest()
    (accepted,) = here.accepted
    assert '"source": "/plan/go_to_image"' in accepted


def test_every_kind_of_goal_is_taken(located, action, tmp_path):
    library = GoalLibrary(tmp_path / 'places')
    for name, greys in (('dock', [140]), ('low', [40]), ('way', [30, 60])):
        library.save(name, [np.full((8, 8, 3), grey, np.uint8) for grey in greys])
    with world(located, f'goal.folder:={tmp_path}/places') as here:
        driver = Driver(here, action)
        wait_until(lambda: here.plan.session, 'the activation')
        driver.go(10)
        png = fill_image(CompressedImage(), np.full((16, 16, 3), 120, np.uint8))
        driver.send(compressed_image=png)
        driver.aimed(120)
        driver.send(name='dock')
        driver.aimed(120, 140)
        driver.send(latent=[70.0] + 7 * [0.0])
        driver.aimed(120, 140, 70)
        driver.send(state=JointState(name=['x'], position=[1.0]))
        driver.aimed_near(100)
        driver.send(name='low, dock').wait_for(lambda said: said.subgoals == 2, 'alternatives')
        driver.aimed_near(40)
        route = driver.send(name='way')
        route.wait_for(lambda said: (said.subgoal, said.subgoals) == (0, 2), 'the first subgoal')
        driver.go(30)
        route.wait_for(lambda said: (said.subgoal, said.subgoals) == (1, 2), 'the last subgoal')
        driver.go(60)
        route.expect(SUCCEEDED, action.Result.NONE)


def test_a_goal_that_cannot_be_used_is_aborted_with_the_reason_and_changes_nothing(driven, action):
    drive = driven.drive()
    kinds = 'expected exactly one of image, compressed_image, name, latent, state; found '
    cut = picture(10)
    cut.data = cut.data[:5]
    for words, text in (
        ({}, kinds + 'none'),
        ({'image': picture(9), 'name': 'dock'}, kinds + 'image and name'),
        ({'name': 'dokc'}, "no goal 'dokc'"),
        ({'image': Image(encoding='rgb8')}, 'expected'),
        ({'image': cut}, 'expected'),
        ({'compressed_image': CompressedImage(format='png')}, 'image'),
        ({'latent': [1.0, 2.0]}, 'expected 8 finite numbers'),
        ({'latent': [math.nan] * 8}, 'expected 8 finite numbers'),
        ({'state': JointState(name=['x'])}, 'expected a position for each name'),
        ({'state': JointState(name=['x'], position=[1.0])}, 'smwm prepare'),
    ):
        refused = driven.send(**words)
        refused.expect(ABORTED, action.Result.INVALID_GOAL, text)
        assert math.isnan(refused.result.distance)
    early = action.Goal(name='dock')
    early.time_limit.sec = -1
    sent = driven._client.send_goal_async(early)
    Drive(sent, []).expect(ABORTED, action.Result.INVALID_GOAL, 'time_limit: expected 0 s or more')
    driven.here.wait_for_log("goal not used: no goal 'dokc'")
    assert not drive.ended
    assert driven.here.pilot.goals == [100]
    assert driven.here.status == 'RUNNING'


def test_cancelling_stops_the_robot_and_no_more_plans_are_made(driven, action):
    here = driven.here
    drive = driven.drive()
    drive.cancel()
    here.wait_for('NO_GOAL')
    here.wait_for_rest()
    drive.expect(CANCELED, action.Result.CANCELED)
    assert drive.result.distance == 2.0
    wait_until(lambda: here.values()['goal_distance'] == 2.0, 'the end of the last plan')
    seen = len(here.pilot.seen)
    here.frames_more(10)
    assert len(here.pilot.seen) == seen
    here.engage()  # there is no goal to go on to
    here.frames_more(5)
    assert here.status == 'NO_GOAL'
    driven.drive()  # and the same goal may come again
    assert here.pilot.goals == [100, 100]


def test_a_new_goal_ends_the_one_before_wherever_it_comes_from(driven, action):
    here, another = driven.here, action.Result.ANOTHER_GOAL
    drives = [driven.drive(100), driven.drive(100)]
    drives[0].expect(ABORTED, another, 'another goal came')
    drives.append(driven.drive(60))
    drives[1].expect(ABORTED, another)
    here.aim(150)
    drives[2].expect(ABORTED, another)
    assert drives[2].result.distance == 2.0
    driven.aimed(100, 100, 60, 150)
    assert here.status == 'RUNNING', 'a goal that was replaced stops nothing'
    last = driven.drive(200)
    assert driven.capture().success
    last.expect(ABORTED, another)


def test_cancelling_a_goal_that_was_replaced_does_not_stop_its_successor(driven, action):
    here = driven.here
    first = driven.drive(100)
    number = here.active.goals.current.number
    here.aim(150)
    wait_until(lambda: here.active.goals.current.number > number, 'the second goal')
    first.handle.cancel_goal_async()
    assert first.status in (ABORTED, CANCELED)
    here.active.goals.current.drop(number)  # the cancellation may have come too late
    here.frames_more(10)
    assert here.status == 'RUNNING'


def test_deactivation_ends_a_goal_and_activation_does_not_resume_it(driven, action):
    here = driven.here
    drive = driven.drive()
    assert here.transition('deactivate')
    drive.expect(ABORTED, action.Result.INACTIVE, 'the node is no longer active')
    here.wait_for_rest()
    driven.send(name='dock').expect(ABORTED, action.Result.INACTIVE, 'the node is not active')
    assert here.transition('activate')
    here.wait_for('NO_GOAL')
    driven.drive()


def test_a_stop_ends_a_goal_and_engaging_does_not_resume_it(driven, action):
    here = driven.here
    drive = driven.drive()
    controller = here.active.controller
    controller.stop()
    assert controller.engage()  # as the services do, but within a period of the watch
    drive.expect(ABORTED, action.Result.STOPPED, '~/engage')
    here.wait_for('NO_GOAL')
    here.stop()
    refused = driven.send(image=picture(50))
    refused.expect(ABORTED, action.Result.STOPPED)
    here.engage()
    here.wait_for('NO_GOAL')
    driven.drive()


def test_a_robot_that_is_not_engaged_waits_and_the_feedback_has_the_reason(driven, action):
    here = driven.here
    drive = driven.drive()
    here.engage(False)
    drive.wait_for(lambda said: said.reason == 'NOT_ENGAGED', 'the pause')
    here.wait_for_rest()
    here.engage()
    drive.wait_for(lambda said: not said.reason, 'motion')
    driven.here.camera_on = False
    drive.wait_for(lambda said: said.reason == 'STALE_IMAGE', 'the fault')
    driven.here.camera_on = True
    drive.wait_for(lambda said: not said.reason, 'motion')
    assert not drive.ended


def test_a_goal_that_is_not_reached_in_time_stops_the_robot(driven, action):
    here = driven.here
    drive = driven.drive(time_limit=0.5)
    drive.expect(ABORTED, action.Result.TIME_LIMIT, 'not reached within 0.5 s')
    here.wait_for('NO_GOAL')
    here.wait_for_rest()


def test_a_robot_that_makes_no_progress_gives_the_goal_up(driven, action):
    from smwm_ros.control.caution import Caution
    from smwm_ros.control.reasons import Reason

    here = driven.here
    drive = driven.drive()
    monitor = here.active.monitor
    monitor.update = lambda time, latent: Caution(stop=Reason.NO_PROGRESS)
    drive.expect(ABORTED, action.Result.NO_PROGRESS, 'did not move as predicted')
    here.wait_for('NO_GOAL')


def test_a_goal_that_takes_long_to_read_blocks_nothing_and_can_be_cancelled(driven, action):
    from threading import Event

    here, hold, entered = driven.here, Event(), Event()
    setter = here.active.goals.setter
    set_image = setter.set_image

    def slowly(*words, **more):
        entered.set()
        hold.wait(20)
        return set_image(*words, **more)

    setter.set_image = slowly
    try:
        drive = driven.send(image=picture(100))
        assert entered.wait(20)
        assert here.state() == 'active'  # a service of the executor answers
        drive.cancel()
        drive.expect(CANCELED, action.Result.CANCELED)
    finally:
        hold.set()
    wait_until(lambda: len(here.accepted) == 1, 'the goal')
    here.wait_for('NO_GOAL')
    here.frames_more(5)
    assert here.status == 'NO_GOAL'


def test_without_the_package_the_node_says_so_once_and_works(measured, monkeypatch):
    for name in ('smwm_interfaces', 'smwm_interfaces.action'):
        monkeypatch.setitem(sys.modules, name, None)
    with world(measured) as here:
        Person(here).grey = 10
        here.drive()
        here.wait_for_log('no action /plan/go_to_image: the package smwm_interfaces is not built')
        time.sleep(0.1)
        assert sum('smwm_interfaces' in text for text in here.log) == 1
        assert here.plan._goal_action is None


def test_the_line_of_the_docs_sends_a_goal(driven, action, tmp_path):
    (line,) = [line for line in PAGE.splitlines() if line.startswith('ros2 action ')]
    _, _, verb, name, kind, text, flag = shlex.split(line)
    assert (verb, name, flag) == ('send_goal', f'/plan{ACTION[1:]}', '--feedback')
    assert kind == f'{action.__module__.partition(".")[0]}/action/{action.__name__}'
    library = GoalLibrary(driven.here.active.goals._store._library.folder)
    library.save('dock', [np.full((8, 8, 3), 77, np.uint8)])
    driven.send(**yaml.safe_load(text))
    driven.aimed(77)


def test_the_program_of_the_docs_drives_to_a_goal(measured, action, tmp_path):
    (program,) = re.findall(r'^```python\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
    GoalLibrary(tmp_path / 'places').save('dock', [np.full((8, 8, 3), 77, np.uint8)])
    with world(measured, f'goal.folder:={tmp_path}/places') as here:
        driver = Driver(here, action)
        driver.grey = 76
        wait_until(lambda: here.plan.session, 'the activation')
        said = run_program(program)
    assert said.splitlines()[-1] == 'reached'


def run_program(program):
    """Run a Python program that finds smwm_interfaces; return what it printed."""
    site = Path(str(sys.modules['smwm_interfaces'].__file__)).parents[1]
    env = dict(os.environ)
    for name, folder in (('PYTHONPATH', site), ('LD_LIBRARY_PATH', site.parents[1])):
        env[name] = os.pathsep.join([str(folder), *filter(None, [env.get(name)])])
    done = subprocess.run(
        [sys.executable, '-c', program], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_docs_list_what_the_action_has(action):
    kinds = set(KINDS)
    assert set(action.Goal.get_fields_and_field_types()) == {*KINDS, 'time_limit'}
    section = PAGE.partition('## Goals as an action')[2].partition('\n## ')[0]
    assert kinds == set(re.findall(r'^\| `([a-z_]+)` \| `', section, re.MULTILINE))
    codes = set(re.findall(r'^\| `([A-Z_]+)` \|', section, re.MULTILINE))
    assert codes == {name for name in dir(action.Result) if name.isupper()} - {'SLOT_TYPES'}
    for field in action.Feedback.get_fields_and_field_types():
        assert f'`{field}`' in section
    (tree,) = re.findall(r'^```xml\n(.*?)^```', section, re.DOTALL | re.MULTILINE)
    nodes = list(ElementTree.fromstring(tree).iter(action.__name__))
    assert {node.get('server_name') for node in nodes} == {f'/plan{ACTION[1:]}'}
