# SPDX-License-Identifier: Apache-2.0
"""What an operator looks through, and who may say what: the topics in config/ are the node's."""

import json
import os
from pathlib import Path
import re
import subprocess
import sys
from xml.etree import ElementTree

from harness import PATIENCE
import pytest
from smwm_ros.config import Command
from smwm_ros.nodes.goal_action import ACTION
from smwm_ros.nodes.messages import message_class
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'
COMMANDS = f'/{Command().topic}'
ROBOT = {'/camera/image_raw', '/odom', COMMANDS, '/tf', '/tf_static', '/clock'}
# Topics of robot and operator, as their nodes publish them; the others are asked for.
TYPES = {'/odom': 'nav_msgs/msg/Odometry'}
EVERYONE = {'/parameter_events', '/rosout'}
GOALS = {'/goal/image'}  # of an operator
PAINTED = {'/plan/plan/image', '/plan/plan/markers'}


# A process and a network of its own: here the graph may still know of nodes of earlier tests.
ASK = """
import json, sys, time
import rclpy
from smwm_ros.nodes.plan import PlanNode

rclpy.init(args=['--ros-args', '-p', f'checkpoint:={sys.argv[1]}', '-p', sys.argv[2]])
node = PlanNode()
node.start()
asks = {
    'publish': node.get_publisher_names_and_types_by_node,
    'subscribe': node.get_subscriber_names_and_types_by_node,
    'reply': node.get_service_names_and_types_by_node,
}
found, before = {}, None
while found != before or not all(found.values()):
    time.sleep(0.5)
    before = found
    found = {verb: sorted(n for n, _ in ask('plan', '/')) for verb, ask in asks.items()}
    # Two of the services are those of a node that does nothing else.
    stop = node.get_service_names_and_types_by_node('plan_stop', '/')
    found['reply'] = sorted([*found['reply'], *(n for n, _ in stop)])
# The topics and services of an action belong to it; without smwm_interfaces there is none.
names = {name for found_names in found.values() for name in found_names}
found = {verb: [n for n in ns if '/_action/' not in n] for verb, ns in found.items()}
found['execute'] = sorted({n.partition('/_action/')[0] for n in names if '/_action/' in n})
asks.pop('reply')
types = {n: kinds[0] for ask in asks.values() for n, kinds in ask('plan', '/')}
print(json.dumps([found, types, list(node.session.values())]))
node.finish()
"""


@pytest.fixture(scope='module')
def names(asked):
    """Return what an active plan node publishes, hears and serves, in the shadow as well."""
    driving, shadow = (asked[word][0] for word in ('false', 'true'))
    return {verb: set(driving[verb]) | set(shadow[verb]) for verb in driving}


@pytest.fixture(scope='module')
def types(asked):
    """Return the message type of each topic of the node, and of those of the robot."""
    return TYPES | asked['true'][1] | asked['false'][1]


@pytest.fixture(scope='module')
def keys(asked):
    """Return the keys of the node's diagnostics."""
    # With the first plan, or with an album and motion: test_plan_view.py and test_plan_faults.py.
    later = {'cost_goal', 'novelty', 'novelty_limit', 'progress'}
    text = (CONFIG.parent / 'docs' / 'nodes.md').read_text()
    assert all(f'`{key}`' in text for key in later)
    return {*asked['false'][2], 'reason', *later}


@pytest.fixture(scope='module')
def asked(checkpoint):
    """Return the names, types and diagnostics of a node that drives, and of one in the shadow."""
    return {word: ask(checkpoint, f'node.shadow:={word}') for word in ('false', 'true')}


def ask(checkpoint, word):
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(1 + (os.getpid() + 50) % 100)}
    done = subprocess.run(
        [sys.executable, '-c', ASK, str(checkpoint), word],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE * 3,
        check=True,
    )
    return json.loads(done.stdout)


def end_of(kind, path):
    """Return the type at the end of a path of fields, such as .status[:]{level==0}.name."""
    for name, inside in re.findall(r'\.(\w+)((?:\[[^]]*\])?(?:\{[^}]*\})?)', path):
        fields = message_class(kind).get_fields_and_field_types()
        assert name in fields, f'{kind} has no field {name}: {sorted(fields)}'
        kind = fields[name]
        if inside:
            assert kind.startswith('sequence<'), f'{name} is no list, but {kind}'
            kind = kind.removeprefix('sequence<').removesuffix('>')
        kind = re.sub(r'^(\w+)/(\w+)$', r'\1/msg/\2', kind)
    return kind


def test_a_path_ends_at_the_type_of_its_field():
    health = 'diagnostic_msgs/msg/DiagnosticArray'
    assert end_of(health, '.status[:]{name=="a b"}.values[:]{key=="x.y"}.value') == 'string'
    assert end_of('geometry_msgs/msg/TwistStamped', '.twist.linear') == 'geometry_msgs/msg/Vector3'
    with pytest.raises(AssertionError, match='has no field speed'):
        end_of('geometry_msgs/msg/TwistStamped', '.speed')
    with pytest.raises(AssertionError, match='header is no list'):
        end_of(health, '.header[0].stamp')


IMAGES = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'}
# What the displays of RViz show, and the tools publish.
DISPLAYS = {
    'rviz_default_plugins/Odometry': {'nav_msgs/msg/Odometry'},
    'rviz_default_plugins/MarkerArray': {'visualization_msgs/msg/MarkerArray'},
    'rviz_default_plugins/Image': {'sensor_msgs/msg/Image'},
    'rviz_default_plugins/SetGoal': {'geometry_msgs/msg/PoseStamped'},
}


def test_rviz_shows_what_the_node_publishes(names, types):
    displays = yaml.safe_load((CONFIG / 'plan.rviz').read_text())['Visualization Manager']
    used = [item for item in (*displays['Displays'], *displays['Tools']) if 'Topic' in item]
    for item in used:
        topic = item['Topic']['Value']
        assert types[topic] in DISPLAYS[item['Class']], topic
        shown = item in displays['Displays']
        assert topic in (names['publish'] | ROBOT | GOALS if shown else names['subscribe'])
    assert {item['Topic']['Value'] for item in used} >= PAINTED | GOALS


def leaves(layout):
    """Yield the panels of a layout."""
    if isinstance(layout, str):
        yield layout
    else:
        yield from leaves(layout['first'])
        yield from leaves(layout['second'])


def uses(name, panel):
    """Yield the paths of the messages that a panel shows, and the types that it can show."""
    numbers = {'float', 'double', 'string'}  # the text of a number is drawn as one
    kind = name.partition('!')[0]
    if kind == 'Image':
        yield panel['imageMode']['imageTopic'], IMAGES
    for topic in panel.get('topics', ()):
        yield topic, {'visualization_msgs/msg/MarkerArray', 'nav_msgs/msg/Odometry'}
    for path in panel.get('paths', ()):
        yield path['value'], numbers if kind == 'Plot' else {'string'}
    if 'topicToRender' in panel:
        log, health = {'rcl_interfaces/msg/Log'}, {'diagnostic_msgs/msg/DiagnosticArray'}
        yield panel['topicToRender'], log if kind == 'RosOut' else health
    if 'topicPath' in panel:
        yield panel['topicPath'], {'string'}


def test_foxglove_shows_what_the_node_publishes_and_calls_what_it_serves(names, types, keys):
    data = json.loads((CONFIG / 'foxglove.json').read_text())
    panels = data['configById']
    assert sorted(leaves(data['layout'])) == sorted(panels)
    shown = set()
    for name, panel in panels.items():
        for path, kinds in uses(name, panel):
            topic, dot, rest = path.partition('.')
            shown.add(topic)
            assert end_of(types[topic], dot + rest) in kinds, f'{name}: {path}'
            for key in re.findall(r'key=="([^"]+)"', path):
                assert key in keys or limits_a_field(key, types[COMMANDS]), f'{name}: {key}'
        if 'serviceName' in panel:
            assert panel['serviceName'] in names['reply']
            json.loads(panel['requestPayload'])
        assert panel.get('selectedName', 'plan: control') == 'plan: control'
    assert shown <= names['publish'] | ROBOT | GOALS
    assert shown >= PAINTED | GOALS | {'/plan/stats/distance', '/plan/stats/plan_ms', '/rosout'}


def limits_a_field(key, command):
    """Return whether a key of the diagnostics is the limit of a field of the command type."""
    bound, _, field = key.partition('_')
    return bound in ('low', 'high') and end_of(command, f'.{field}') == 'double'


def test_the_commands_for_rqt_name_what_the_node_publishes(names, types):
    text = (CONFIG.parent / 'docs' / 'nodes.md').read_text()
    image = re.findall(r'^ros2 run rqt_image_view rqt_image_view (\S+)$', text, re.MULTILINE)
    assert [types[topic] for topic in image] == ['sensor_msgs/msg/Image']
    (plot,) = re.findall(r'^ros2 run rqt_plot rqt_plot (.+)$', text, re.MULTILINE)
    for path in plot.split():
        topic = max((t for t in names['publish'] if path.startswith(f'{t}/')), key=len)
        field = path.removeprefix(topic).replace('/', '.')
        assert end_of(types[topic], field) in ('float', 'double'), path


def rules():
    """Return what each enclave of the policy may do: {(enclave, verb): names}."""
    allowed = dict[tuple[str | None, str], set[str]]()
    for enclave in ElementTree.parse(CONFIG / 'sros2.xml').iter('enclave'):
        for profile in enclave.iter('profile'):
            own = f'{profile.get("ns")}{profile.get("node")}'
            for group in profile:
                assert group.tag in ('topics', 'services', 'actions')
                for verb, word in group.attrib.items():
                    assert word == 'ALLOW'
                    names = allowed.setdefault((enclave.get('path'), verb), set())
                    for item in group:
                        assert item.tag == group.tag[:-1]
                        text = item.text or ''
                        names.add(own + text[1:] if text[0] == '~' else f'/{text}')
    return allowed


def test_the_policy_lets_the_node_do_what_it_does_and_no_more(names):
    allowed = rules()
    assert allowed['/plan', 'publish'] == names['publish']
    assert allowed['/plan', 'subscribe'] == names['subscribe'] | {'/clock'}
    assert allowed['/plan', 'reply'] == names['reply']
    assert allowed['/plan', 'execute'] == {f'/plan{ACTION[1:]}'} >= names['execute']
    assert allowed['/operator', 'call'] == allowed['/plan', 'execute']


def test_only_the_node_commands_and_only_the_operator_sets_goals(names):
    allowed = rules()
    who = {
        (verb, name): {path for (path, v), them in allowed.items() if v == verb and name in them}
        for (_, verb), mine in allowed.items()
        for name in mine
    }
    assert who['publish', '/cmd_vel'] == {'/plan'}
    for goal in ('/goal/image', '/goal/latent', '/goal/name', '/goal/state', '/goal_pose'):
        assert who['publish', goal] == {'/operator'}
    assert who['publish', '/camera/image_raw'] == {'/robot'}
    for name in names['reply']:
        assert who.get(('request', name), set()) <= {'/operator'}
    reported = allowed['/operator', 'subscribe'] | allowed['/viewer', 'subscribe']
    assert reported <= names['publish'] | ROBOT | GOALS, 'nobody waits for what is never said'
    assert allowed['/operator', 'request'] <= names['reply']
    assert allowed['/viewer', 'publish'] <= EVERYONE, 'who only looks changes nothing'
