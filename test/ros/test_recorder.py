# SPDX-License-Identifier: Apache-2.0
"""`smwm record` as a process: its services and keys record a robot, and a crash loses little."""

from contextlib import contextmanager
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from geometry_msgs.msg import TwistStamped
from harness import PATIENCE, wait_until
from nav_msgs.msg import Odometry
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.reader import BagReader
from smwm_ros.bags.writing.episodes import EpisodeFolder
from smwm_ros.cli import main as smwm
from smwm_ros.codec.images import fill_image
from smwm_ros.config import Robot, State
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.nodes.messages import LATCHED, message_class
from smwm_ros.nodes.recorder import RecorderNode
from std_msgs.msg import String
from std_srvs.srv import Trigger
from test_docs_commands import LINES, RECORDER, words_of
from visualization_msgs.msg import Marker
import yaml

CAMERA, COMMAND, ODOM = '/camera/image_raw', '/cmd_vel', '/odom'
COMPRESSED = f'{CAMERA}/compressed'
WORDS = ('robot.state.topic=odom',)
PERIOD = 0.05
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Robotlike:
    """Publishes images, commands and odometry, and calls the recorder."""

    def __init__(self, namespace='', compressed=False):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('robot', context=self.context, namespace=namespace)
        self.space = f'/{namespace}' if namespace else ''
        self.statuses = list[Any]()
        self.count = 0  # images
        make = self.node.create_publisher
        self.compressed = compressed
        kind, camera = (CompressedImage, COMPRESSED) if compressed else (Image, CAMERA)
        self.camera = make(kind, camera.lstrip('/'), 5)
        self.state = make(Odometry, ODOM.lstrip('/'), BEST_EFFORT)
        self.command = make(TwistStamped, COMMAND.lstrip('/'), 5)
        self.task = make(String, f'{self.space}/record/task', 5)
        self.commanding = self.showing = True
        self._clients = {}
        self.node.create_timer(PERIOD, self._publish)
        self.node.create_subscription(
            String,
            f'{self.space}/record/status',
            lambda message: self.statuses.append(json.loads(message.data)),
            10,
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def _publish(self):
        now = self.node.get_clock().now().to_msg()
        self.count += 1
        rgb = np.full((16, 16, 3), self.count % 256, np.uint8)
        if self.compressed:
            image = CompressedImage(format='png', data=cv2.imencode('.png', rgb)[1].tobytes())
        else:
            image = fill_image(Image(), rgb)
        parts = [(self.camera, image)] * self.showing + [(self.state, Odometry())]
        command = TwistStamped()
        command.twist.linear.x = 0.4 * np.sin(self.count)
        parts += [(self.command, command)] * self.commanding
        for publisher, message in parts:
            message.header.stamp = now
            publisher.publish(message)

    def call(self, name):
        """Call a service of the recorder."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(Trigger, f'{self.space}/record/{name}')
        client = self._clients[name]
        wait_until(client.service_is_ready, f'the service {name}')
        future = client.call_async(Trigger.Request())
        wait_until(future.done, f'an answer of {name}')
        return future.result()

    def do(self, name):
        """Call a service that must succeed; return its message."""
        answer = self.call(name)
        assert answer.success, answer.message
        return answer.message

    def wait_for(self, condition, what):
        """Wait until the last status fulfils a condition."""
        wait_until(lambda: self.statuses and condition(self.statuses[-1]), what)

    def ready(self, *topics):
        """Wait until the recorder knows the publishers of these topics."""
        names = topics or (CAMERA, COMMAND, ODOM)
        self.wait_for(
            lambda status: all(status['topics'][name]['publishers'] for name in names), names
        )

    def record(self, count=20):
        """Wait until so many messages of each topic are recorded."""
        self.wait_for(lambda status: recorded(status) >= count, f'{count} messages')

    def close(self):
        """End the node."""
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()


def recorded(status):
    """Return the least number of messages of the topics of the robot."""
    return min(status['topics'][name]['messages'] for name in (CAMERA, COMMAND, ODOM))


@contextmanager
def running(*args):
    """Run a robot."""
    made = Robotlike(*args)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def robot():
    with running() as made:
        yield made


@contextmanager
def recorder(out, *more, words=WORDS, ros=(), code=0, **options):
    """Start the recorder; it must end well."""
    command = [sys.executable, '-m', 'smwm_ros.cli', 'record', '--out', str(out), *words, *more]
    command += ['--ros-args', *ros] if ros else []
    options = {'stdin': subprocess.DEVNULL, 'stderr': subprocess.PIPE, 'text': True, **options}
    process = subprocess.Popen(command, **options)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert 'Traceback' not in (said or '')
        assert process.returncode == code, said
    finally:
        process.kill()
        process.wait()


def messages(path):
    """Return how many messages each topic of a bag has."""
    (bag,) = find_bags([path])
    with BagReader(bag) as reader:
        return {topic.name: topic.messages for topic in reader.topics.values()}


def convert(path, out):
    """Convert what was recorded."""
    words = ('dataset.image_size=16', 'robot.dt=0.1', 'dataset.max_frame_age=1', *WORDS)
    assert smwm(['convert', str(path), f'--out={out}', '--skip', *words]) == 0
    return TransitionDataset.open(out)


def test_services_record_episodes_that_convert_with_their_task_and_outcome(robot, tmp_path):
    out = tmp_path / 'bags'
    with recorder(out, '--task', 'go there'):
        robot.ready()
        for name, reason in (
            ('stop', 'nothing is being recorded; start an episode first'),
            ('success', 'there is no episode yet'),
            ('failure', 'there is no episode yet'),
            ('discard', 'there is nothing to discard'),
        ):
            answer = robot.call(name)
            assert not answer.success
            assert reason in answer.message
        assert robot.do('start') == "recording episode_0001 of 'go there'"
        again = robot.call('start')
        assert not again.success
        assert 'episode_0001 is being recorded already' in again.message
        robot.record(40)
        assert not (out / 'episode_0001').exists()
        robot.do('stop')
        assert 'episode_0001: success' in robot.do('success')
        robot.task.publish(String(data='come back'))
        wait_until(
            lambda: 'come back' in robot.do('start') or robot.do('discard') == 0, 'the task'
        )
        robot.record(40)
        assert 'it is still being recorded' in robot.do('failure')
        assert 'failure' in robot.do('stop')
        robot.do('start')
        robot.record(5)
        robot.do('stop')
        assert 'discarded, the last episode' in robot.do('discard')
        assert not robot.call('discard').success
        robot.do('start')
        robot.record(40)
    assert sorted(path.name for path in out.iterdir()) == [
        '.discarded', 'episode_0001', 'episode_0002', 'episode_0004',
    ]  # fmt: skip
    data = convert(out, tmp_path / 'data')
    noted = {drive.name.split('/')[0]: (drive.outcome, drive.task) for drive in data.drives}
    assert noted == {
        'episode_0001': ('success', 'go there'),
        'episode_0002': ('failure', 'come back'),
        'episode_0004': ('', 'come back'),
    }
    assert len(data.starts('all')) > 20
    counts = messages(out / 'episode_0001')
    assert set(counts) == {CAMERA, COMMAND, ODOM}
    assert max(counts.values()) - min(counts.values()) <= 2, 'nothing was lost'


def test_the_lines_of_the_docs_fit_the_recorder(robot, tmp_path):
    lines = [words_of(line) for line in LINES if RECORDER in line]
    assert {line[0] for line in lines} == {'service', 'topic'}
    with recorder(tmp_path):
        robot.ready()
        for _, what, name, *kind in lines:
            if what == 'call':
                assert dict(robot.node.get_service_names_and_types())[name] == kind
            elif what == 'pub':
                (info,) = robot.node.get_subscriptions_info_by_topic(name)
                assert info.topic_type == kind[0]
                assert message_class(kind[0])(**yaml.safe_load(kind[1]))
            else:
                assert robot.node.get_publishers_info_by_topic(name)


def test_topics_alone_are_recorded_with_the_types_of_their_publishers(robot, tmp_path, capfd):
    out = tmp_path / 'out'
    with recorder(out, '--topics', ODOM, 'cmd_vel', words=()):
        wait_until(lambda: robot.statuses, 'the recorder')
        assert set(robot.statuses[-1]['topics']) == {ODOM, COMMAND, '/clock', '/tf_static'}
        robot.wait_for(lambda status: status['topics'][ODOM]['publishers'], ODOM)
        robot.do('start')
        robot.wait_for(lambda status: status['topics'][ODOM]['messages'] > 2, 'messages')
        robot.do('stop')
    assert set(messages(out / 'episode_0001')) == {ODOM, COMMAND}
    with recorder(tmp_path / 'none', words=(), code=2, stderr=None) as process:
        process.wait(PATIENCE)
    assert 'nothing to record: give the configuration of the robot with' in capfd.readouterr().err


def test_a_bag_has_the_type_hashes_and_receive_times_of_the_robot(robot, tmp_path):
    with recorder(tmp_path):
        robot.ready()
        begin = robot.node.get_clock().now().nanoseconds
        robot.do('start')
        robot.record(5)
        robot.do('stop')
        end = robot.node.get_clock().now().nanoseconds
        infos = {
            topic: robot.node.get_publishers_info_by_topic(topic)[0] for topic in (CAMERA, ODOM)
        }
    with Reader(tmp_path / 'episode_0001') as reader:
        digests = {one.topic: one.digest for one in reader.connections}
        times = [stamp for _, stamp, _ in reader.messages()]
    for topic, info in infos.items():
        assert digests[topic] == str(info.topic_type_hash)
    assert begin - 10**9 < min(times)
    assert max(times) <= end


def test_what_was_recorded_before_kill_9_is_converted(tmp_path):
    out = tmp_path / 'bags'
    with running() as robot, recorder(out, code=-signal.SIGKILL) as process:
        robot.ready()
        robot.do('start')
        robot.record(60)
        kept = robot.statuses[-1]
        robot.record(recorded(kept) + 20)
        process.kill()
        process.wait()
    hidden = out / '.recording-episode_0001'
    counts = messages(hidden)
    assert min(counts.values()) >= recorded(kept) - 20, 'a second of it at most is lost'
    assert len(convert(hidden, tmp_path / 'direct').starts('all')) > 10
    # A robot of its own: the other one still waits for answers of the process that was killed.
    with running() as robot, recorder(out):
        wait_until((out / 'episode_0001').is_dir, 'the interrupted episode')
        robot.ready()
        assert 'recording episode_0002' in robot.do('start')
        robot.record(40)
    assert not hidden.exists()
    assert messages(out / 'episode_0001') == counts
    names = {drive.name.split('/')[0] for drive in convert(out, tmp_path / 'data').drives}
    assert names == {'episode_0001', 'episode_0002'}


def test_a_missing_publisher_and_another_type_are_reported(robot, tmp_path):
    robot.node.create_publisher(CompressedImage, '/wrist', 1)
    with recorder(tmp_path, '--topics', '/nobody', 'robot.camera.others=/wrist') as process:
        robot.ready()
        message = robot.do('start')
        assert 'warning: /nobody: no publisher' in message
        assert '/wrist: /robot publishes sensor_msgs/msg/CompressedImage, but' in message
        robot.wait_for(lambda status: '/nobody: no publisher' in status['warnings'], 'a warning')
        robot.commanding = False
        robot.wait_for(
            lambda status: any('/cmd_vel: 0.0 messages/s' in text for text in status['warnings']),
            'the slow topic',
        )
        robot.do('discard')
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1]
    assert said.count('/nobody: no publisher') == 2, 'logged once, and in the answer'


def test_a_type_that_is_not_installed_is_refused(robot, tmp_path, capfd):
    words = ('robot.state.type=my_msgs/msg/Pose',)
    with recorder(tmp_path / 'a', *words, code=2, stderr=None) as process:
        process.wait(PATIENCE)
    assert "'my_msgs/msg/Pose': the package my_msgs is not installed" in capfd.readouterr().err
    robot.node.create_publisher(Marker, '/marker', 1)
    (tmp_path / 'visualization_msgs' / 'msg').mkdir(parents=True)
    (tmp_path / 'visualization_msgs' / '__init__.py').touch()
    (tmp_path / 'visualization_msgs' / 'msg' / '__init__.py').touch()
    paths = f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}'
    environment = {**os.environ, 'PYTHONPATH': paths}
    with recorder(tmp_path / 'b', '--topics', '/marker', env=environment):
        robot.ready(CAMERA, '/marker')
        answer = robot.call('start')
        assert not answer.success
        assert '/marker: cannot be recorded' in answer.message
        assert 'visualization_msgs has no message Marker' in answer.message
    assert not (tmp_path / 'b').exists()


def test_latched_messages_begin_every_episode(robot, tmp_path):
    fixed = robot.node.create_publisher(String, '/robot_description', LATCHED)
    fixed.publish(String(data='wheels'))
    with recorder(tmp_path, '--topics', 'robot_description'):
        robot.ready(CAMERA, '/robot_description')
        for _ in range(2):
            robot.do('start')
            robot.record(3)
            robot.do('stop')
    for name in ('episode_0001', 'episode_0002'):
        assert messages(tmp_path / name)['/robot_description'] == 1


def test_in_a_namespace_topics_are_stored_as_in_the_configuration(tmp_path):
    ros = ('-r', '__ns:=/robot_1')
    with running('robot_1') as robot, recorder(tmp_path, ros=ros):
        robot.ready()
        robot.do('start')
        robot.record(3)
        robot.do('stop')
    assert set(messages(tmp_path / 'episode_0001')) == {CAMERA, COMMAND, ODOM}


@pytest.mark.parametrize('more', [(), ('--topics', 'camera/image_raw/compressed')])
def test_compressed_images_are_recorded_where_they_alone_are_published(tmp_path, more):
    ros = ('-r', '__ns:=/robot_1')
    with running('robot_1', True) as robot, recorder(tmp_path, *more, ros=ros) as process:
        robot.wait_for(
            lambda status: CAMERA not in status['topics'] and not status['warnings'],
            'the images that are published',
        )
        robot.ready(COMPRESSED, COMMAND, ODOM)
        assert 'warning' not in robot.do('start')
        robot.wait_for(lambda status: status['topics'][COMPRESSED]['messages'] > 19, 'images')
        robot.do('stop')
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1]
    names = '/robot_1/camera/image_raw', '/robot_1/camera/image_raw/compressed'
    text = f'{names[0]}: no publisher, so the images of {names[1]} are recorded'
    assert said.count(text) == 1
    assert 'set robot.camera.topic=' not in said, 'it was found without'
    counts = messages(tmp_path / 'episode_0001')
    assert set(counts) == {COMPRESSED, COMMAND, ODOM}
    assert abs(counts[COMPRESSED] - counts[COMMAND]) < 5, 'each image once'
    assert len(convert(tmp_path, tmp_path / 'data')) > 0


def test_a_camera_that_was_recorded_keeps_its_topic(robot, tmp_path):
    with recorder(tmp_path):
        robot.ready()
        robot.do('start')
        robot.record(3)
        robot.showing = False
        robot.node.destroy_publisher(robot.camera)
        robot.node.create_publisher(CompressedImage, COMPRESSED.lstrip('/'), 5)
        seen = len(robot.statuses)
        wait_until(lambda: len(robot.statuses) > seen + 4, 'some seconds')
        assert CAMERA in robot.statuses[-1]['topics']
        hint = f'{CAMERA}: no publisher, but its images come as {COMPRESSED}: set '
        assert any(text.startswith(hint) for text in robot.statuses[-1]['warnings'])
        robot.do('stop')


def test_simulated_time_stamps_the_messages(robot, tmp_path):
    clock = robot.node.create_publisher(Clock, '/clock', 10)
    with recorder(tmp_path, ros=('-p', 'use_sim_time:=true')):
        robot.ready(CAMERA, '/clock')
        answer = robot.call('start')
        assert not answer.success
        assert 'no time was received on /clock yet' in answer.message
        robot.node.create_timer(0.01, lambda: clock.publish(Clock(clock=Time(sec=7))))
        wait_until(lambda: robot.call('start').success, 'the clock')
        robot.record(3)
        robot.do('stop')
    with Reader(tmp_path / 'episode_0001') as reader:
        assert {stamp for _, stamp, _ in reader.messages()} == {7 * 10**9}


def test_without_space_no_episode_begins_and_a_recording_is_stored(robot, tmp_path):
    with recorder(tmp_path / 'full', '--reserve', '99999999'):
        robot.ready(CAMERA)
        answer = robot.call('start')
        assert not answer.success
        assert 'the disk is nearly full' in answer.message
    space = 10**9
    rclpy.init()
    with EpisodeFolder(tmp_path / 'out', 10**6, free=lambda _: space) as folder:
        node = RecorderNode(folder, Robot(state=State(topic='odom')))
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin)
        thread.start()
        try:
            robot.ready()
            robot.do('start')
            robot.record(5)
            space = 10**6
            robot.wait_for(lambda status: not status['recording'], 'the end of the recording')
            full = 'the disk is nearly full'
            robot.wait_for(lambda status: full in status['warnings'], full)
            assert messages(tmp_path / 'out' / 'episode_0001')[CAMERA] >= 5
            assert not robot.call('start').success
        finally:
            executor.shutdown()
            thread.join()
            node.destroy_node()
            rclpy.try_shutdown()


def test_keys_of_the_terminal_record_and_the_terminal_is_restored(robot, tmp_path):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)

    def attend():
        """Make the terminal that of the new session, as a shell does."""
        os.setsid()
        import fcntl

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with recorder(tmp_path, stdin=theirs, preexec_fn=attend) as process:
        robot.ready()
        assert termios.tcgetattr(theirs)[3] != before[3], 'keys come without Enter'
        os.write(ours, b' ')
        robot.record(5)
        os.write(ours, b's ')
        wait_until((tmp_path / 'episode_0001').is_dir, 'the episode')
        os.write(ours, b' ')
        robot.wait_for(lambda status: status['recording'] == 'episode_0002', 'the second one')
        robot.record(5)
        os.write(ours, b' ')
        wait_until((tmp_path / 'episode_0002').is_dir, 'the second episode')
        os.write(ours, b'd')
        wait_until(lambda: not (tmp_path / 'episode_0002').exists(), 'the key d')
        os.write(ours, b'q')
        assert process.wait(PATIENCE) == 0
    assert termios.tcgetattr(theirs) == before
    assert 'outcome: success' in (tmp_path / 'episode_0001' / 'metadata.yaml').read_text()
    os.close(ours)
    os.close(theirs)
