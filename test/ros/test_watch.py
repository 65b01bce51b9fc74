# SPDX-License-Identifier: Apache-2.0
"""A viewer shows what the plan node published, publishes nothing itself, and never holds it up."""

from contextlib import contextmanager, suppress
import os
from pathlib import Path
import signal
import subprocess
import sys

from harness import FakePilot, PATIENCE, picture, wait_until, world
import pytest
from rerun_files import NEEDED, read_rows, series, shown
from smwm_ros.nodes.inbox import Inbox, InboxTopic, ReceivedMessage

ROOT = Path(__file__).resolve().parents[2]
STANDARD = {'/rosout', '/parameter_events'}  # publishers of every node of rclpy


class Nearing(FakePilot):
    """Is nearer to the goal in every plan."""

    def plan(self, pixels, elapsed, sent=None, before=None):
        """Return a plan with a distance of its own."""
        plan = super().plan(pixels, elapsed, sent, before)
        return plan._replace(distance=100.0 / len(self.seen))


@contextmanager
def watching(out):
    """Run `smwm watch`, and end it as Ctrl-C does."""
    pytest.importorskip('rerun', reason=NEEDED)
    words = [sys.executable, '-m', 'smwm_ros.cli', 'watch', '--save', str(out)]
    child = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        # It has imported what takes long, and holds up no node that starts.
        assert child.stdout is not None
        assert child.stdout.readline().startswith('watching /plan, shown in ')
        yield child
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=PATIENCE * 2)
        assert child.returncode == 0, said
        assert f'{out}: ' in said.splitlines()[-1]
    finally:
        with suppress(OSError):
            child.kill()


def heard_by_watch(here, topic):
    """Return whether the program subscribes to a topic."""
    infos = here.robot.get_subscriptions_info_by_topic(topic)
    return any(info.node_name.startswith('smwm_') for info in infos)


def plans_more(here, count):
    """Wait for so many more plans."""
    goal = len(here.stats) + count
    wait_until(lambda: len(here.stats) >= goal, 'plans')


def test_what_the_node_publishes_is_shown_through_its_restart(checkpoint, tmp_path):
    out = tmp_path / 'drive.rrd'
    published, sent = [], []
    with watching(out) as child:
        with world(checkpoint, make_pilot=Nearing) as here:
            here.drive()
            for topic in ('/plan/stats', '/camera/image_raw', '/cmd_vel', '/plan/plan/image'):
                wait_until(lambda topic=topic: heard_by_watch(here, topic), topic)
            ours = f'smwm_{child.pid}'
            ask = here.robot.get_publisher_names_and_types_by_node
            assert {name for name, _ in ask(ours, '/')} <= STANDARD
            assert here.robot.get_client_names_and_types_by_node(ours, '/') == []
            for topic in ('/cmd_vel', '/goal/image', '/goal/name', '/camera/image_raw'):
                infos = here.robot.get_publishers_info_by_topic(topic)
                assert ours not in {info.node_name for info in infos}
            plans_more(here, 40)
            here.spoil = lambda: damaged(here.grey)  # its bytes are too few for its size
            wait_until(lambda: here.active.cameras.values()['frames_bad'] > 3, 'bad images')
            here.spoil = None
            plans_more(here, 10)
            published += here.stats
            sent += [here.last(n) for n in range(len(here.commands))]
        with world(checkpoint, make_pilot=Nearing) as here:
            wait_until(lambda: heard_by_watch(here, '/plan/stats'), 'the watch, after a restart')
            here.drive()
            plans_more(here, 10)
            published += here.stats
    rows = read_rows(out)
    distance, plan_ms = series(rows['/distance/goal']), series(rows['/latency/plan_ms'])
    found = [(distance[step], plan_ms[step]) for step in sorted(distance)]
    rest = iter([(one['distance'], one['plan_ms']) for one in published])  # some may be equal
    assert all(pair in rest for pair in found), 'as published, in this order, and once'
    assert len(found) >= 40, 'few messages are lost'
    assert set(series(rows['/cost/effort']).values()) == {0.25}
    assert set(series(rows['/command/twist.linear.x/high']).values()) == {0.5}
    assert {row.value for row in shown(rows['/command/twist.linear.y/sent'])} <= {
        one[1] for one in sent
    } | {0.0, -0.2}
    assert shown(rows['/plan_image'])[-1].value.shape[1] > 3 * 200
    assert abs(int(shown(rows['/goal'])[-1].value.mean()) - 200) <= 2
    assert shown(rows['/camera']), 'images'
    refused = {row.stamp for row in rows['/log'] if 'camera/image_raw: not shown' in row.value}
    cleared = {row.stamp for row in rows['/camera'] if row.value is None}
    assert refused, 'a damaged image is reported'
    assert refused <= cleared, 'and the one before does not stay'
    log = [row.value for row in rows['/log']]
    for words in ('/camera/image_raw: not shown: ', 'RUNNING: commands follow', '/plan is gone'):
        assert any(line.startswith(words) for line in log), (words, log)


def damaged(grey):
    """Return an image whose data are too short."""
    image = picture(grey)
    image.data = image.data[:10]
    return image


def test_a_viewer_that_subscribes_to_commands_is_no_driver():
    from geometry_msgs.msg import TwistStamped
    from smwm_ros.nodes.connection import Connection
    from smwm_ros.nodes.topic_monitor import TopicMonitor, TopicType

    viewer = Connection('/plan')
    other = Connection('/plan')
    try:
        viewer.subscribe(TwistStamped, '/watched', lambda message: None, 10)
        wait_until(lambda: other.node.count_subscribers('/watched'), 'the viewer')
        topic = TopicType('/watched', 'geometry_msgs/msg/TwistStamped', '')
        monitor = TopicMonitor(other.node, list, topic, exclusive=False)
        wait_until(monitor.problems, 'a warning')
        assert 'no subscriber for the commands' in monitor.problems()[0]
    finally:
        viewer.close()
        other.close()


def test_of_each_topic_the_newest_messages_wait_in_their_order():
    inbox, camera, stats = Inbox(), InboxTopic('/camera', ''), InboxTopic('/stats', '', depth=3)
    for number in range(10):
        inbox.put(message(camera, number))
        inbox.put(message(stats, number))
    found = inbox.take() or []
    assert [(one.topic.name, one.time) for one in found] == [
        ('/stats', 7), ('/stats', 8), ('/camera', 9), ('/stats', 9),
    ]  # fmt: skip
    assert inbox.dropped == 9 + 7
    inbox.put(message(camera, 10))
    inbox.close()
    assert [one.time for one in inbox.take() or []] == [10], 'what waits at the end is shown'
    assert inbox.take() is None


def message(topic, time):
    return ReceivedMessage(topic, time, bytes(4), time)


def test_without_a_display_the_other_choices_are_named():
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ('DISPLAY', 'WAYLAND_DISPLAY')
    }
    pytest.importorskip('rerun', reason=NEEDED)
    done = subprocess.run(
        [sys.executable, '-m', 'smwm_ros.cli', 'watch'],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE * 3,
    )  # fmt: skip
    assert done.returncode == 2
    assert 'there is no display here; use --save FILE, or --connect ADDRESS' in done.stderr
