# SPDX-License-Identifier: Apache-2.0
"""The plan node as a process that is killed, breaks, or cannot write its log: the robot stops."""

from contextlib import contextmanager
import os
import signal
import subprocess
import sys

from harness import PATIENCE, picture, wait_until
import numpy as np
import pytest
from remote import arena
from std_msgs.msg import String
from test_plan_process import robot, start  # noqa: F401 - robot is a fixture

# A pilot that ends its thread when the image is white, and a callback that fails when asked to.
BREAKABLE = """
import sys
from smwm_ros.planning.pilot import Pilot
from smwm_ros.nodes.plan import PlanNode
from smwm_ros.nodes.spin import run_node
from std_msgs.msg import String


class Mortal(Pilot):
    def plan(self, pixels, *words, **named):
        if pixels.min() == 255:
            raise SystemExit('killed')
        return super().plan(pixels, *words, **named)


class BreakableNode(PlanNode):
    def __init__(self):
        super().__init__(Mortal)
        self.create_subscription(String, '/break', lambda message: 1 / 0, 1)


sys.exit(run_node(BreakableNode))
"""


# A pilot that computes for ever, and does not listen.
HANGING = """
import sys
from smwm_ros.planning.pilot import Pilot
from smwm_ros.nodes.plan import PlanNode
from smwm_ros.nodes.spin import run_node
import torch


class Deaf(Pilot):
    def plan(self, pixels, *words, **named):
        while pixels.min() == 255:
            torch.randn(300, 300) @ torch.randn(300, 300)
        return super().plan(pixels, *words, **named)


sys.exit(run_node(lambda: PlanNode(Deaf)))
"""


@contextmanager
def node(checkpoint, *words, script=None, stderr=None):
    """Start a plan node, and leave nothing of it behind."""
    what = ['-c', script] if script else ['-m', 'smwm_ros.nodes.plan']
    knobs = [*([f'checkpoint:={checkpoint}'] if checkpoint else []), *words]
    parameters = [part for knob in knobs for part in ('-p', knob)]
    process = subprocess.Popen([sys.executable, *what, '--ros-args', *parameters], stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


ALONE = 'node.exclusive:=false'  # the test has a command publisher, too


def moves(command):
    """Say whether a command is to move."""
    return (command.twist.linear.x, command.twist.linear.y) != (0.0, 0.0)


def test_a_node_that_is_killed_leaves_the_robot_to_its_own_timeout_and_drives_again(checkpoint):
    words = ('sim.real_time_factor:=1.0', 'arena.image_size:=64', 'sim.command_timeout:=0.3')
    with arena(*words) as remote:
        with node(None, ALONE) as process:
            remote.wait(lambda: remote.task['steps'] > 2, 'motion')
            process.send_signal(signal.SIGKILL)
            process.wait()
        remote.ticks(6)  # of 0.1 s
        rest = remote.place
        remote.ticks(3)
        assert np.allclose(remote.place, rest, atol=1e-4), 'it is pressed against a wall at most'
        with node(None, ALONE):
            remote.wait(
                lambda: (
                    not np.allclose(remote.place, rest, atol=1e-3)
                    or remote.task['phase'] != 'running'
                ),
                'motion again',
            )


@pytest.mark.parametrize('how', ['the planner dies in a plan', 'a callback fails'])
def test_a_node_that_breaks_stops_the_robot_logs_the_reason_and_ends(
    checkpoint,
    robot,  # noqa: F811
    how,
    tmp_path,
):
    breaks = robot.node.create_publisher(String, '/break', 1)
    log = tmp_path / 'log'
    with log.open('w') as errors, node(checkpoint, script=BREAKABLE, stderr=errors) as process:
        wait_until(lambda: len(robot) > 2 and moves(robot[-1]), 'commands')
        if how == 'a callback fails':
            breaks.publish(String())
        else:
            robot.look = picture(255)
        assert process.wait(PATIENCE) == 1
        wait_until(lambda: not moves(robot[-1]), 'a stop command')
    # The health check may find the dead thread before the next plan is late, so the status may
    # still be RUNNING.
    died = 'the thread of PlannerThread has died'
    reason = 'division by zero' if how == 'a callback fails' else died
    assert reason in log.read_text()


def stuff(pipe):
    """Fill a pipe, so that whoever writes into it must wait until somebody reads."""
    output = os.open(f'/proc/self/fd/{pipe}', os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(output, b'x' * 512)
    except BlockingIOError:
        os.close(output)


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux opens a pipe by its number')
def test_a_log_that_cannot_be_written_does_not_keep_the_robot_moving(checkpoint, robot):  # noqa: F811
    ear, output = os.pipe()
    with node(checkpoint, 'node.image_timeout:=0.3', stderr=output) as process:
        wait_until(lambda: len(robot) > 2 and moves(robot[-1]), 'commands')
        stuff(output)
        robot.look = picture(10)
        robot.look.encoding = 'sepia'  # something to complain about
        wait_until(lambda: not moves(robot[-1]), 'a stop command')
        robot.look = picture(100)
        wait_until(lambda: moves(robot[-1]), 'motion')
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not moves(robot[-1]), 'a stop command')
        assert process.wait(PATIENCE) == 0
    os.close(ear)
    os.close(output)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_planner_that_computes_for_ever_does_not_keep_the_node_from_a_clean_end(
    checkpoint,
    robot,  # noqa: F811
    number,
):
    with node(checkpoint, ALONE, script=HANGING, stderr=subprocess.PIPE) as process:
        wait_until(lambda: robot and moves(robot[-1]), 'motion')
        robot.look = picture(255)
        wait_until(lambda: not moves(robot[-1]), 'a stop command')
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        said = process.stderr.read().decode()
        assert 'terminate called' not in said
        assert 'Traceback' not in said
