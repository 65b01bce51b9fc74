# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/parameters.py: the schema as ROS parameters, and what they refuse."""

from dataclasses import replace
import re

from harness import wait_until, world
import pytest
from rcl_interfaces.srv import DescribeParameters, GetParameters
import rclpy
from rclpy.parameter import Parameter
from smwm_ros import config
from smwm_ros.core.checkpoint import load
from smwm_ros.errors import SmwmError
from smwm_ros.load import knobs
from smwm_ros.nodes.parameters import declare_knobs, parameter_type, read_knobs
from smwm_ros.nodes.plan import PlanNode
from smwm_ros.nodes.setup import set_up


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
        told = node.describe_parameter(name)
        assert told.type == parameter_type(knob.kind).value
        assert told.description == knob.help
        assert told.read_only is not knob.live
        assert all(choice in told.additional_constraints for choice in knob.choices)
        ranges = [*told.integer_range, *told.floating_point_range]
        bounds = [(item.from_value, item.to_value) for item in ranges]
        assert bounds == ([] if knob.low is None else [(knob.low, knob.high)])
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
        (['robot.dt:=0.2'], 'the model was trained at 0.05 s'),
        (['robot.comand.topic:=/x'], "comand: unknown key; did you mean 'command'?"),
        (['robot.command.type:=nope_msgs/msg/X'], 'the package nope_msgs is not installed'),
        (['robot.command.type:=Twist'], 'no message type; expected such as'),
        (['robot.command.type:=geometry_msgs/msg/Twits'], "did you mean 'Twist'?"),
        (['robot.command.fields:=[twist.linear.x, twist.liner.y]'], "has no field 'liner'"),
        (['robot.camera.topic:=/a b'], "robot.camera.topic: '/a b' is no topic name"),
        (['robot.command.fields:=[twist.linear.x]'], 'low: expected one limit for each'),
        (['robot.command.high:=[9.0, 9.0]'], 'reach beyond what the model was trained with'),
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
        assert here.pilot.goals == [200]  # it was told of the goal
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
        assert answer.descriptors[0].additional_constraints == 'one of sum, last, min, nearest'
        assert 'trained model' in answer.descriptors[1].description
