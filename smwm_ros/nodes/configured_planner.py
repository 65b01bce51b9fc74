# SPDX-License-Identifier: Apache-2.0
"""What exists between configure and clean-up of the plan node: checkpoint, pilot, publisher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from smwm_ros import config
from smwm_ros.control.guard import limits_of
from smwm_ros.control.reasons import Reason
from smwm_ros.control.search_time import SearchTime, small
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.control.timed_plan import oldest_image
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.calibration import Calibrated, Calibrator
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.nodes.active import ActiveSession
from smwm_ros.nodes.goal_planner import GoalInput
from smwm_ros.nodes.messages import command_publisher
from smwm_ros.nodes.parameters import declare_knobs, LiveKnobs
from smwm_ros.nodes.robot_setup import set_up, Setup
from smwm_ros.nodes.shadow import TOPIC as SHADOW
from smwm_ros.text import line

MakePilot: TypeAlias = Callable[[Checkpoint, config.Planner], Any]
_SLOWEST = 10  # simulated time may pass this many times slower than wall time
_LONGEST = 1.0  # longest plan that is accepted even if image_timeout is shorter [s]


class ConfiguredPlanner:
    """Loads a checkpoint that fits the robot, and plans with it in active sessions."""

    def __init__(self, node: LifecycleNode, live: LiveKnobs, make_pilot: MakePilot) -> None:
        self._node, self._live, self._make_pilot = node, live, make_pilot
        knobs: config.Node = live.current('node')
        folder = node.get_parameter('checkpoint').value
        self._setup = setup = set_up(node, folder, live.changes, knobs.unfit == 'accept')
        picture = node.get_parameter('goal_image').value
        self._goal_image = setup.picture(Path(picture)) if picture else None
        self._goal_mask = setup.mask(Path(picture)) if picture else None
        limits_of(knobs, setup.codec.spec)  # raise now, not when the robot moves
        setup.check_delay(knobs, setup.planner)
        self._search_time = self._measure(small(setup.planner))
        self._search_time.check(setup.planner, _longest_plan(node, knobs, setup))
        self._warn_if_slow(knobs)
        self._pilot = make_pilot(setup.checkpoint, setup.planner)
        self._pilot.warm_up()
        self._calibrator = _calibrator(setup) if knobs.calibrate else None
        self._lock = Lock()  # of setup and pilot, which the planner thread may replace
        for section, values in (('robot', setup.robot), ('planner', setup.planner)):
            declare_knobs(node, section, values)
            live.add(section, values)
        # In shadow mode the node must not appear as a publisher on the command topic.
        kind, topic = setup.command_type, setup.robot.command.topic
        topic = SHADOW if knobs.shadow else topic
        self._commands = None if knobs.dry_run else command_publisher(node, kind, topic)
        self.session: ActiveSession | None = None
        node.get_logger().info(line(setup.describe(node)))

    @property
    def dt(self) -> float:
        """Return the control period [s]."""
        return self._setup.robot.dt

    def activate(self, report: Callable[[Reason], None], latch: StopLatch) -> None:
        """Start a session, with the goal image if there is one."""
        knobs, goal_knobs = self._live.current('node'), self._live.current('goal')
        self.session = ActiveSession(
            self._node,
            self._setup,
            knobs,
            goal_knobs,
            self._pilot,
            self._commands,
            report,
            latch,
            self._calibrator,
            self._adopt,
        )
        if self._goal_image is not None:
            picture = self._node.get_parameter('goal_image').value
            pixels = self._goal_image[None]
            goals = self.session.goals
            mask = goals.setter.masked_goal(pixels, self._goal_mask)
            goals.current.set(GoalInput(pixels, mask=mask), picture)

    def deactivate(self) -> bool:
        """End the session, if there is one; return whether its planner thread still runs."""
        session = self.session
        if session is None:
            return False
        session.close()
        session.destroy()
        if session.hung:  # its thread still uses the pilot
            self._replace_pilot()
        self.session = None
        return session.hung

    def destroy(self) -> None:
        """Destroy the command publisher."""
        if self._commands is not None:
            self._node.destroy_lifecycle_publisher(self._commands)

    def check(self, section: str, values: Any) -> None:
        """Raise SmwmError if changed parameters do not fit each other or the checkpoint."""
        current, setup = self._live.current, self._setup
        if section == 'robot':
            setup.with_limits(values)
        if section in ('node', 'planner'):
            knobs = values if section == 'node' else current('node')
            planner = values if section == 'planner' else current('planner')
            limits_of(knobs, setup.codec.spec)
            setup.check_delay(knobs, planner)
            self._search_time.check(planner, _longest_plan(self._node, knobs, setup))

    def update(self, section: str, values: Any) -> None:
        """Apply changed parameters between two ticks or two plans."""
        session = self.session
        if section == 'node' and session is not None:
            session.configure(values)
        if section == 'goal' and session is not None:
            session.goals.configure(values)
        with self._lock:
            if section == 'robot':
                self._setup = self._setup.with_limits(values)
                if session is not None:
                    session.set_limits(self._setup)
            if section in ('robot', 'planner'):
                self._replace_pilot()
                if session is not None:
                    session.planner_thread.planner.set_pilot(self._pilot)

    def _adopt(self, session: ActiveSession, found: Calibrated) -> None:
        """Plan with new statistics from now on; the planner's thread calls it between plans."""
        with self._lock:
            self._setup = self._setup.with_model(found.checkpoint)
            self._replace_pilot()
            self._pilot.warm_up()
            session.set_model(self._setup.checkpoint, self._pilot)
        self._node.get_logger().info(line(f'calibrated: {found.describe()}'))

    def _replace_pilot(self) -> None:
        """Make a pilot with the current parameters."""
        self._pilot = self._make_pilot(self._setup.checkpoint, self._live.current('planner'))

    def _warn_if_slow(self, knobs: config.Node) -> None:
        """Warn of plans that are older than permitted before the next one is ready."""
        if self._node.get_parameter('use_sim_time').value:
            return  # which may wait for the planner
        oldest = oldest_image(knobs, self.dt)
        if warning := self._search_time.warning(self._setup.planner, oldest, self.dt):
            self._node.get_logger().warning(line(warning))

    def _measure(self, planner: config.Planner) -> SearchTime:
        """Measure the time of a search."""
        return SearchTime(self._make_pilot(self._setup.checkpoint, planner).warm_up(), planner)


def _calibrator(setup: Setup) -> Calibrator:
    """Return what fits the encoder of a checkpoint to the camera, or raise."""
    try:
        return Calibrator(setup.checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f'node.calibrate: {error}') from None


def _longest_plan(node: Node, knobs: config.Node, setup: Setup) -> float:
    """Return how long a plan may take before its image is too old [s]."""
    longest = max(_LONGEST, oldest_image(knobs, setup.codec.spec.dt))
    # Simulated time may pass as slowly as the planner requires.
    return longest * (_SLOWEST if node.get_parameter('use_sim_time').value else 1)
