# SPDX-License-Identifier: Apache-2.0
"""Tests for launch/: arguments are described, and all that is named exists."""

import ast
from importlib.util import find_spec, module_from_spec, spec_from_file_location
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from smwm_ros.config import Config
from smwm_ros.load import knobs
from smwm_ros.share import fast_dds_profile, PROFILE_VARIABLES

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
NODE_PARAMETERS = {'checkpoint', 'goal_image', 'use_sim_time'}
ids = [path.name for path in FILES]


def arguments(tree):
    """Read the ARGUMENTS of a launch file without running it."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARGUMENTS':
            assert isinstance(node.value, ast.Dict)
            names = [ast.literal_eval(key) for key in node.value.keys if key is not None]
            entries = [value for value in node.value.values if isinstance(value, ast.Tuple)]
            texts = [ast.literal_eval(entry.elts[-1]) for entry in entries]
            return dict(zip(names, texts, strict=True))
    raise AssertionError('no ARGUMENTS in this launch file')


@pytest.mark.parametrize('path', FILES, ids=ids)
def test_every_argument_is_described(path):
    for name, text in arguments(ast.parse(path.read_text())).items():
        assert len(text.split()) >= 2, f'{name} has no description'


@pytest.mark.parametrize('path', FILES, ids=ids)
def test_every_executable_is_a_script_that_is_shipped(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == 'executable':
            script = ROOT / 'scripts' / ast.literal_eval(node.value)
            assert os.access(script, os.X_OK), f'{script} cannot be executed'


@pytest.mark.parametrize('path', FILES, ids=ids)
def test_every_parameter_that_is_named_exists(path):
    known = {knob.path for knob in knobs(Config)} | NODE_PARAMETERS
    sections = {name.partition('.')[0] for name in known if '.' in name}
    for node in ast.walk(ast.parse(path.read_text())):
        word = node.value if isinstance(node, ast.Constant) else None
        if isinstance(word, str) and word.partition('.')[0] in sections and word.count('.') == 1:
            assert word in known, f'{word} is no parameter'


# 'launch' itself is also the name of a folder here, which Python takes for a package.
@pytest.mark.skipif(
    find_spec('launch_ros') is None, reason='launch_ros comes with ROS 2, not from PyPI'
)
@pytest.mark.parametrize('path', FILES, ids=ids)
def test_the_description_is_made(path):
    spec = spec_from_file_location('launched', path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    declared = {item.name for item in module.generate_launch_description().get_launch_arguments()}
    assert set(module.ARGUMENTS) <= declared


NEW, OLD = PROFILE_VARIABLES
OURS = str(ROOT / 'config' / 'fastdds.xml')


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({}, {NEW: OURS}),
        ({'ROS_DISTRO': 'kilted'}, {NEW: OURS}),
        ({'ROS_DISTRO': 'jazzy'}, {OLD: OURS}),
        ({'ROS_DISTRO': 'jazzy', NEW: 'new.xml'}, {OLD: 'new.xml'}),
        ({'ROS_DISTRO': 'kilted', OLD: 'old.xml'}, {NEW: 'old.xml'}),
        ({'ROS_DISTRO': 'kilted', OLD: 'old.xml', NEW: 'new.xml'}, {NEW: 'new.xml'}),
        ({'ROS_DISTRO': 'humble', OLD: 'old.xml', NEW: ''}, {OLD: 'old.xml'}),
    ],
)
def test_fast_dds_gets_its_variable_and_the_profile_of_the_user_if_there_is_one(
    variables, expected
):
    assert fast_dds_profile(variables) == expected


def test_the_launch_file_sets_the_profile_before_the_nodes_start():
    text = (ROOT / 'launch' / 'plan.launch.py').read_text()
    assert 'profile = fast_dds_profile(context.environment).items()' in text
    assert 'return [*variables, GroupAction' in text


def test_transports_carry_a_camera_image():
    space = {'dds': 'http://www.eprosima.com'}
    root = ElementTree.parse(ROOT / 'config' / 'fastdds.xml').getroot()
    assert root.tag == f'{{{space["dds"]}}}profiles'
    for name in ('segment_size', 'maxMessageSize'):
        assert int(root.findtext(f'.//dds:{name}', '0', space)) > 1920 * 1080 * 3, name
    used = {item.text for item in root.findall('.//dds:userTransports/dds:transport_id', space)}
    described = root.findall('.//dds:transport_descriptor/dds:transport_id', space)
    assert used == {item.text for item in described}
