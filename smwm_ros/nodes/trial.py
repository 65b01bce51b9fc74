# SPDX-License-Identifier: Apache-2.0
"""
Try a checkpoint over ROS: arena and planner as two processes, watched by this one.

The planner moves only while it is engaged. Between two tasks it is not, so no command of one task
reaches the next; it is engaged when the robot stands at its start and the planner has the goal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import time
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node as RosNode
from rclpy.signals import SignalHandlerOptions
from smwm_ros.config import Node
from smwm_ros.errors import SmwmError
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import read_meta
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.messages import LATCHED, message_class
from smwm_ros.share import shipped
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

_START = 90.0  # until both nodes are up [s]; importing torch on a loaded machine is slow
_ANSWER = 20.0  # until a service has answered, or a goal has been heard [s]
_SLACK = 5.0  # a task may take so many times its budget in real time
_LOOK = 0.1  # how often the children are seen to [s]


class TaskResult(NamedTuple):
    """How one task went."""

    success: bool
    steps: int  # raw steps driven
    path: list[list[float]]  # measured states, the start first


class TrialResult(NamedTuple):
    """How all tasks went, and how well the node kept its time."""

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
) -> TrialResult:
    """Drive every task over ROS; raise with the log of a node that fails."""
    robot = read_meta(checkpoint).robot
    folder.mkdir(parents=True, exist_ok=True)
    course = folder.resolve() / 'tasks.json'
    course.write_text(json.dumps(list(tasks)))
    sim = {'tasks': str(course), 'budget': budget, 'real_time_factor': speed, 'clock': speed != 1}
    arena_knobs = {
        'arena': {'name': arena, 'image_size': load_config(arena).arena.image_size},
        'robot': robot,
        'sim': sim,
    }
    plan_knobs = {'checkpoint': str(checkpoint.resolve()), **_planning(speed)}
    with (
        private_network() as environment,
        ChildProcess('smwm_ros.nodes.arena', arena_knobs, folder, environment) as arena_child,
        ChildProcess('smwm_ros.nodes.plan', plan_knobs, folder, environment) as plan_child,
        _watcher(robot['command'], [arena_child, plan_child]) as watcher,
    ):
        watcher.wait('both nodes are ready', watcher.ready, _START)
        limit = _ANSWER + _SLACK * budget * robot['dt']
        results = []
        for number in range(len(tasks)):
            results.append(watcher.drive(number, limit))
            progress()
        watcher.linger()
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
    # A simulated camera without noise shows the same when the robot pushes a wall; and an unfit
    # model may drive where nothing can break.
    node = {'engage': False, 'frozen_timeout': 0.0, 'unfit': 'accept'}
    # A plan may take as long on this machine as in real time.
    node['image_timeout'] = speed * Node().image_timeout
    return {'node': node, 'use_sim_time': speed != 1}


class TrialNode:
    """Hears both nodes, and tells them when to begin and to stop."""

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
        hear = node.create_subscription
        hear(String, '/arena/task', self._on_task, LATCHED)
        hear(String, '/plan/status', self._on_status, LATCHED)
        hear(String, '/plan/goal/accepted', self._on_goal, LATCHED)
        hear(String, '/plan/stats', self._on_stats, 100)
        hear(DiagnosticArray, '/diagnostics', self._on_health, 10)
        hear(message_class(command['type']), command['topic'], self._on_command, 100)
        self._next = node.create_client(Trigger, '/arena/next')
        self._engage = node.create_client(SetBool, '/plan/engage')

    def ready(self) -> bool:
        """Say whether both nodes are up and the planner is active."""
        services = self._next.service_is_ready() and self._engage.service_is_ready()
        return services and bool(self._task) and self.status not in ('', 'UNCONFIGURED')

    def wait(self, what: str, until: Callable[[], bool], limit: float) -> None:
        """Spin until something holds, and raise when it takes too long."""
        deadline = time.monotonic() + limit
        while not until():
            self._spin()
            if time.monotonic() > deadline:
                raise SmwmError(
                    f'waited {limit:.0f} s in vain until {what}; the plan node says '
                    f"'{self.status or 'nothing'}', the arena {self._task or 'nothing'}"
                )

    def drive(self, number: int, limit: float) -> TaskResult:
        """Let the planner try one task."""
        if number > 0:
            self._call(self._next, Trigger.Request(), 'the arena goes on')
        self.wait(f'task {number} waits', lambda: self._waits(number), _ANSWER)
        self.wait(f'the planner has goal {number}', lambda: self._goals == number + 1, _ANSWER)
        self._last_command = None
        self._call(self._engage, SetBool.Request(data=True), 'the planner is engaged')
        self._engaged = True
        self.wait(f'task {number} ends', lambda: self._ended(number), limit)
        self._engaged = False
        self._call(self._engage, SetBool.Request(data=False), 'the planner is disengaged')
        task = self._task
        return TaskResult(task['phase'] == 'success', int(task['steps']), task['path'])

    def linger(self) -> None:
        """Wait for diagnostics that know of the last task."""
        self.health = {}
        self.wait('the planner tells of its health', lambda: bool(self.health), _ANSWER)

    def _call(self, client: Any, request: Any, what: str) -> None:
        """Call a service, and raise unless it succeeds."""
        future = client.call_async(request)
        self.wait(what, future.done, _ANSWER)
        answer = future.result()
        if not answer.success:
            raise SmwmError(f'in vain: {what}: {answer.message}')

    def _waits(self, number: int) -> bool:
        """Say whether the robot stands at the start of a task, and its goal is shown."""
        task = self._task
        return bool(task['task'] == number and task['phase'] == 'waiting' and task['goal_shown'])

    def _ended(self, number: int) -> bool:
        """Say whether a task is over."""
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
        if status.name == 'plan: control':  # the arena tells of its health too
            self.health = {item.key: item.value for item in status.values}

    def _on_command(self, message: Any) -> None:
        """Note the time between two commands, by their own stamps where they have one."""
        if not self._engaged:
            return
        now = time.monotonic()
        if hasattr(message, 'header'):
            now = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        if self._last_command is not None:
            self.intervals.append(now - self._last_command)
        self._last_command = now


@contextmanager
def private_network() -> Iterator[dict[str, str]]:
    """Keep these nodes and all others on the network apart; yield the environment to use."""
    changes = {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    profile = shipped('config', 'fastdds.xml')
    if profile is not None and 'FASTDDS_DEFAULT_PROFILES_FILE' not in os.environ:
        changes['FASTDDS_DEFAULT_PROFILES_FILE'] = str(profile)
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)  # for the watcher, which runs in this process
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
    """Make a watcher with a ROS context of its own, and take it down again."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('trial', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        for child in children:
            child.check()
        executor.spin_once(timeout_sec=_LOOK)

    try:
        yield TrialNode(node, spin, command)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
