# SPDX-License-Identifier: Apache-2.0
"""
Plan from pixels: camera images and a goal image in, commands out, at the checkpoint's rate.

This file holds parameters, transitions and services. control/controller.py decides whether the
robot may move, planning/pilot.py plans, and active.py joins them with the topics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
import sys
import time
from traceback import format_exc
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.control.guard import limits_of
from smwm_ros.control.reasons import Reason
from smwm_ros.control.search_time import SearchTime, small
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.control.timed_plan import oldest_image
from smwm_ros.errors import SmwmError
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import keep_memory
from smwm_ros.nodes.active import ActiveSession
from smwm_ros.nodes.health import Health
from smwm_ros.nodes.messages import command_publisher, LATCHED
from smwm_ros.nodes.parameters import declare_knobs, LiveKnobs, read_knobs
from smwm_ros.nodes.planner_thread import GoalInput
from smwm_ros.nodes.ready import Configured
from smwm_ros.nodes.reason_log import ReasonLog
from smwm_ros.nodes.robot_setup import set_up, Setup
from smwm_ros.nodes.shadow import TOPIC as SHADOW
from smwm_ros.nodes.spin import run_node
from smwm_ros.nodes.stop_server import stop_file, StopServer
from smwm_ros.planning.pilot import Pilot
from smwm_ros.text import block, line
from std_msgs.msg import String
import torch

_LOOK = 0.25  # how often to see who else commands the robot [s]
_SLOWEST = 10  # times slower than the wall that simulated time passes, at most
_LONGEST = 1.0  # a plan that takes longer is refused, where older images stop the robot, too [s]
_FILES = {
    'checkpoint': 'folder of the trained model; empty for the one that comes with the package',
    'goal_image': 'picture of the goal, PNG or JPEG; empty to wait for the goal topic',
}


class PlanNode(LifecycleNode):  # type: ignore[misc] # rclpy's types are incomplete
    """The robot's pilot as a managed node."""

    _stop_server: StopServer | None = None

    def __init__(self, make_pilot: Callable[[Checkpoint, config.Planner], Any] = Pilot) -> None:
        super().__init__('plan')
        self._make_pilot = make_pilot
        self._knobs = read_knobs(self, 'node', config.Node)
        declare_knobs(self, 'node', self._knobs)
        goal = read_knobs(self, 'goal', config.Goal)
        declare_knobs(self, 'goal', goal)
        for name, meaning in _FILES.items():
            self.declare_parameter(name, '', ParameterDescriptor(description=meaning))
        # rclpy asks the newest callback first, and knobs change only where all others agree.
        self._live = LiveKnobs(self, self._check_knobs, self._on_knobs)
        self.add_on_set_parameters_callback(self._on_set_files)
        self._live.watch('node', self._knobs)
        self._live.watch('goal', goal)
        self._ready: Configured | None = None
        self._active: ActiveSession | None = None
        self._finished = self._hung = self.failed = False
        self._status = self.create_publisher(String, '~/status', LATCHED)
        self._latch = StopLatch(stop_file(self) if self._knobs.keep_stop else None)
        self._stop_server = StopServer(self, self._latch, self._controller)
        self._health = Health(self)
        # Both work even while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._on_second, clock=steady)
        self.create_timer(_LOOK, self._on_look, clock=steady)
        self._reason = Reason.UNCONFIGURED
        self._log = ReasonLog(self.get_logger().info, self.get_logger().warning)
        self._status.publish(String(data=self._reason.value))

    def start(self) -> None:
        """Configure and activate by itself, where the user has not asked to do it."""
        if not self._knobs.autostart:
            return
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
        else:  # nobody is there to try again, and a parent should know
            self.failed = True

    def finish(self) -> None:
        """Stop the robot for good."""
        self._finished = True
        if self._active is not None:
            self._active.close()

    @property
    def hung(self) -> bool:
        """Say whether a planner never ended, so that its thread is still there."""
        return self._hung or (self._active is not None and self._active.hung)

    def destroy_node(self) -> None:
        """End the services first, where the node came so far."""
        if self._stop_server is not None:
            self._stop_server.close()
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the checkpoint, check that it fits, and warm the planner up."""
        try:
            self._configure()
        except SmwmError as error:
            self.get_logger().error(line(str(error)))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would say nothing of it
            self.get_logger().fatal(block(format_exc()))
            return TransitionCallbackReturn.ERROR
        self._report(Reason.INACTIVE)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen, plan and command."""
        if self._finished:
            return TransitionCallbackReturn.FAILURE
        assert self._ready is not None
        answer = super().on_activate(state)
        self._health.begin()
        ready = self._ready
        self._active = ActiveSession(
            self,
            ready.setup,
            self._knobs,
            ready.pilot,
            ready.commands,
            self._live.current('goal'),
            self._report,
            self._latch,
        )
        if ready.goal is not None:
            picture = self.get_parameter('goal_image').value
            self._active.goals.aim(GoalInput(ready.goal[None]), picture)
        commands = 'no commands' if self._knobs.dry_run else 'commands'
        commands += ' in the shadow' if self._knobs.shadow else ''
        text = f'active: plans, and publishes {commands}, once it has a goal'
        self.get_logger().info(line(text))
        if self._latch.reason is not None:
            self.get_logger().warning('the robot was stopped before; call ~/engage to go on')
        return answer

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot, then fall silent."""
        self._rest(Reason.INACTIVE)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the checkpoint."""
        self._rest(Reason.UNCONFIGURED)
        if self._ready is not None:
            if self._ready.commands is not None:
                self.destroy_lifecycle_publisher(self._ready.commands)
            self._ready = None
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot for good."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot after a transition that failed, and begin anew."""
        return self.on_cleanup(state)

    def _configure(self) -> None:
        """Make everything that needs the checkpoint."""
        torch.set_num_threads(self._knobs.threads)
        accept = self._knobs.unfit == 'accept'
        setup = set_up(self, self.get_parameter('checkpoint').value, self._live.changed, accept)
        picture = self.get_parameter('goal_image').value
        goal = setup.picture(Path(picture)) if picture else None
        limits_of(self._knobs, setup.codec.spec)  # refused now, not when the robot moves
        setup.check_delay(self._knobs, setup.planner)
        effort = self._measure(setup)
        effort.check(setup.planner, self._longest_plan(self._knobs, setup))
        pilot = self._make_pilot(setup.checkpoint, setup.planner)
        pilot.warm_up()
        for section, values in (('robot', setup.robot), ('planner', setup.planner)):
            declare_knobs(self, section, values)
            self._live.watch(section, values)
        # Who is there only to be watched does not look like somebody who commands.
        kind, topic = setup.command_type, setup.robot.command.topic
        topic = SHADOW if self._knobs.shadow else topic
        commands = None if self._knobs.dry_run else command_publisher(self, kind, topic)
        self._ready = Configured(setup, pilot, commands, goal, effort)
        self.get_logger().info(line(setup.in_words(self)))

    def _measure(self, setup: Setup) -> SearchTime:
        """See how long a small search takes, whatever the settings are."""
        planner = small(setup.planner)
        return SearchTime(self._make_pilot(setup.checkpoint, planner).warm_up(), planner)

    def _longest_plan(self, knobs: config.Node, setup: Setup) -> float:
        """Return how long a plan may take: later than this, its image is too old [s]."""
        longest = max(_LONGEST, oldest_image(knobs, setup.codec.spec.dt))
        # Simulated time may pass as slowly as the planner needs it.
        return longest * (_SLOWEST if self.get_parameter('use_sim_time').value else 1)

    def _controller(self) -> Controller | None:
        """Return what decides whether the robot may move, while there is such a thing."""
        active = self._active
        return None if active is None else active.controller

    def _rest(self, reason: Reason) -> None:
        """End the activity, if there is one."""
        if self._active is not None:
            self._active.close()
            self._active.deafen()
            self._hung |= self._active.hung
            if self._active.hung and self._ready is not None:
                planner = self._live.current('planner')
                self._ready.pilot = self._make_pilot(self._ready.setup.checkpoint, planner)
            self._active = None
        self._report(reason)

    def _report(self, reason: Reason) -> None:
        """Publish the reason when it changes."""
        if reason is not self._reason:
            self._reason = reason
            self._status.publish(String(data=reason.value))
            self._log.note(reason, time.monotonic())

    def _check_knobs(self, section: str, values: Any) -> None:
        """Raise against live knobs that no single one of them forbids."""
        if self._ready is None:
            return
        setup, current = self._ready.setup, self._live.current
        if section == 'robot':
            setup.limited(values)
        if section in ('node', 'planner'):
            knobs = values if section == 'node' else current('node')
            planner = values if section == 'planner' else current('planner')
            limits_of(knobs, setup.codec.spec)
            setup.check_delay(knobs, planner)
            self._ready.effort.check(planner, self._longest_plan(knobs, setup))

    def _on_knobs(self, section: str, values: Any) -> None:
        """Take changed live knobs between two ticks or two plans."""
        if section == 'node':
            self._knobs = values
            if self._active is not None:
                self._active.configure(values)
        elif section == 'goal':
            if self._active is not None:
                self._active.goals.configure(values)
        elif self._ready is not None:
            if section == 'robot':
                self._ready.setup = self._ready.setup.limited(values)
                if self._active is not None:
                    self._active.limit(self._ready.setup)
            planner = self._live.current('planner')
            self._ready.pilot = self._make_pilot(self._ready.setup.checkpoint, planner)
            if self._active is not None:
                self._active.planner_thread.replace(self._ready.pilot)

    def _on_set_files(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Let the files be set while nothing has been made of them."""
        names = [item.name for item in parameters if item.name in _FILES]
        if names and self._ready is not None:
            reason = f'{", ".join(names)}: read-only while configured; clean up first'
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _on_second(self) -> None:
        """Publish diagnostics."""
        ready = self._ready
        dt = 0.0 if ready is None else ready.setup.robot.dt
        self._health.publish(self._reason, self._active, self._knobs, dt, self._latch.reason)

    def _on_look(self) -> None:
        """See who else commands the robot."""
        if self._active is not None:
            self._active.look_round()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    # A large message is copied under Python's lock, which takes twice as long in new memory.
    keep_memory(one_heap=True)
    return run_node(PlanNode, args)


if __name__ == '__main__':
    sys.exit(main())
