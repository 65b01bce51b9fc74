# SPDX-License-Identifier: Apache-2.0
"""What lives while the plan node is active: cameras, goals, planner, command thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.nodes.cameras import Cameras
from smwm_ros.nodes.clocks import clock_of
from smwm_ros.nodes.command_output import CommandOutput
from smwm_ros.nodes.command_thread import CommandThread
from smwm_ros.nodes.goals import Goals
from smwm_ros.nodes.latency import LatencyCompensation
from smwm_ros.nodes.peers import deaf_ears, deaf_robot, Wanted
from smwm_ros.nodes.plan_display import PlanDisplay, PlanSnapshot
from smwm_ros.nodes.planner_thread import PilotLike, PlannerThread, PlanReport
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.shadow import Shadow
from smwm_ros.nodes.stats import Stats
from smwm_ros.text import line

_HANG = 1.0  # a planner that takes longer to end is left behind [s]
_SLOWING = 3.0  # a robot whose commands may not jump is given so long to slow down [s]


class ActiveSession:
    """Begins with the activate transition and ends with a stop command."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        knobs: config.Node,
        pilot: PilotLike,
        commands: Publisher | None,  # None in a dry run
        goal_knobs: config.Goal,
        report: Callable[[Reason], None],
        latch: StopLatch,
    ) -> None:
        self._node = node
        self._setup = setup
        self._clock = clock_of(node)
        dt = setup.robot.dt
        self.controller = Controller(setup.codec.spec, setup.robot.command.stop, knobs, latch)
        self._latency = LatencyCompensation(node, setup, knobs, self._clock, self.controller)
        note = self._latency.note
        self._shadow = (
            Shadow(node, setup, self._clock, note, self._complain) if knobs.shadow else None
        )
        self._output = CommandOutput(node, setup, commands, self._shadow, note)
        say = self._output.say
        self.driver = CommandThread(self.controller, self._clock, dt, say, report, self._complain)
        plan_start = partial(self._latency.plan_start, self.driver)
        self.planner_thread = PlannerThread(
            pilot, self.controller, self._clock, dt, plan_start, self._on_plan, self._complain
        )
        self._ending = Lock()
        self._ended = False
        self.hung = False  # the planner did not end, and still holds its pilot
        self._shares: Mapping[str, float] = {}  # of each term in the cost of the last plan
        self._to_go: float | None = None  # of the last plan along a roadmap [model steps]
        self._stats = Stats(node)
        listening = (self._clock, self._latency, self.controller, self.planner_thread)
        self.cameras = Cameras(node, setup, knobs, *listening, self._complain)
        self.goals = Goals(
            node,
            setup,
            goal_knobs,
            self._clock,
            self.planner_thread,
            self.controller,
            self._complain,
            self.cameras.view,
        )
        self.display = PlanDisplay(node, setup, self._complain)
        self._subscribers = (self.cameras.subscriber, self.goals.subscriber)
        for thread in (*self._subscribers, self.planner_thread, self.driver):
            thread.start()

    def configure(self, knobs: config.Node) -> None:
        """Take changed live knobs."""
        self._latency.knobs = self.cameras.knobs = knobs
        self.controller.configure(knobs)

    def limit(self, setup: Setup) -> None:
        """Take a setup with other limits of the command's fields."""
        self._setup = self._output.setup = setup
        self.controller.limit(setup.codec.spec)

    def look_round(self) -> None:
        """See whether another node publishes commands on our topic."""
        self.controller.contest(self._output.is_contested())

    def misunderstandings(self) -> list[str]:
        """Say which other nodes cannot be heard, or cannot hear."""
        robot = self._setup.robot
        remedy = 'set robot.camera.type, or robot.camera.topic'
        heard = [Wanted(topic, robot.camera.type, remedy) for topic in robot.camera.topics]
        said = list(deaf_ears(self._node, [*heard, *self.goals.wanted]))
        if self._output.commands:
            command = robot.command
            remedy = 'set robot.command.type and robot.command.fields'
            said += deaf_robot(self._node, Wanted(command.topic, command.type, remedy))
        return said

    def close(self) -> None:
        """Stop the robot, then everything else; safe to call twice and from any thread."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            self.controller.end()
            self.driver.rest(_SLOWING)
            self.driver.close()
            action = self.controller.final_stop()
            if action is not None:
                self._output.say_last(action)
            self.hung = not self.planner_thread.close(_HANG)
            if self.hung:
                self._complain('the planner hangs; its thread is left behind')
            for subscriber in self._subscribers:
                subscriber.close()
            self.display.close()

    def check(self) -> None:
        """Raise if a thread has died; only a mistake of ours can do that."""
        for thread in (self.driver, self.planner_thread, *self._subscribers):
            if not (thread.alive or self._ended):
                raise RuntimeError(f'the thread of {type(thread).__name__} has died')

    def deafen(self) -> None:
        """Give the subscriptions and publishers back; only from the executor's thread."""
        for subscriber in self._subscribers:
            subscriber.destroy()
        self._stats.destroy()
        self.goals.close()
        if self._shadow is not None:
            self._shadow.close()
        self.display.deafen()

    def values(self) -> dict[str, float | int | bool]:
        """Return what diagnostics tell, in numbers."""
        driver, planner_thread = self.driver, self.planner_thread
        return {
            'rate_hz': 1e3 / driver.interval_ms.mean(),
            'commands': driver.commands,
            'deadline_misses': driver.missed,
            'jitter_ms_p50': driver.late_ms.percentile(50),
            'jitter_ms_p99': driver.late_ms.percentile(99),
            'plans': planner_thread.plan_ms.count,
            'plan_ms_p50': planner_thread.plan_ms.percentile(50),
            'plan_ms_p99': planner_thread.plan_ms.percentile(99),
            'planner_errors': planner_thread.errors,
            'image_age_ms_p50': driver.age_ms.percentile(50),
            'image_age_ms_p99': driver.age_ms.percentile(99),
            **self._latency.values(),
            **self.cameras.values(),
            **self.goals.values(),
            'guard_hits': self.controller.guard.interventions,
            **self._output.values(),
            **{f'cost_{name}': share for name, share in self._shares.items()},
            **({} if self._to_go is None else {'to_go': self._to_go}),
        }

    def _on_plan(self, plan_report: PlanReport) -> None:
        """Let the command thread know, and tell how planning went."""
        self.driver.nudge()
        plan = plan_report.plan
        self._shares, self._to_go = plan.shares, plan.to_go
        goals = self.goals
        self._stats.publish(plan_report, goals.on_plan(plan_report))
        if self.display.is_watched:
            near = 0.0 if goals.reach is None else goals.reach.near
            picture = goals.picture(plan_report.at)
            sketch = PlanSnapshot(
                plan_report.pixels, picture, goals.count, near, plan, plan_report.frame_id
            )
            self.display.offer(sketch)

    def _complain(self, text: str) -> None:
        """Warn, at most once a second."""
        self._node.get_logger().warning(line(text), throttle_duration_sec=1.0)
