# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/parameters.py: the schema as ROS parameters, and what they refuse."""

from dataclasses import replace
import re

from harness import FakePilot, wait_until, world
import pytest
from rcl_interfaces.srv import DescribeParameters, GetParameters
import rclpy
from rclpy.parameter import Parameter
from smwm_ros import config
from smwm_ros.errors import SmwmError
from smwm_ros.load import knobs
from smwm_ros.model.checkpoint import load, save
from smwm_ros.nodes.parameters import declare_knobs, parameter_type, read_knobs
from smwm_ros.nodes.plan import PlanNode
from smwm_ros.nodes.robot_setup import set_up
from smwm_ros.planning.pilot import Pilot


@pytest.fixture
def make_node():
    """Return a maker of nodes with parameters such as 'node.coast:=3'."""
    nodes = []

    def make(*words, kind=lambda: rclpy.create_node('bare')):
        rclpy.init(args=['--ros-args', *(part for word in words for part in ('-p', word))])
        nodes.append(kind())
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize('section', ['node', 'planner', 'robot', 'arena', 'dataset'])
def test_every_knob_becomes_a_typed_described_and_bounded_parameter(make_node, section):
    node = make_node()
    values = getattr(config.Config(), section)
    declare_knobs(node, section, values)
    for knob in knobs(type(values)):
        name = f'{section}.{knob.path}'
        reported = node.describe_parameter(name)
        assert reported.type == parameter_type(knob.kind).value
        assert reported.description == knob.help
        assert reported.read_only is not knob.live
        assert all(choice in reported.additional_constraints for choice in knob.choices)
        ranges = [*reported.integer_range, *reported.floating_point_range]
        bounds = [(item.from_value, item.to_value) for item in ranges]
        bounded = knob.low is not None and not isinstance(knob.default, tuple)  # ROS has no ranges
        assert bounds == ([(knob.low, knob.high)] if bounded else [])  # for elements of an array
        value = node.get_parameter(name).value
        assert (tuple(value) if isinstance(knob.default, tuple) else value) == knob.default


def test_what_the_user_gave_lies_over_the_defaults_even_as_another_kind_of_number(make_node):
    node = make_node('robot.dt:=1', 'robot.command.low:=[-1, -2]')
    robot = read_knobs(node, 'robot', config.Robot, config.Robot(dt=0.25))
    assert robot.dt == 1.0
    assert robot.command.low == (-1.0, -2.0)
    assert robot.command.high == config.Command().high
    declare_knobs(node, 'robot', robot)
    assert list(node.get_parameter('robot.command.low').value) == [-1.0, -2.0]


def test_all_mistakes_come_at_once_with_path_value_and_choices(make_node):
    node = make_node('planner.horizn:=3', 'planner.cost:=max', 'planner.samples:=-1')
    with pytest.raises(SmwmError) as raised:
        read_knobs(node, 'planner', config.Planner)
    text = str(raised.value)
    assert "planner: horizn: unknown key; did you mean 'horizon'?" in text
    assert "cost: 'max' is not a choice; valid: last, min, nearest, sum" in text
    assert 'samples: -1 is out of range; valid: 2 to 100000' in text


def test_a_node_with_wrong_parameters_of_its_own_is_not_made(make_node):
    with pytest.raises(SmwmError, match=re.escape("coast: expected a whole number, found 'many'")):
        make_node('node.coast:=many', kind=PlanNode)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['robot.dt:=0.2'], 'robot.dt: 0.2 s, expected 0.05 s'),
        (['robot.comand.topic:=/x'], "comand: unknown key; did you mean 'command'?"),
        (['robot.command.type:=nope_msgs/msg/X'], 'the package nope_msgs is not installed'),
        (['robot.command.type:=Twist'], 'is not a message type; expected one such as'),
        (['robot.command.type:=geometry_msgs/msg/Twits'], "did you mean 'Twist'?"),
        (['robot.command.fields:=[twist.linear.x, twist.liner.y]'], "has no field 'liner'"),
        (['robot.camera.topic:=/a b'], "robot.camera.topic: '/a b' is not a topic name"),
        (['robot.camera.decoder:=cv_bridge'], 'robot.camera.decoder: cv_bridge, expected auto'),
        (['robot.command.fields:=[twist.linear.x]'], 'low: expected one limit for each'),
        (['robot.command.high:=[9.0, 9.0]'], 'expected limits within those of training'),
        (['planner.elites:=999'], '999 is more than the 16 samples'),
    ],
)
def test_a_robot_that_does_not_fit_is_refused_in_one_line(make_node, checkpoint, words, message):
    node = make_node(*words)
    with pytest.raises(SmwmError, match=re.escape(message)) as raised:
        set_up(node, str(checkpoint))
    assert '\n' not in str(raised.value)


def test_the_checkpoint_gives_the_defaults_of_robot_and_planner(make_node, checkpoint):
    made = set_up(make_node('planner.samples:=64'), str(checkpoint))
    trained = load(checkpoint)
    assert made.robot == trained.robot
    assert made.planner == replace(trained.planner, samples=64)


REFUSED = [
    (Parameter('node.coast', value=-1), 'range'),
    (Parameter('node.coast', value=1.5), 'type'),
    (Parameter('node.image_timeout', value=1e9), 'range'),
    (Parameter('node.threads', value=2), 'read-only'),
    (Parameter('node.autostart', value=False), 'read-only'),
    (Parameter('robot.dt', value=0.5), 'read-only'),
    (Parameter('robot.camera.topic', value='/x'), 'read-only'),
    (Parameter('planner.seed', value=9), 'read-only'),
    (Parameter('planner.horizon', value=0), 'range'),
    (Parameter('planner.samples', value=1), 'range'),
    (Parameter('planner.samples', value='many'), 'type'),
    (Parameter('planner.elites', value=17), 'more than the 16 samples'),
    (Parameter('planner.init_std', value=0.0), 'range'),
]


def test_what_is_out_of_range_of_another_type_or_read_only_is_refused(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        names = [parameter.name for parameter, _ in REFUSED]
        before = here.call(GetParameters, '/plan/get_parameters', names=names).values
        for parameter, reason in REFUSED:
            ((success, said),) = here.set(parameter)
            assert not success, parameter.name
            assert reason in said.lower(), (parameter.name, said)
        assert here.call(GetParameters, '/plan/get_parameters', names=names).values == before


def test_live_knobs_change_the_planner_all_of_a_request_or_none(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        first = here.pilot
        samples = Parameter('planner.samples', value=200)
        elites = Parameter('planner.elites', value=100)
        ((success, _),) = here.set(samples, Parameter('planner.elites', value=201), together=True)
        assert not success
        assert here.pilot is first
        assert here.set(samples, elites, together=True) == [(True, '')]
        assert here.pilot is not first
        assert (here.pilot.planner.samples, here.pilot.planner.elites) == (200, 100)
        wait_until(lambda: here.pilot.seen, 'a plan by the new planner')
        assert here.pilot.goals == [200]  # it was reported of the goal
        here.wait_for('RUNNING')


def test_a_live_knob_of_the_node_holds_from_the_next_tick_on(checkpoint):
    with world(checkpoint, 'node.image_timeout:=60.0', 'node.coast:=100') as here:
        here.drive()
        here.camera_on = False
        assert here.set(Parameter('node.image_timeout', value=0.05)) == [(True, '')]
        here.wait_for('STALE_IMAGE')


def test_parameters_describe_themselves_over_ros(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        answer = here.call(
            DescribeParameters, '/plan/describe_parameters', names=['planner.cost', 'checkpoint']
        )
        choices = 'one of sum, last, min, nearest, time'
        assert answer.descriptors[0].additional_constraints == choices
        assert 'trained model' in answer.descriptors[1].description


def values_of(here, *names):
    """Return what the node answers for parameters."""
    answers = here.call(GetParameters, '/plan/get_parameters', names=list(names)).values
    return [rclpy.parameter.parameter_value_to_python(answer) for answer in answers]


NARROW = (
    Parameter('robot.command.low', value=[-0.1, -0.1]),
    Parameter('robot.command.high', value=[0.1, 0.1]),
)
LIMITS = ('robot.command.low', 'robot.command.high')


@pytest.mark.parametrize('when', ['active', 'inactive', 'unconfigured'])
def test_limits_that_were_narrowed_since_the_start_hold_in_every_life_to_come(checkpoint, when):
    down = {'active': [], 'inactive': ['deactivate'], 'unconfigured': ['deactivate', 'cleanup']}
    with world(checkpoint) as here:
        here.drive()
        for name in down[when]:
            assert here.transition(name)
        samples = Parameter('planner.samples', value=99)
        assert here.set(*NARROW, samples, together=True) == [(True, '')]
        for name in ['deactivate', 'cleanup'][len(down[when]) :]:
            assert here.transition(name)
        for _ in range(2):
            assert here.transition('configure')
            assert [list(v) for v in values_of(here, *LIMITS)] == [[-0.1, -0.1], [0.1, 0.1]]
            here.commands.clear()
            assert here.transition('activate')
            here.wait_for('RUNNING')
            wait_until(lambda: len(here.commands) > 5, 'commands')
            assert {here.last(number) for number in range(5)} <= {(0.1, -0.1), (0.0, 0.0)}
            assert here.pilot.planner.samples == 99
            assert here.transition('deactivate')
            assert here.transition('cleanup')


def test_another_checkpoint_brings_its_own_values_and_what_was_set_lies_over_them(
    checkpoint, tmp_path
):
    other = load(checkpoint)
    robot = replace(other.robot, dt=0.1, state=config.State(topic='pose'))
    save(tmp_path / 'other', other._replace(robot=robot))
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        here.set(*NARROW, together=True)
        assert here.transition('deactivate')
        assert here.transition('cleanup')
        here.set(Parameter('checkpoint', value=str(tmp_path / 'other')))
        assert here.transition('configure')
        assert values_of(here, 'robot.dt', 'robot.state.topic') == [0.1, 'pose']
        assert [list(v) for v in values_of(here, *LIMITS)] == [[-0.1, -0.1], [0.1, 0.1]]


def test_a_request_that_is_refused_for_one_parameter_changes_no_other(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        pilot = here.pilot
        elsewhere = Parameter('checkpoint', value='elsewhere')
        ((success, _),) = here.set(
            Parameter('planner.samples', value=50), elsewhere, together=True
        )
        assert not success
        assert here.pilot is pilot
        assert values_of(here, 'planner.samples') == [16]


HUGE = [
    Parameter('planner.samples', value=100_000),
    Parameter('planner.horizon', value=100),
    Parameter('planner.iterations', value=1000),
]


def test_a_search_that_would_take_far_too_long_is_refused_and_the_robot_drives_on(checkpoint):
    with world(checkpoint, make_pilot=Pilot) as here:
        here.drive()
        ((success, reason),) = here.set(*HUGE, together=True)
        assert not success
        assert 'a plan would take about' in reason
        assert 'planner.budget_ms' in reason
        here.frames_more(20)
        assert here.status == 'RUNNING'
        assert values_of(here, 'planner.samples') == [16]


def test_a_search_that_would_take_far_too_long_is_refused_at_the_start(checkpoint):
    words = [f'{item.name}:={item.value}' for item in HUGE]
    with world(checkpoint, *words, make_pilot=Pilot) as here:
        assert here.state() == 'unconfigured'
        here.wait_for_log('a plan would take about')


def test_a_plan_that_is_made_ends_when_other_settings_come(checkpoint):
    with world(checkpoint) as here:
        here.drive()
        cancelled = []
        first = here.pilot
        first.cancel = lambda: cancelled.append(first)
        assert here.set(Parameter('planner.samples', value=20)) == [(True, '')]
        assert cancelled == [first]
        second = here.pilot
        wait_until(lambda: second.seen, 'plans with them')
        second.cancel = lambda: cancelled.append(second)
        assert here.transition('deactivate')
        assert second in cancelled


DELAYED = 'expected less than a plan of 0.5 s'


def test_a_delay_that_is_longer_than_a_plan_is_refused(checkpoint):
    with world(checkpoint, 'node.camera_delay:=3.0') as here:
        assert here.state() == 'unconfigured'
        here.wait_for_log(DELAYED)
    with world(checkpoint) as here:
        here.drive()
        for name in ('node.camera_delay', 'node.actuation_delay'):
            ((success, reason),) = here.set(Parameter(name, value=3.0))
            assert not success
            assert DELAYED in reason
        assert here.set(Parameter('node.camera_delay', value=0.2)) == [(True, '')]
        ((success, reason),) = here.set(Parameter('planner.horizon', value=1))
        assert not success
        assert 'expected less than a plan of 0.1 s' in reason
        here.frames_more(20)
        assert here.status == 'RUNNING'


@pytest.mark.parametrize('name', ['../../x', 'a/b', '.hidden', 'x' * 65, 'a b'])
def test_what_is_no_name_of_a_goal_is_no_name_for_the_next_one(checkpoint, name):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        ((success, reason),) = here.set(Parameter('goal.save_as', value=name))
        assert not success
        assert 'is no name for a goal' in reason
        assert here.set(Parameter('goal.save_as', value='dock_1')) == [(True, '')]


def test_the_reason_why_a_parameter_is_refused_stays_short(checkpoint):
    with world(checkpoint) as here:
        here.wait_for('NO_GOAL')
        ((success, reason),) = here.set(Parameter('goal.save_as', value='x' * 1_000_000))
        assert not success
        assert len(reason) < 3000


def test_a_planner_that_cannot_keep_up_is_warned_of_at_the_start(checkpoint):
    def make(made, planner):
        pilot = FakePilot(made, planner)
        pilot.warm_up = lambda: 0.3  # type: ignore[method-assign]
        return pilot

    with world(checkpoint, make_pilot=make) as here:
        here.wait_for_log('so the robot will often stop as STALE_PLAN')
