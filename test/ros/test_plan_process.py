# SPDX-License-Identifier: Apache-2.0
"""Tests for the plan node as a process: how it ends, and what it says last."""

from contextlib import contextmanager
import os
import pty
from select import select
import signal
import subprocess
import sys
import threading

from geometry_msgs.msg import TwistStamped
from harness import PATIENCE, picture, wait_until
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from smwm_ros.errors import SmwmError
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger


class Robot(list[TwistStamped]):
    """The commands that were heard, and what the camera shows."""

    def __init__(self, node):
        super().__init__()
        self.node = node
        self.look = picture(100)
        self._camera = node.create_publisher(Image, '/camera/image_raw', 1)
        node.create_publisher(Image, '/goal/image', LATCHED).publish(picture(200))
        node.create_timer(0.02, lambda: self._camera.publish(self.look))
        node.create_subscription(TwistStamped, '/cmd_vel', self.append, 100)
        self.statuses = list[str]()
        node.create_subscription(
            String, '/plan/status', lambda m: self.statuses.append(m.data), LATCHED
        )

    @property
    def moves(self):
        """Say whether the last command was to move."""
        return bool(self) and (self[-1].twist.linear.x, self[-1].twist.linear.y) != (0.0, 0.0)

    def call_stop(self):
        """Call ~/stop."""
        return self._call(Trigger, '/plan/stop', Trigger.Request())

    def call_engage(self):
        """Call ~/engage."""
        return self._call(SetBool, '/plan/engage', SetBool.Request(data=True))

    def _call(self, kind, name, request):
        client = self.node.create_client(kind, name)
        wait_until(client.service_is_ready, name)
        future = client.call_async(request)
        wait_until(future.done, f'an answer of {name}')
        self.node.destroy_client(client)
        return future.result()


@pytest.fixture
def robot():
    """Return a robot whose camera runs and whose goal is set, and the commands it hears."""
    rclpy.init()
    node = rclpy.create_node('robot')
    commands = Robot(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    yield commands
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown()


def obey_hang_up():
    """Undo what nohup did: it makes child processes ignore SIGHUP, these tests among them."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def running(words, **streams):
    """Run a process, and kill it at the end: a test that fails must not wait for it for ever."""
    with subprocess.Popen(words, text=True, preexec_fn=obey_hang_up, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def start(checkpoint):
    """Start the plan node as `ros2 run` would."""
    words = [sys.executable, '-m', 'smwm_ros.nodes.plan']
    words += ['--ros-args', '-p', f'checkpoint:={checkpoint}']
    return running(words, stderr=subprocess.PIPE)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_however_often_ends_the_node_with_a_stop_command(checkpoint, robot, number):
    with start(checkpoint) as process:
        wait_until(lambda: len(robot) > 2, 'commands')
        assert (robot[-1].twist.linear.x, robot[-1].twist.linear.y) != (0.0, 0.0)
        for _ in range(3):
            process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert 'Traceback' not in process.stderr.read()
    wait_until(
        lambda: (robot[-1].twist.linear.x, robot[-1].twist.linear.y) == (0.0, 0.0),
        'a stop command',
    )


def test_the_robot_stops_when_the_terminal_of_the_node_is_closed(checkpoint, robot):
    words = [sys.executable, '-m', 'smwm_ros.nodes.plan']
    words += ['--ros-args', '-p', f'checkpoint:={checkpoint}']
    pid, terminal = pty.fork()
    if not pid:
        obey_hang_up()
        os.execv(sys.executable, words)
    reader = threading.Thread(target=drain, args=(terminal,), daemon=True)
    reader.start()
    wait_until(lambda: robot.moves, 'motion')
    closed.set()
    reader.join()
    os.close(terminal)
    wait_until(lambda: not robot.moves, 'a stop command')
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


closed = threading.Event()


def drain(terminal):
    """Read what a terminal shows, until it is closed."""
    while not closed.is_set():
        if select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 1000)


def test_with_nohup_a_node_goes_on_without_its_terminal(checkpoint, robot):
    words = ['nohup', sys.executable, '-m', 'smwm_ros.nodes.plan']
    words += ['--ros-args', '-p', f'checkpoint:={checkpoint}']
    nothing = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)
    with running(words, **nothing) as process:
        wait_until(lambda: robot.moves, 'motion')
        process.send_signal(signal.SIGHUP)
        count = len(robot)
        wait_until(lambda: len(robot) > count + 20, 'further commands')
        assert robot.moves
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_node_whose_autostart_fails_ends_with_code_1_and_logs_the_reason(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'smwm_ros.nodes.plan'),
            *('--ros-args', '-p', f'checkpoint:={tmp_path / "nothing"}'),
        ],
        stderr=subprocess.PIPE,
        text=True,
        timeout=3 * PATIENCE,
    )
    assert done.returncode == 1
    assert str(tmp_path / 'nothing') in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_mistake_in_the_nodes_own_parameters_is_one_line_that_a_parent_can_report(tmp_path):
    knobs = {'node': {'coast': -5, 'engaged': True}}
    with ChildProcess('smwm_ros.nodes.plan', knobs, tmp_path, os.environ) as child:
        wait_until(lambda: not is_alive(child), 'the end of the child')
        with pytest.raises(SmwmError, match='the plan node ended with code 2') as raised:
            child.check()
    (line,) = child.log.read_text().splitlines()
    assert line in str(raised.value)
    assert 'coast: -5 is out of range; valid: 0 to 100' in line
    assert "engaged: unknown key; did you mean 'engage'?" in line


def is_alive(child):
    try:
        child.check()
    except SmwmError:
        return False
    return True


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_is_gone_when_its_block_is_left_in_anger(tmp_path, checkpoint):
    knobs = {'checkpoint': str(checkpoint)}

    pids = list[int]()

    def leave_in_anger():
        with ChildProcess('smwm_ros.nodes.plan', knobs, tmp_path, os.environ) as child:
            pids.append(child.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave_in_anger()
    assert not is_running(pids[0])


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends children with their parent')
def test_a_child_ends_with_its_parent_even_when_that_is_killed(tmp_path, checkpoint):
    script = (
        'import os, sys, time\n'
        'from pathlib import Path\n'
        'from smwm_ros.nodes.child_process import ChildProcess\n'
        f'knobs = {{"checkpoint": {str(checkpoint)!r}}}\n'
        f'folder = Path({str(tmp_path)!r})\n'
        'child = ChildProcess("smwm_ros.nodes.plan", knobs, folder, os.environ)\n'
        'print(child.pid, flush=True)\n'
        'time.sleep(600)\n'
    )
    with running([sys.executable, '-c', script], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        log = tmp_path / 'plan.log'
        wait_until(lambda: '/camera/image_raw -> /cmd_vel' in log.read_text(), 'the node')
        parent.kill()
    wait_until(lambda: not is_running(pid), 'the end of the orphan')
