# SPDX-License-Identifier: Apache-2.0
"""
Decide at each tick what is commanded, and whether the robot may move at all.

This module reads no clock, publishes nothing and starts no thread. Callers pass the time
[s, any monotonic clock], so tests can state every decision with plain numbers.
"""

from __future__ import annotations

import math
from threading import Lock

import numpy as np
from smwm_ros.config import Node
from smwm_ros.control.caution import Caution
from smwm_ros.control.guard import Guard, limits_of
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.control.timed_plan import oldest_image, TickCommand, TimedPlan
from smwm_ros.interfaces import ActionSpec, Array


class Controller:
    """
    Choose the command of each tick from the latest image, goal, plan and engagement.

    The controller stores the plan by time, checks the age of images and plans, and repeats the
    stop command for node.stop_duration. After that it publishes nothing, so that another node may
    command the robot. All methods may be called from any thread.
    """

    def __init__(
        self, spec: ActionSpec, stop: str, node: Node, latch: StopLatch | None = None
    ) -> None:
        self._hold = stop == 'hold'
        self._latch = StopLatch() if latch is None else latch  # it outlives this controller
        self.guard = Guard(spec, limits_of(node, spec), starts_at_rest=not self._hold)
        self._spec = spec
        self._node = node
        self._lock = Lock()
        self._era = 0
        self.engagements = 0  # that allowed motion again
        self.stops = 0  # by an operator, until engage()
        self._has_goal = self._goal_reached = self._keeps_goal = False
        self._awaits_engage = not node.engage  # the first time
        self._ended = False
        self._fault: Reason | None = None
        self._image_time: float | None = None
        self._same_since: float | None = None  # when images stopped changing during motion
        self._frozen = self._contested = False
        self._caution, self._stuck = Caution(), False  # stuck until a new goal or engage()
        self._plan: TimedPlan | None = None
        self._last_plan: TimedPlan | None = None  # of the last motion command
        self._first_row = 0  # of the plan: due when the plan was ready
        self._last_action: Array | None = None  # of the last motion command
        self._moving = False
        self._stop_began: float | None = None

    @property
    def era(self) -> int:
        """Return the number that a plan must carry to be accepted."""
        return self._era

    @property
    def needs_plans(self) -> bool:
        """Return whether a new plan could be used now."""
        wanted = self._has_goal and self._halted is None and not self._stuck
        return wanted and (self._keeps_goal or not self._goal_reached)

    @property
    def goal_end(self) -> Reason | None:
        """Return how the goal ended: it is reached, or given up without progress; or None."""
        if self._goal_reached:
            return Reason.GOAL_REACHED
        return Reason.NO_PROGRESS if self._stuck else None

    @property
    def plan_unchanged(self) -> bool:
        """Return whether the next tick would follow the same plan as the last."""
        return self._plan is not None and self._plan is self._last_plan

    def configure(self, node: Node) -> None:
        """Set changed node parameters."""
        with self._lock:
            self._node = node
            self.guard.set(self._spec, limits_of(node, self._spec))

    def set_limits(self, spec: ActionSpec) -> None:
        """Set changed limits of the command fields."""
        with self._lock:
            self._spec = spec
            self.guard.set(spec, limits_of(self._node, spec))

    def set_contested(self, contested: bool) -> None:
        """Store whether another node publishes commands to this robot."""
        with self._lock:
            self._contested = contested

    def new_goal(self, exists: bool = True) -> None:
        """Drop the plan, and plans that are being made; if no goal exists, wait for the next."""
        with self._lock:
            self._has_goal = exists
            self._begin_era()

    def set_goal_reached(self, era: int, reached: bool, keep: bool = False) -> None:
        """Store whether the goal is reached; with keep, monitor it and return when it is left."""
        with self._lock:
            if era == self._era:
                self._goal_reached, self._keeps_goal = reached, keep

    def set_caution(self, era: int, caution: Caution) -> None:
        """Store whether to drive slower, or not at all."""
        with self._lock:
            self._caution = caution
            self._stuck |= era == self._era and caution.stop is Reason.NO_PROGRESS

    def engage(self) -> bool:
        """Allow motion, from the next image on; return False after end()."""
        with self._lock:
            if self._ended:
                return False
            if self._halted is not None or self.goal_end is not None:
                self._awaits_engage = False
                self._latch.release()
                self.engagements += 1
                self._begin_era()
            return True

    def stop(self, reason: Reason = Reason.STOPPED) -> None:
        """Forbid motion until engage(), in later activations too."""
        with self._lock:
            self._latch.set(reason)
            self.stops += reason is Reason.STOPPED
            self._begin_era()

    def end(self) -> None:
        """Forbid motion for the rest of this activation."""
        with self._lock:
            self._ended = True
            self._begin_era()

    def restart(self) -> None:
        """Drop images and plans because time has jumped back."""
        with self._lock:
            reached, stuck = self._goal_reached, self._stuck
            self._begin_era()
            self._goal_reached, self._stuck = reached, stuck
            # Repeat the stop command for its whole duration: the time it began is not valid now.
            self._moving = self._moving or self._stop_began is not None
            self._stop_began = None

    def on_image(self, time: float, same: bool = False, era: int | None = None) -> None:
        """Store the receive time of the newest usable image, unless it is of an earlier era."""
        with self._lock:
            if era not in (None, self._era):
                return
            self._image_time = time
            if not same:
                self._frozen = False
            if not (same and self._moving):
                self._same_since = None
            elif self._same_since is None:
                self._same_since = time

    def accept(self, plan: TimedPlan) -> bool:
        """Follow a plan from now on; return False if it is out of date or not valid."""
        with self._lock:
            if plan.era != self._era:
                return False
            if not (np.isfinite(plan.actions).all() and math.isfinite(plan.cost)):
                self._plan, self._fault = None, Reason.BAD_PLAN
                return False
            self._first_row = plan.row(plan.ready, self._spec.dt)
            self._plan, self._fault = plan, None
            return True

    def planned_action(self, time: float) -> Array | None:
        """Return the action (A,) that the plan has for a future time, or None."""
        with self._lock:
            if self._plan is None or not self._moving:
                return None
            row = self._plan.row(time, self._spec.dt)
            actions = self._plan.actions
            return self._slowed(actions[row]) if row < len(actions) else None

    def planner_failed(self, era: int, reason: Reason = Reason.PLANNER_ERROR) -> None:
        """Drop the plan and stop until there is a new one."""
        with self._lock:
            if era == self._era:
                self._plan, self._fault = None, reason

    def tick(self, now: float) -> TickCommand:
        """Return what to command now."""
        with self._lock:
            reason, action = self._decide(now)
            if action is None or self._plan is None:
                return TickCommand(reason, self._stop_command(now))
            self._last_action, self._moving, self._stop_began = action, True, None
            self._last_plan = self._plan
            return TickCommand(reason, action, now - self._plan.image_time, now - self._plan.ready)

    def halt(self, now: float, reason: Reason) -> TickCommand:
        """Return a stop command at once, and keep the plan: the clock does not advance."""
        with self._lock:
            if not self._hold:
                self.guard.reset()
            return TickCommand(reason, self._stop_command(now))

    @property
    def slowed(self) -> bool:
        """Return whether a stop command would not change the speed suddenly."""
        with self._lock:
            return self._hold or not (self.guard.limited and self.guard.moves)

    def final_stop(self) -> Array | None:
        """Return the last command before the end, or None if the robot is already stopped."""
        with self._lock:
            if not self._moving and self._stop_began is None:
                return None
            self._moving, self._stop_began = False, None
            self.guard.reset()
            return self._last_action if self._hold else np.zeros(self._spec.size)

    def _decide(self, now: float) -> tuple[Reason, Array | None]:
        """Return the first reason that forbids motion, or the action of this tick."""
        halted = self._halted
        if halted is not None:
            return halted, None
        if self._contested and self._node.exclusive:
            return Reason.CONTESTED, None
        if not self._has_goal:
            return Reason.NO_GOAL, None
        if self.goal_end is not None:
            return self.goal_end, None
        if self._image_time is None:
            return Reason.NO_IMAGE, None
        if now - self._image_time > self._node.image_timeout:
            return Reason.STALE_IMAGE, None
        if self._is_frozen(now):
            return Reason.FROZEN_IMAGE, None
        if self._fault is not None:
            return self._fault, None
        if self._plan is None:
            return Reason.PLANNING, None
        if self._caution.stop is Reason.NOVEL_IMAGE:
            return Reason.NOVEL_IMAGE, None
        row = self._plan.row(now, self._spec.dt)
        if row - self._first_row > self._node.coast or row >= len(self._plan.actions):
            return Reason.PLANNER_LATE, None
        if now - self._plan.image_time > oldest_image(self._node, self._spec.dt):
            return Reason.STALE_PLAN, None
        action = self.guard.check(self._slowed(self._plan.actions[row]))
        return (Reason.BAD_PLAN, None) if action is None else (Reason.RUNNING, action)

    def _slowed(self, action: Array) -> Array:
        """Return an action (A,) of a plan, slower if caution requires it."""
        rest = self._last_action if self._hold else np.zeros(self._spec.size)
        return self._caution.slowed(action, rest, self._node.slow_speed)

    @property
    def _halted(self) -> Reason | None:
        """Return the reason that only an operator or another activation can clear."""
        if self._ended:
            return Reason.INACTIVE
        return self._latch.reason or (Reason.NOT_ENGAGED if self._awaits_engage else None)

    def _is_frozen(self, now: float) -> bool:
        """Return whether the image has not changed for too long while the robot moves."""
        limit = self._node.frozen_timeout
        if limit and self._same_since is not None and now - self._same_since > limit:
            self._frozen = True  # until the image changes; for a robot at rest it need not
        return self._frozen and limit > 0

    def _stop_command(self, now: float) -> Array | None:
        """Return the stop command (A,) while it has to be repeated, then None."""
        if self._moving:
            self._moving, self._stop_began = False, now
        if self._stop_began is None:
            return None
        if now - self._stop_began > self._node.stop_duration:
            self._stop_began = None
            self.guard.reset()
            return None
        if self._hold:
            return self._last_action
        action = self.guard.slow_down()
        if action.any():
            self._stop_began = now  # stop_duration counts from rest
        return action

    def _begin_era(self) -> None:
        """Drop the images and plans of the time before."""
        self._era += 1
        self._image_time = self._plan = self._fault = self._same_since = None
        self._frozen = self._goal_reached = self._stuck = False
