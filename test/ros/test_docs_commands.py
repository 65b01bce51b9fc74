# SPDX-License-Identifier: Apache-2.0
"""Every `ros2 ...` line of the docs fits a node that runs: names, types, qualities of service."""

import ast
import json
import os
from pathlib import Path
import shlex
import shutil
import subprocess

from harness import PATIENCE, wait_until, world
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, qos_check_compatible, QoSCompatibility, QoSProfile
from smwm_ros.config import Config
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.load import knobs
from smwm_ros.nodes.messages import message_class
import std_srvs.srv
from test_docs import commands, PAGES, ROOT
from test_launch import arguments, NODE_PARAMETERS
import yaml

# What `ros2 topic pub` offers: volatile in newer versions, transient local in older ones.
OFFERS = [
    QoSProfile(depth=10),
    QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
]
PRINTED = 'ros2 topic pub --once /goal/name std_msgs/msg/String "{data: dock}"'  # by smwm goals
LINES = sorted({line for page in PAGES for line in commands(page) if line.startswith('ros2 ')})
LIVE = {'topic', 'service', 'param', 'lifecycle'}
RECORDER = ' /record/'  # in lines for the recorder, which test_recorder.py checks
# These belong to other packages, need a keystore, or the types that test_plan_action.py builds.
FOREIGN = (
    'ros2 run rviz2 ',
    'ros2 run rqt_',
    'ros2 run rmw_zenoh_cpp ',
    'ros2 security ',
    'ros2 bag record ',
    'ros2 action ',
)


def of_the_plan_node(line):
    """Return whether a line addresses a running plan node."""
    return line.split()[1] in LIVE and RECORDER not in line


def words_of(line):
    """Return the words of a command, without flags; what follows a flag is its own word."""
    return [word for word in shlex.split(line)[1:] if not word.startswith('--once')]


@pytest.fixture
def here(located, tmp_path):
    """Return a node that drives and knows the goals of the docs."""
    library = GoalLibrary(tmp_path)
    for name in ('dock', 'view_1'):
        library.save(name, [np.full((8, 8, 3), 77, np.uint8)])
    # With near 0 the robot goes on driving, whatever it sees.
    with world(located, f'goal.folder:={tmp_path}', 'goal.near:=0.0') as made:
        made.drive()
        yield made


def fill(message, values):
    """Write nested plain data into a message."""
    for name, value in values.items():
        assert hasattr(message, name), f'{type(message).__name__} has no {name}'
        setattr(message, name, value)
    return message


def publish(here, topic, kind, text):
    """Publish as each version of the tool does, and see that a goal is accepted."""
    reported = here.plan.get_subscriptions_info_by_topic(topic)
    assert reported, f'{topic}: nobody listens'
    assert {item.topic_type for item in reported} == {kind}
    for offer in OFFERS:
        heard = [qos_check_compatible(offer, item.qos_profile)[0] for item in reported]
        assert any(item is not QoSCompatibility.ERROR for item in heard), f'{topic}: not heard'
        here.aim(10 + len(here.accepted))
        count = len(here.accepted)
        wait_until(lambda n=count: len(here.accepted) > n, 'another goal to come from')
        publisher = here.robot.create_publisher(message_class(kind), topic, offer)
        wait_until(publisher.get_subscription_count, 'an ear')
        publisher.publish(fill(message_class(kind)(), yaml.safe_load(text)))
        expected = yaml.safe_load(text).get('data', topic)  # its name, or where it came from
        wait_until(
            lambda e=expected: json.loads(here.accepted[-1])['source'] == e, f'{expected} to count'
        )
        here.robot.destroy_publisher(publisher)


def call(here, service, kind, text='{}'):
    """Call a service as the tool does."""
    known = dict(here.plan.get_service_names_and_types())
    assert known.get(service) == [kind], f'{service}: {known.get(service)}'
    made = getattr(std_srvs.srv, kind.rpartition('/')[2])
    answer = here.call(made, service, **yaml.safe_load(text))
    assert answer.success, answer.message


def set_parameter(here, name, text):
    """Set a parameter to a value as the tool reads it."""
    value = yaml.safe_load(text)
    assert here.set(Parameter(name, value=value)) == [(True, '')]


def check_live(here, line):
    """Do what a line does, by rclpy."""
    verb, what, *rest = words_of(line)
    if (verb, what) == ('topic', 'pub'):
        publish(here, *rest)
    elif verb == 'topic':
        topics = dict(here.plan.get_topic_names_and_types())
        assert rest[0] in topics, f'{rest[0]} is no topic'
        assert here.plan.get_publishers_info_by_topic(rest[0]), f'{rest[0]}: nobody publishes'
    elif verb == 'service':
        call(here, *rest)
    elif verb == 'param':
        assert rest[0] == here.plan.get_fully_qualified_name()
        assert here.plan.has_parameter(rest[1])
        if what == 'set':
            set_parameter(here, *rest[1:])
    else:
        assert (verb, what) == ('lifecycle', 'set')
        assert rest[0] == here.plan.get_fully_qualified_name()
        assert here.transition(rest[1])


@pytest.mark.parametrize('line', [li for li in LINES if of_the_plan_node(li)])
def test_a_line_fits_the_node(here, line):
    check_live(here, line)


def test_the_line_that_smwm_goals_prints_is_one_of_the_docs():
    assert PRINTED in LINES
    source = (ROOT / 'smwm_ros' / 'verbs' / 'goals.py').read_text()
    assert 'ros2 topic pub --once /goal/name std_msgs/msg/String' in source


@pytest.mark.parametrize('line', [li for li in LINES if li.split()[1] not in LIVE])
def test_a_line_names_what_the_package_has(line):
    if line.startswith(FOREIGN):
        for word in shlex.split(line):
            if word.startswith('config/'):
                assert (ROOT / word).is_file()
        return
    _, verb, package, what, *rest = shlex.split(line)
    assert package == 'smwm_ros'
    if verb == 'launch':
        known = arguments(compile_launch(what))
        for word in rest:
            assert word.partition(':=')[0] in known, word
        return
    assert verb == 'run'
    assert os.access(ROOT / 'scripts' / what, os.X_OK)
    parameters = {knob.path for knob in knobs(Config)} | NODE_PARAMETERS
    for number, word in enumerate(rest):
        if number and rest[number - 1] == '-p':
            assert word.partition(':=')[0] in parameters, word


def compile_launch(name):
    """Return the syntax tree of a launch file."""
    return ast.parse((ROOT / 'launch' / name).read_text())


@pytest.mark.skipif(shutil.which('ros2') is None, reason='the ros2 command comes with ROS 2')
@pytest.mark.parametrize('line', [li for li in LINES if of_the_plan_node(li)])
def test_the_tool_itself_does_what_a_line_says(here, line):
    lasting = ' hz ' in line or (' echo ' in line and '--once' not in line)
    # Those go on until they are interrupted.
    words = ['timeout', '-s', 'INT', '15', *shlex.split(line)] if lasting else shlex.split(line)
    done = subprocess.run(words, capture_output=True, text=True, timeout=3 * PATIENCE)
    said = done.stdout + done.stderr
    assert done.returncode in ((0, 124) if lasting else (0,)), said
    assert done.stdout.strip(), said
    for bad in ('error', 'not found', 'failed', 'success=False'):
        assert bad not in said.lower().replace('planner_errors', ''), said
    if '/goal/name' in line:
        name = yaml.safe_load(shlex.split(line)[-1])['data']
        wait_until(lambda: json.loads(here.accepted[-1])['source'] == name, f'{name} to count')


def test_every_page_with_such_lines_is_looked_at():
    pages = [*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), *(ROOT / 'bags').glob('*.md')]
    with_lines = {page for page in pages if '\nros2 ' in page.read_text()}
    assert with_lines <= {Path(page) for page in PAGES}
