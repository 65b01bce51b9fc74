# SPDX-License-Identifier: Apache-2.0
"""
When a robot may move: what a plan is worth at a given time, and what each tick of control does.

No clock is read, nothing is published and no thread is started here: whoever calls says what time
it is [s, any monotonic clock], so every decision can be tested with plain numbers.
"""

from __future__ import annotations

import math
from threading import Lock

import numpy as np
from smwm_ros.config import Node
from smwm_ros.control.guard import Guard, limits_of
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.control.timed_plan import oldest_image, TickCommand, TimedPlan
from smwm_ros.interfaces import ActionSpec, Array


class Controller:
    """
    Decides each tick from what images, goals, plans and people have said so far.

    It holds the plan by time, the watchdog over camera and planner, and the stop: the stop command
    is repeated for node.stop_duration, and then others may speak. All methods may be called from
    any thread.
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
        self._goal = self._arrived = self._stays = False
        self._waits = not node.engage  # for the first engagement
        self._ended = False
        self._fault: Reason | None = None
        self._seen: float | None = None
        self._same_since: float | None = None  # since when images are alike, while driving
        self._frozen = self._contested = False
        self._plan: TimedPlan | None = None
        self._played: TimedPlan | None = None  # what the last tick played
        self._first = 0  # row of the plan that was, or would have been, played first
        self._last: Array | None = None  # last motion command
        self._moving = False
        self._stop_began: float | None = None

    @property
    def era(self) -> int:
        """Return the number that plans must carry to be taken."""
        return self._era

    @property
    def wants_plans(self) -> bool:
        """Say whether planning serves any purpose now."""
        return self._goal and self._halted is None and (self._stays or not self._arrived)

    @property
    def arrived(self) -> bool:
        """Say whether the goal is reached."""
        return self._arrived

    @property
    def plays_on(self) -> bool:
        """Say whether the next tick would play the same plan as the last."""
        return self._plan is not None and self._plan is self._played

    def configure(self, node: Node) -> None:
        """Take changed live knobs."""
        with self._lock:
            self._node = node
            self.guard.set(self._spec, limits_of(node, self._spec))

    def limit(self, spec: ActionSpec) -> None:
        """Take changed limits of the command's fields."""
        with self._lock:
            self._spec = spec
            self.guard.set(spec, limits_of(self._node, spec))

    def contest(self, contested: bool) -> None:
        """Note whether another node publishes commands to this robot."""
        with self._lock:
            self._contested = contested

    def new_goal(self) -> None:
        """Forget the plan; plans under way for the old goal will not be taken."""
        with self._lock:
            self._goal = True
            self._forget()

    def arrive(self, era: int, arrived: bool, stays: bool = False) -> None:
        """Note that the goal is reached, or left; who stays there goes on to look."""
        with self._lock:
            if era == self._era:
                self._arrived, self._stays = arrived, stays

    def engage(self) -> bool:
        """Allow motion, from an image that is still to come; False after the end."""
        with self._lock:
            if self._ended:
                return False
            if self._halted is not None or self._arrived:
                self._waits = False
                self._latch.release()
                self._forget()
            return True

    def stop(self, reason: Reason = Reason.STOPPED) -> None:
        """Forbid motion until engage(), in activations to come as well."""
        with self._lock:
            self._latch.set(reason)
            self._forget()

    def end(self) -> None:
        """Forbid motion for good."""
        with self._lock:
            self._ended = True
            self._forget()

    def restart(self) -> None:
        """Forget images and plans: time has jumped."""
        with self._lock:
            arrived = self._arrived
            self._forget()
            self._arrived = arrived
            # A stop under way begins anew, for its beginning means nothing any more.
            self._moving = self._moving or self._stop_began is not None
            self._stop_began = None

    def saw_image(self, time: float, same: bool = False, era: int | None = None) -> None:
        """
        Note when the newest usable image was received, and whether it is the last one again.

        One that was received in an earlier era says nothing of this one.
        """
        with self._lock:
            if era not in (None, self._era):
                return
            self._seen = time
            if not same:
                self._frozen = False
            if not (same and self._moving):
                self._same_since = None
            elif self._same_since is None:
                self._same_since = time

    def take(self, plan: TimedPlan) -> bool:
        """Take a plan over, unless it is out of date or no plan at all; say whether it was."""
        with self._lock:
            if plan.era != self._era:
                return False
            if not (np.isfinite(plan.actions).all() and math.isfinite(plan.cost)):
                self._plan, self._fault = None, Reason.BAD_PLAN
                return False
            self._first = plan.row(plan.ready, self._spec.dt)
            self._plan, self._fault = plan, None
            return True

    def foresee(self, time: float) -> Array | None:
        """Return what the plan has for a time to come, or None."""
        with self._lock:
            if self._plan is None or not self._moving:
                return None
            row = self._plan.row(time, self._spec.dt)
            return self._plan.actions[row] if row < len(self._plan.actions) else None

    def planner_failed(self, era: int, reason: Reason = Reason.PLANNER_ERROR) -> None:
        """Stop until a plan comes: the old one may be as wrong."""
        with self._lock:
            if era == self._era:
                self._plan, self._fault = None, reason

    def tick(self, now: float) -> TickCommand:
        """Decide what to command now."""
        with self._lock:
            reason, action = self._decide(now)
            if action is None or self._plan is None:
                return TickCommand(reason, self._stop_command(now))
            self._last, self._moving, self._stop_began = action, True, None
            self._played = self._plan
            return TickCommand(reason, action, now - self._plan.seen, now - self._plan.ready)

    def halt(self, now: float, reason: Reason) -> TickCommand:
        """Stop at once, as when the clock stands still; plans stay valid."""
        with self._lock:
            if not self._hold:
                self.guard.forget()
            return TickCommand(reason, self._stop_command(now))

    @property
    def slowed(self) -> bool:
        """Say whether a stop command would be no sudden change."""
        with self._lock:
            return self._hold or not (self.guard.limited and self.guard.moves)

    def final_stop(self) -> Array | None:
        """Return the last command of all, or None if there is nothing to stop."""
        with self._lock:
            if not self._moving and self._stop_began is None:
                return None
            self._moving, self._stop_began = False, None
            self.guard.forget()
            return self._last if self._hold else np.zeros(self._spec.size)

    def _decide(self, now: float) -> tuple[Reason, Array | None]:
        """Find the first thing that forbids motion, or the action of this tick."""
        halted = self._halted
        if halted is not None:
            return halted, None
        if self._contested and self._node.exclusive:
            return Reason.CONTESTED, None
        if not self._goal:
            return Reason.NO_GOAL, None
        if self._arrived:
            return Reason.GOAL_REACHED, None
        if self._seen is None:
            return Reason.NO_IMAGE, None
        if now - self._seen > self._node.image_timeout:
            return Reason.STALE_IMAGE, None
        if self._is_frozen(now):
            return Reason.FROZEN_IMAGE, None
        if self._fault is not None:
            return self._fault, None
        if self._plan is None:
            return Reason.PLANNING, None
        row = self._plan.row(now, self._spec.dt)
        if row - self._first > self._node.coast or row >= len(self._plan.actions):
            return Reason.PLANNER_LATE, None
        if now - self._plan.seen > oldest_image(self._node, self._spec.dt):
            return Reason.STALE_PLAN, None
        action = self.guard.check(self._plan.actions[row])
        return (Reason.BAD_PLAN, None) if action is None else (Reason.RUNNING, action)

    @property
    def _halted(self) -> Reason | None:
        """Return what only a person, or another activation, can undo."""
        if self._ended:
            return Reason.INACTIVE
        return self._latch.reason or (Reason.NOT_ENGAGED if self._waits else None)

    def _is_frozen(self, now: float) -> bool:
        """Say whether the camera shows a robot that drives the same thing for too long."""
        limit = self._node.frozen_timeout
        if limit and self._same_since is not None and now - self._same_since > limit:
            self._frozen = True  # until it shows another; the robot at rest is no proof
        return self._frozen and limit > 0

    def _stop_command(self, now: float) -> Array | None:
        """Return the stop command while it is to be repeated."""
        if self._moving:
            self._moving, self._stop_began = False, now
        if self._stop_began is None:
            return None
        if now - self._stop_began > self._node.stop_duration:
            self._stop_began = None
            self.guard.forget()
            return None
        if self._hold:
            return self._last
        action = self.guard.slow_down()
        if action.any():
            self._stop_began = now  # repeated from rest on
        return action

    def _forget(self) -> None:
        """Begin a new era: nothing that was seen or planned before counts any more."""
        self._era += 1
        self._seen = self._plan = self._fault = self._same_since = None
        self._frozen = self._arrived = False
