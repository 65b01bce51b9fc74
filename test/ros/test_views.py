# SPDX-License-Identifier: Apache-2.0
"""What an operator looks through, and who may say what: the topics in config/ are the node's."""

import json
import os
from pathlib import Path
import subprocess
import sys
from xml.etree import ElementTree

from harness import PATIENCE
import pytest
from smwm_ros.config import Command
from smwm_ros.nodes.goal_action import ACTION
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'
COMMANDS = f'/{Command().topic}'
ROBOT = {'/camera/image_raw', '/odom', COMMANDS, '/tf', '/tf_static', '/clock'}
EVERYONE = {'/parameter_events', '/rosout'}
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
print(json.dumps(found))
node.finish()
"""


@pytest.fixture(scope='module')
def names(checkpoint):
    """Return what an active plan node publishes, hears and serves, in the shadow as well."""
    driving, shadow = (ask(checkpoint, f'node.shadow:={word}') for word in ('false', 'true'))
    return {verb: driving[verb] | shadow[verb] for verb in driving}


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
    return {verb: set(names) for verb, names in json.loads(done.stdout).items()}


def test_rviz_shows_what_the_node_publishes(names):
    displays = yaml.safe_load((CONFIG / 'plan.rviz').read_text())['Visualization Manager']
    shown = {item['Topic']['Value'] for item in displays['Displays'] if 'Topic' in item}
    assert shown <= names['publish'] | ROBOT
    assert shown >= PAINTED


def leaves(layout):
    """Yield the panels of a layout."""
    if isinstance(layout, str):
        yield layout
    else:
        yield from leaves(layout['first'])
        yield from leaves(layout['second'])


def test_foxglove_shows_what_the_node_publishes_and_calls_what_it_serves(names):
    data = json.loads((CONFIG / 'foxglove.json').read_text())
    panels = data['configById']
    assert sorted(leaves(data['layout'])) == sorted(panels)
    shown = set(panels['3D!way']['topics']) | {panels['Image!plan']['imageMode']['imageTopic']}
    shown |= {path['value'].partition('.')[0] for path in panels['Plot!command']['paths']}
    for panel in panels.values():
        if 'topicPath' in panel:
            shown.add(panel['topicPath'].partition('.')[0])
        if 'serviceName' in panel:
            assert panel['serviceName'] in names['reply']
            json.loads(panel['requestPayload'])
    assert shown <= names['publish'] | ROBOT
    assert shown >= PAINTED


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
    assert reported <= names['publish'] | ROBOT, 'nobody waits for what is never said'
    assert allowed['/operator', 'request'] <= names['reply']
    assert allowed['/viewer', 'publish'] <= EVERYONE, 'who only looks changes nothing'
