# SPDX-License-Identifier: Apache-2.0
"""
Plan from pixels: subscribe to camera and goal images, publish commands at the checkpoint's rate.

This file has the lifecycle of the node. configured_planner.py loads the checkpoint, active.py
connects topics and threads, control/controller.py decides whether the robot may move, and
planning/pilot.py plans.
"""

from __future__ import annotations

from collections.abc import Sequence
import sys
from traceback import format_exc

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.errors import SmwmError
from smwm_ros.model.device import keep_memory
from smwm_ros.nodes.active import ActiveSession
from smwm_ros.nodes.configured_planner import ConfiguredPlanner, MakePilot
from smwm_ros.nodes.goal_action import GoalAction, serve_goals
from smwm_ros.nodes.health import HealthPublisher
from smwm_ros.nodes.parameter_handler import ParameterHandler
from smwm_ros.nodes.spin import run_node
from smwm_ros.nodes.status import StatusPublisher
from smwm_ros.nodes.stop_server import stop_file, StopServer
from smwm_ros.planning.pilot import Pilot
from smwm_ros.text import block, line
import torch

_CONTESTED_PERIOD = 0.25  # of the check for other publishers of commands [s]


class PlanNode(LifecycleNode):  # type: ignore[misc] # rclpy's types are incomplete
    """The planner as a managed node."""

    _stop_server: StopServer | None = None
    _goal_action: GoalAction | None = None

    def __init__(self, make_pilot: MakePilot = Pilot) -> None:
        super().__init__('plan')
        self._make_pilot = make_pilot
        self._planner: ConfiguredPlanner | None = None
        self._parameter_handler = ParameterHandler(self, lambda: self._planner)
        self._finished = self._hung = self.failed = False
        self._status = StatusPublisher(self)
        self._latch = StopLatch(
            stop_file(self) if self._parameter_handler.node.keep_stop else None
        )
        self._stop_server = StopServer(self, self._latch, self._controller)
        self._goal_action = serve_goals(self, lambda: self.session, self._status, self._latch)
        self._health = HealthPublisher(self)
        # These run while simulated time does not advance, too.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_health, clock=steady)
        self.create_timer(_CONTESTED_PERIOD, self._check_contested, clock=steady)

    @property
    def session(self) -> ActiveSession | None:
        """Return the active session, None while the node is not active."""
        planner = self._planner
        return None if planner is None else planner.session

    @property
    def hung(self) -> bool:
        """Return whether a planner thread did not end and still runs."""
        session = self.session
        return self._hung or (session is not None and session.hung)

    def start(self) -> None:
        """Configure and activate the node if node.autostart is set."""
        if not self._parameter_handler.node.autostart:
            return
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
        else:  # nothing else will configure the node, so the process has to end with an error
            self.failed = True

    def finish(self) -> None:
        """Stop the robot for good."""
        self._finished = True
        session = self.session
        if session is not None:
            session.close()

    def destroy_node(self) -> None:
        """Destroy the services and the node."""
        if self._stop_server is not None:  # None if __init__ failed
            self._stop_server.close()
        if self._goal_action is not None:
            self._goal_action.destroy()
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the checkpoint, check that it fits the robot, and warm up the planner."""
        try:
            torch.set_num_threads(self._parameter_handler.node.threads)
            self._planner = ConfiguredPlanner(self, self._parameter_handler.live, self._make_pilot)
        except SmwmError as error:
            self.get_logger().error(line(str(error)))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would not log it
            self.get_logger().fatal(block(format_exc()))
            return TransitionCallbackReturn.ERROR
        self._status.set(Reason.INACTIVE)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, plan and publish commands."""
        if self._finished:
            return TransitionCallbackReturn.FAILURE
        assert self._planner is not None
        answer = super().on_activate(state)
        self._health.reset()
        self._planner.activate(self._status.set, self._latch)
        knobs = self._parameter_handler.node
        what = 'planning without commands' if knobs.dry_run else 'publishing commands'
        shadow = ' in the shadow' if knobs.shadow else ''
        self.get_logger().info(line(f'active: {what}{shadow} once a goal is set'))
        if self._latch.reason is not None:
            self.get_logger().warning('the robot was stopped before; call ~/engage to resume')
        return answer

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot, then end the session."""
        self._end_session(Reason.INACTIVE)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot if it is active, and drop the checkpoint."""
        self._end_session(Reason.UNCONFIGURED)
        if self._planner is not None:
            self._planner.destroy()
            self._planner = None
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot for good."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot after a transition that failed, and return to unconfigured."""
        return self.on_cleanup(state)

    def _controller(self) -> Controller | None:
        """Return the controller, None while the node is not active."""
        session = self.session
        return None if session is None else session.controller

    def _end_session(self, reason: Reason) -> None:
        """End the active session, if there is one, and publish the reason."""
        if self._planner is not None:
            self._hung |= self._planner.deactivate()
        self._status.set(reason)

    def _publish_health(self) -> None:
        """Look for the cameras, and publish diagnostics."""
        session = self.session
        if session is not None:
            session.cameras.find_transport()
        dt = 0.0 if self._planner is None else self._planner.dt
        stopped = self._latch.reason is not None
        self._health.publish(
            self._status.reason, session, self._parameter_handler.node, dt, stopped
        )

    def _check_contested(self) -> None:
        """Check whether another node publishes commands."""
        session = self.session
        if session is not None:
            session.check_contested()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    # A large message is copied under Python's lock, which takes twice as long in new memory.
    keep_memory(one_heap=True)
    return run_node(PlanNode, args)


if __name__ == '__main__':
    sys.exit(main())
