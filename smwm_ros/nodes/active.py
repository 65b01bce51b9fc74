# SPDX-License-Identifier: Apache-2.0
"""The active plan node: cameras, goals, planner thread, command thread, and what they publish."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.evaluation.calibration import Calibrated, Calibrator
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.nodes.cameras import Cameras
from smwm_ros.nodes.clocks import clock_of
from smwm_ros.nodes.command_output import CommandOutput
from smwm_ros.nodes.command_thread import CommandThread
from smwm_ros.nodes.drive_monitor import DriveMonitor
from smwm_ros.nodes.goal_planner import GoalPlanner, PilotLike
from smwm_ros.nodes.goals import Goals
from smwm_ros.nodes.latency import LatencyCompensation
from smwm_ros.nodes.plan_publisher import PlanPublisher
from smwm_ros.nodes.planner_thread import PlannerThread, PlanReport
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.shadow import Shadow
from smwm_ros.nodes.subscriber import Subscriber
from smwm_ros.nodes.topic_monitor import TopicMonitor, TopicType
from smwm_ros.text import line

_PLANNER_TIMEOUT = 1.0  # the planner thread is left running after this time [s]
_SLOWING_TIMEOUT = 3.0  # longest wait until a robot with limited rate has slowed down [s]


class ActiveSession:
    """Starts with the activate transition, and ends with a stop command."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        knobs: config.Node,
        goal_knobs: config.Goal,
        pilot: PilotLike,
        publisher: Publisher | None,  # of commands; None in a dry run
        report: Callable[[Reason], None],
        latch: StopLatch,
        calibrator: Calibrator | None,
        adopt: Callable[[ActiveSession, Calibrated], None],  # called with better statistics
    ) -> None:
        clock, dt = clock_of(node), setup.robot.dt
        self._warn = warn = partial(_warn, node)
        self.controller = Controller(setup.codec.spec, setup.robot.command.stop, knobs, latch)
        self._latency = LatencyCompensation(node, setup, knobs, clock, self.controller)
        record = self._latency.record
        shadow = Shadow(node, setup, clock, record, warn) if knobs.shadow else None
        self.output = CommandOutput(node, setup, publisher, shadow, record)
        self.command_thread = CommandThread(
            self.controller, clock, dt, self.output.publish, report, warn
        )
        plan_start = partial(self._latency.plan_start, self.command_thread.tick_for)
        planner = GoalPlanner(pilot, dt)
        self._calibrator, self._adopt = calibrator, adopt
        self._drives = publisher is not None and shadow is None
        watch = None if calibrator is None else self._watch
        self.planner_thread = PlannerThread(
            planner, self.controller, clock, dt, plan_start, self._on_plan, warn, watch
        )
        consumers = (self._latency, self.controller, self.planner_thread)
        self.cameras = Cameras(node, setup, knobs, clock, *consumers, warn)
        image = self.cameras.image
        self.goals = Goals(
            node, setup, goal_knobs, clock, self.planner_thread, self.controller, image, warn
        )
        self.monitor = DriveMonitor(
            setup.checkpoint, knobs, self._latency.acting, node.get_logger().info
        )
        self._plans = PlanPublisher(node, setup, self.goals.current, warn)
        commands = None if publisher is None else _commands(setup)
        self.topics = TopicMonitor(node, self._subscribed, commands, not knobs.shadow)
        self._engagement = 0  # that the monitor watches
        self._lock = Lock()  # of close()
        self._closed = False
        self.hung = False  # the planner thread did not end, and still uses its pilot
        for thread in self._threads:
            thread.start()

    def configure(self, knobs: config.Node) -> None:
        """Set changed node parameters."""
        self._latency.knobs = self.monitor.knobs = knobs
        self.cameras.configure(knobs)
        self.controller.configure(knobs)

    def set_limits(self, setup: Setup) -> None:
        """Use a setup with other limits of the command fields."""
        self.output.setup = setup
        self.controller.set_limits(setup.codec.spec)

    def set_model(self, checkpoint: Checkpoint, pilot: PilotLike) -> None:
        """Encode images with the model of another checkpoint; only from the planner's thread."""
        self.planner_thread.planner.set_pilot(pilot, encodes_anew=True)
        self.monitor.clear()
        self._plans.set_model(checkpoint)

    def check_contested(self) -> None:
        """Stop the robot while another node publishes on the command topic."""
        self.controller.set_contested(self.topics.is_contested())

    def close(self) -> None:
        """Stop the robot, then end all threads; may be called twice and from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.controller.end()
            self.command_thread.wait_until_slowed(_SLOWING_TIMEOUT)
            self.command_thread.close()
            stop = self.controller.final_stop()
            if stop is not None:
                self.output.publish_last(stop)
            self.output.close()
            self.hung = not self.planner_thread.close(_PLANNER_TIMEOUT)
            if self.hung:
                self._warn(
                    f'the planner did not end within {_PLANNER_TIMEOUT:g} s; its thread is left '
                    'running'
                )
            self.cameras.subscriber.close()
            self.goals.subscriber.close()
            self._plans.close()

    def check_threads(self) -> None:
        """Raise if a thread has died, which only a bug can cause."""
        for thread in self._threads:
            if not (thread.alive or self._closed):
                raise RuntimeError(f'the thread of {type(thread).__name__} has died')

    def destroy(self) -> None:
        """Destroy subscriptions, publishers and services; only from the executor's thread."""
        self.cameras.subscriber.destroy()
        for part in (self.goals, self.output, self._plans):
            part.destroy()

    def values(self) -> dict[str, float | int | bool]:
        """Return the values for /diagnostics."""
        return {
            **self.command_thread.values(),
            **self.planner_thread.statistics.values(),
            **self._latency.values(),
            **self.cameras.values(),
            **self.goals.current.values(),
            'guard_hits': self.controller.guard.interventions,
            **self.output.values(),
            **self._plans.values(),
            **self.monitor.values(),
            **({} if self._calibrator is None else self._calibrator.values()),
        }

    def problems(self) -> list[str]:
        """Return warnings for /diagnostics."""
        missing = [] if self._calibrator is None else self._calibrator.problems()
        mine = (self.topics, self.cameras, self.monitor)
        return [*(text for part in mine for text in part.problems()), *missing]

    @property
    def _threads(self) -> tuple[CommandThread | PlannerThread | Subscriber, ...]:
        """Return the threads without which the node cannot work."""
        subscribers = (self.cameras.subscriber, self.goals.subscriber)
        return (*subscribers, self.planner_thread, self.command_thread)

    def _subscribed(self) -> list[TopicType]:
        """Return the topics of cameras and goals."""
        return [*self.cameras.types, *self.goals.topics.types]

    def _watch(self, observation: Array) -> None:
        """Calibrate with an observation, while no command of the node moves the robot."""
        # Even if the robot is engaged meanwhile: this thread makes the plans.
        if self._calibrator is None or (self._drives and self.controller.needs_plans):
            return
        found = self._calibrator.add(observation)
        if found is not None:
            self._adopt(self, found)

    def _on_plan(self, report: PlanReport) -> None:
        """Wake the command thread, watch the drive, and publish the plan."""
        self.command_thread.on_plan()
        if self.controller.engagements != self._engagement:  # the robot may have been carried away
            self._engagement = self.controller.engagements
            self.monitor.clear()
        caution = self.monitor.update(report.time, report.plan.latent)
        self.controller.set_caution(report.era, caution)
        self._plans.publish(report, self.monitor.values())


def _commands(setup: Setup) -> TopicType:
    """Return the command topic, and what to do where another node uses another type."""
    command = setup.robot.command
    remedy = 'set robot.command.type and robot.command.fields'
    return TopicType(command.topic, command.type, remedy)


def _warn(node: LifecycleNode, text: str) -> None:
    """Log a warning, at most one a second."""
    node.get_logger().warning(line(text), throttle_duration_sec=1.0)
