# SPDX-License-Identifier: Apache-2.0
"""docs/your_robot.md, typed from its first command to its last, with an arena as the robot."""

from contextlib import contextmanager, suppress
from pathlib import Path
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

from geometry_msgs.msg import TwistStamped
from harness import wait_until
import rclpy
from rclpy.executors import SingleThreadedExecutor
from smwm_ros.cli import main as smwm
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import String
from std_srvs.srv import Trigger
from test_docs import commands, ROOT

PAGE = ROOT / 'docs' / 'your_robot.md'
SHIPPED = ROOT / 'models' / 'two_room'
# Today the robot is in another light than in the recordings for training.
TODAY = {'randomise.light': '[0.4, 0.4]', 'randomise.colour': '[-0.3, -0.3]', 'arena.seed': '3'}
TENTH = 0.05  # of the limits of the page's robot [m/s]
NODE = 'python -m smwm_ros.nodes.'
SHOWN_ELSEWHERE = 'test_docs_commands.py::test_a_line'  # of ros2, with rclpy in place of the tool


class Robot:
    """Listens to what the robot gets, and drives it by hand."""

    def __init__(self, node):
        self.moves, self.statuses = list[float](), list[str]()
        self.by_hand = False
        self._stick = node.create_publisher(TwistStamped, '/cmd_vel', 10)
        node.create_subscription(TwistStamped, '/cmd_vel', self._on_command, 100)
        node.create_subscription(
            String, '/plan/status', lambda m: self.statuses.append(m.data), LATCHED
        )
        node.create_timer(0.1, self._on_stick)
        self._node = node

    def let_go(self):
        """End the driving by hand: nothing else may publish commands then."""
        self.by_hand = False
        if self._stick is not None:
            self._node.destroy_publisher(self._stick)
            self._stick = None
        time.sleep(0.3)  # until the last command is here
        self.moves.clear()

    def call(self, service):
        """Call a service that must succeed."""
        client = self._node.create_client(Trigger, service)
        wait_until(client.service_is_ready, service)
        future = client.call_async(Trigger.Request())
        wait_until(future.done, f'an answer of {service}')
        assert future.result().success, future.result().message

    def _on_command(self, message):
        twist = message.twist.linear
        self.moves.append(max(abs(twist.x), abs(twist.y)))

    def _on_stick(self):
        if self.by_hand and self._stick is not None:
            command = TwistStamped()
            command.twist.linear.x = 0.2
            self._stick.publish(command)


@contextmanager
def robot():
    """Run a robot in a thread."""
    rclpy.init(args=[])
    node = rclpy.create_node('robot', use_global_arguments=False)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        yield Robot(node)
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown()


class Terminal:
    """A node that was started in a terminal, and its log."""

    def __init__(self, command, log):
        words = shlex.split(command.removeprefix('python'))
        self.log = log
        with log.open('w') as out:
            self._process = subprocess.Popen(
                [sys.executable, *words], stdout=out, stderr=subprocess.STDOUT
            )

    def wait_for(self, text):
        """Wait for a text in the log."""

        def said():
            assert self._process.poll() is None, self.log.read_text()
            return text in self.log.read_text()

        for _ in range(3):  # of a loaded machine
            with suppress(AssertionError):
                return wait_until(said, f'{text} in {self.log}')
        raise AssertionError(self.log.read_text())

    def interrupt(self):
        """End the node with Ctrl-C; return its log."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(30) == 0, self.log.read_text()
        return self.log.read_text()

    def kill(self):
        """End the node in any case."""
        self._process.kill()
        self._process.wait()


def smaller(command):
    """Return a command that takes seconds rather than minutes, with a darker room today."""
    command = command.replace('arena.engine=mujoco', '').replace('-p arena.engine:=mujoco', '')
    looks = [f'{name}={value.replace(" ", "")}' for name, value in TODAY.items()]
    if 'collect' in command and '--out today' in command:
        command = command.replace('arena.seed=1', '')
        return f'{command} {" ".join(looks)}'
    if 'collect' in command:
        return f'{re.sub(r"--episodes [0-9]+", "--episodes 6", command)} arena.length=40'
    if 'smwm train' in command:
        return f'{command} train.steps=4 train.batch=8'
    if 'nodes.arena' in command:
        return f'{command} {" ".join(f"-p {k}:={v!r}" for k, v in TODAY.items())}'
    return command


def test_every_command_of_the_page_leads_to_a_robot_that_drives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [line for line in commands(PAGE) if not line.startswith('ros2 ')]
    nodes, said = dict[str, Terminal](), dict[str, str]()
    with robot() as here:
        try:
            for number, line in enumerate(lines):
                if line.startswith(NODE):
                    start(line, nodes, tmp_path / f'{number}.log', here)
                elif line.startswith('smwm record '):
                    record(line, tmp_path / f'{number}.log', here)
                else:
                    said[line] = step(line, here, capsys)
            logs = {name: node.interrupt() for name, node in nodes.items()}
        finally:
            for node in nodes.values():
                node.kill()
    check = 'smwm check runs/mine --bag today --robot robot.yaml'
    assert re.search(r'NO-GO +images.*\n +-> .*smwm adapt', said[check])
    assert 'active' in logs['plan']


def start(line, nodes, log, here):
    """Start the arena beside all else, or the next plan node after the one before."""
    kind = line.removeprefix(NODE).split()[0]
    if kind == 'plan' and kind in nodes:
        before = nodes[kind].interrupt()
        if 'shadow' in before:
            assert re.search(r'shadow: \d+ commands? compared', before)
        here.let_go()
    nodes[kind] = Terminal(smaller(line), log)
    nodes[kind].wait_for('active: ' if kind == 'plan' else 'camera on')
    here.by_hand = 'node.shadow:=true' in line
    here.statuses.clear()
    here.phase = line


def record(line, log, here):
    """Record an episode of a drive by hand."""
    # Beside the other bags: on a loaded machine its rates are not those of the robot.
    line = line.replace('my_bags/monday', 'by_hand').replace('smwm', 'python -m smwm_ros.cli', 1)
    node = Terminal(line, log)
    try:
        node.wait_for('ready to record')
        here.by_hand = True
        here.call('/record/start')
        time.sleep(3)
        here.call('/record/stop')
        here.by_hand = False
        assert 'episode_0001: ' in node.interrupt()
    finally:
        node.kill()


def step(line, here, capsys):
    """Run a verb, and look at the robot; return what the verb printed."""
    words = shlex.split(smaller(line))
    assert words[0] == 'smwm', f'no test knows how to show: {line}'
    code = smwm(words[1:])
    shown = capsys.readouterr()
    no_go = 'check runs/mine ' in line
    assert code == int(no_go), f'{line}\n{shown.out}\n{shown.err}'
    if words[1] == 'inspect' and words[2] == 'runs/mine':  # trained for seconds, it cannot drive
        shutil.rmtree('runs/mine')
        shutil.copytree(SHIPPED, 'runs/mine')
    if 'check runs/mine_adapted' in line:  # 'use it in place of runs/mine'
        shutil.rmtree('runs/mine')
        Path('runs/mine_adapted').rename('runs/mine')
    watch(words[1], here)
    return shown.out


def watch(verb, here):
    """Check what the robot gets after a verb, in each way to start the node."""
    phase = getattr(here, 'phase', '')
    if verb == 'status' and ('shadow' in phase or 'dry_run' in phase):
        wait_until(lambda: 'RUNNING' in here.statuses, 'a plan')
        assert 'dry_run' not in phase or not here.moves, 'a dry run commands nothing'
    if verb == 'goal' and 'node.engage:=false' in phase:
        assert not here.moves, 'the node waits for smwm engage'
    if verb == 'engage':
        full = 'high' not in phase
        wait_until(lambda: any(move > (TENTH if full else 0) for move in here.moves), 'motion')
        assert full or max(here.moves) <= TENTH + 1e-9
    if verb == 'stop':
        wait_until(lambda: here.moves[-1] == 0, 'the stop command')
