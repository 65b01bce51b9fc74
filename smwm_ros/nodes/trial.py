# SPDX-License-Identifier: Apache-2.0
"""
Run a checkpoint over ROS: the arena node and the plan node as two processes.

The plan node is engaged when the robot is at the start of a task and the goal is accepted, and
disengaged at the end of the task, so no command of one task affects the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import time
from types import MappingProxyType
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node as RosNode
from rclpy.signals import SignalHandlerOptions
from smwm_ros.codec.stamps import in_seconds
from smwm_ros.config import Node
from smwm_ros.errors import SmwmError
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import read_meta
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.messages import LATCHED, message_class
from smwm_ros.share import fast_dds_profile
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

_START = 90.0  # longest wait for both nodes [s]; importing torch on a loaded machine is slow
_ANSWER = 20.0  # longest wait for an answer, or for an accepted goal [s]
_SLACK = 5.0  # a task may take this many times its budget in real time
_CHECK_PERIOD = 0.1  # of the check whether the child processes run [s]


class TaskResult(NamedTuple):
    """The outcome of one task."""

    success: bool
    steps: int  # raw steps driven
    path: list[list[float]]  # measured states, the start first


class TrialResult(NamedTuple):
    """The outcome of all tasks, and the timing of the plan node."""

    tasks: list[TaskResult]
    control_hz: float  # motion commands per second while engaged
    plan_ms: list[float]  # of every plan
    command_intervals: list[float]  # between two commands of a task [s]
    health: dict[str, str]  # the plan node's last diagnostics


def run_trial(
    checkpoint: Path,
    arena: str,
    tasks: Sequence[Mapping[str, Sequence[float]]],  # start and goal states
    budget: int,
    folder: Path,  # for logs
    progress: Callable[[], None] = lambda: None,  # called after each task
    speed: float = 1.0,  # simulated seconds in a second; unless 1, nodes follow simulated time
    knobs: Mapping[str, Any] = MappingProxyType({}),  # of the arena
    randomise: Mapping[str, Any] = MappingProxyType({}),
) -> TrialResult:
    """Run every task over ROS; raise with the log of a node that fails."""
    robot = read_meta(checkpoint).robot
    folder.mkdir(parents=True, exist_ok=True)
    course = folder.resolve() / 'tasks.json'
    course.write_text(json.dumps(list(tasks)))
    sim = {'tasks': str(course), 'budget': budget, 'real_time_factor': speed, 'clock': speed != 1}
    arena_knobs = {
        'arena': {
            'name': arena,
            'image_size': load_config(arena).arena.image_size,
            **knobs,
        },
        'robot': robot,
        'sim': sim,
        **({'randomise': dict(randomise)} if randomise else {}),  # ROS refuses an empty section
    }
    plan_knobs = {'checkpoint': str(checkpoint.resolve()), **_planning(speed)}
    with (
        private_network() as environment,
        ChildProcess('smwm_ros.nodes.arena', arena_knobs, folder, environment) as arena_child,
        ChildProcess('smwm_ros.nodes.plan', plan_knobs, folder, environment) as plan_child,
        _watcher(robot['command'], [arena_child, plan_child]) as watcher,
    ):
        watcher.wait('both nodes to be ready', watcher.ready, _START)
        limit = _ANSWER + _SLACK * budget * robot['dt']
        results = []
        for number in range(len(tasks)):
            results.append(watcher.drive(number, limit))
            progress()
        watcher.wait_for_diagnostics()
        plan_child.stop()
        arena_child.stop()
    return TrialResult(
        results,
        1 / float(np.mean(watcher.intervals)) if watcher.intervals else 0.0,
        watcher.plan_ms,
        watcher.intervals,
        watcher.health,
    )


def _planning(speed: float) -> dict[str, Any]:
    """Return the parameters of the plan node, apart from its checkpoint."""
    # Images of a simulated camera do not change when the robot pushes a wall, and an unfit model
    # can do no damage in simulation.
    node = {'engage': False, 'frozen_timeout': 0.0, 'unfit': 'accept'}
    # The wall time that a plan may take does not depend on the speed of simulated time.
    node['image_timeout'] = speed * Node().image_timeout
    # The arena judges. Where its tolerance is small, goal.near would stop the robot before it.
    return {'node': node, 'goal': {'near': 0.0}, 'use_sim_time': speed != 1}


class TrialNode:
    """Subscribes to both nodes, and starts and ends the tasks."""

    def __init__(
        self, node: RosNode, spin: Callable[[], None], command: Mapping[str, Any]
    ) -> None:
        self._spin = spin
        self._task: dict[str, Any] = {}
        self._goals = 0
        self._engaged = False
        self._last_command: float | None = None
        self.status = ''
        self.health: dict[str, str] = {}
        self.plan_ms: list[float] = []
        self.intervals: list[float] = []
        subscribe = node.create_subscription
        subscribe(String, '/arena/task', self._on_task, LATCHED)
        subscribe(String, '/plan/status', self._on_status, LATCHED)
        subscribe(String, '/plan/goal/accepted', self._on_goal, LATCHED)
        subscribe(String, '/plan/stats', self._on_stats, 100)
        subscribe(DiagnosticArray, '/diagnostics', self._on_health, 10)
        subscribe(message_class(command['type']), command['topic'], self._on_command, 100)
        self._next = node.create_client(Trigger, '/arena/next')
        self._engage = node.create_client(SetBool, '/plan/engage')

    def ready(self) -> bool:
        """Return whether both nodes run and the plan node is configured."""
        services = self._next.service_is_ready() and self._engage.service_is_ready()
        return services and bool(self._task) and self.status not in ('', 'UNCONFIGURED')

    def wait(self, what: str, until: Callable[[], bool], limit: float) -> None:
        """Spin until a condition holds, or raise after the limit [s]."""
        deadline = time.monotonic() + limit
        while not until():
            self._spin()
            if time.monotonic() > deadline:
                raise SmwmError(
                    f'waited {limit:.0f} s for {what}; status of the plan node: '
                    f'{self.status or "none"}, task of the arena node: {self._task or "none"}'
                )

    def drive(self, number: int, limit: float) -> TaskResult:
        """Run one task."""
        if number > 0:
            self._call(self._next, Trigger.Request(), 'the next task')
        self.wait(f'the start of task {number}', lambda: self._waits(number), _ANSWER)
        self.wait(
            f'the plan node to accept goal {number}', lambda: self._goals == number + 1, _ANSWER
        )
        self._last_command = None
        self._call(self._engage, SetBool.Request(data=True), 'the plan node to engage')
        self._engaged = True
        self.wait(f'the end of task {number}', lambda: self._ended(number), limit)
        self._engaged = False
        self._call(self._engage, SetBool.Request(data=False), 'the plan node to disengage')
        task = self._task
        return TaskResult(task['phase'] == 'success', int(task['steps']), task['path'])

    def wait_for_diagnostics(self) -> None:
        """Wait for diagnostics that include the last task."""
        self.health = {}
        self.wait('diagnostics of the plan node', lambda: bool(self.health), _ANSWER)

    def _call(self, client: Any, request: Any, what: str) -> None:
        """Call a service, or raise if it fails."""
        future = client.call_async(request)
        self.wait(what, future.done, _ANSWER)
        answer = future.result()
        if not answer.success:
            raise SmwmError(f'waiting for {what} failed: {answer.message}')

    def _waits(self, number: int) -> bool:
        """Return whether the robot is at the start of a task whose goal was published."""
        task = self._task
        return bool(task['task'] == number and task['phase'] == 'waiting' and task['goal_shown'])

    def _ended(self, number: int) -> bool:
        """Return whether a task has ended."""
        return self._task['task'] == number and self._task['phase'] in ('success', 'failure')

    def _on_task(self, message: String) -> None:
        self._task = json.loads(message.data)

    def _on_status(self, message: String) -> None:
        self.status = message.data

    def _on_goal(self, message: String) -> None:
        self._goals = json.loads(message.data)['number']

    def _on_stats(self, message: String) -> None:
        self.plan_ms.append(json.loads(message.data)['plan_ms'])

    def _on_health(self, message: DiagnosticArray) -> None:
        status = message.status[0]
        if status.name == 'plan: control':  # the arena node publishes diagnostics, too
            self.health = {item.key: item.value for item in status.values}

    def _on_command(self, message: Any) -> None:
        """Store the time between two commands, by their stamps if they have any."""
        if not self._engaged:
            return
        now = time.monotonic()
        if hasattr(message, 'header'):
            now = in_seconds(message.header.stamp)
        if self._last_command is not None:
            self.intervals.append(now - self._last_command)
        self._last_command = now


@contextmanager
def private_network() -> Iterator[dict[str, str]]:
    """Isolate these nodes from others on the network; yield the environment of child processes."""
    changes = {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    changes |= fast_dds_profile(os.environ)
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)  # for the node in this process
    try:
        yield dict(os.environ)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _watcher(command: Mapping[str, Any], children: Sequence[ChildProcess]) -> Iterator[TrialNode]:
    """Yield a node that watches the tasks, with a ROS context of its own."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('trial', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        for child in children:
            child.check()
        executor.spin_once(timeout_sec=_CHECK_PERIOD)

    try:
        yield TrialNode(node, spin, command)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
