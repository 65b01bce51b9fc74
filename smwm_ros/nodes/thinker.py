# SPDX-License-Identifier: Apache-2.0
"""The planner thread: the newest image in, a plan by time out."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread
from typing import NamedTuple, Protocol

from smwm_ros.core.beat import PlanClock
from smwm_ros.core.control import Controller, TimedPlan
from smwm_ros.core.interfaces import Array
from smwm_ros.core.latency import Outlook
from smwm_ros.core.meter import Meter
from smwm_ros.core.pilot import PilotPlan
from smwm_ros.nodes.clocks import RosClock, WallClock

# Plans are needed once per tick; a camera faster than this would only heat the CPU [ticks].
_LEAST_GAP = 0.8
_LATELY = 20  # plans; the next one is expected to take as long as their median


class View(NamedTuple):
    """One camera image as the planner sees it."""

    pixels: Array  # (S, S, 3) uint8 RGB
    seen: float  # when it was taken, as far as known [s]
    era: int  # the controller's era then


class Thought(NamedTuple):
    """One plan as others are told of it."""

    plan: PilotPlan
    ahead: int  # its first rows that were sent already
    plan_ms: float  # time the planner took
    age_ms: float  # age of its image when the plan was done


class Pilotlike(Protocol):
    """What the thread needs of core.pilot.Pilot; tests hand in a simpler one."""

    def set_goal(self, pixels: Array) -> None:
        """Aim at an image (S, S, 3)."""
        ...

    def plan(self, pixels: Array, elapsed: int, sent: Array | None) -> PilotPlan:
        """Return raw actions from an image on, of which the first ones were sent already."""
        ...

    def reset(self) -> None:
        """Forget the previous plan."""
        ...


class Thinker:
    """Owns the pilot: nobody else touches it while the thread runs."""

    def __init__(
        self,
        pilot: Pilotlike,
        controller: Controller,
        clock: WallClock | RosClock,
        dt: float,
        outlook: Callable[[float, float], Outlook],  # of an image, and when its plan is ready
        done: Callable[[Thought], None],
        fail: Callable[[str], None],
    ) -> None:
        self._pilot = pilot
        self._controller = controller
        self._clock = clock
        self._dt = dt
        self._outlook = outlook
        self._done = done
        self._fail = fail
        self._news = Condition()
        self._view: View | None = None
        self._goal: Array | None = None
        self._new_goal = False
        self._new_pilot: Pilotlike | None = None
        self._closing = False
        self._ticks = PlanClock(dt)
        self._last: View | None = None  # of the previous plan
        self._thread = Thread(target=self._run, name='thinker', daemon=True)
        self.plan_ms = Meter()
        self._lately_ms = Meter(_LATELY)
        self.errors = 0

    def start(self) -> None:
        """Begin to plan."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def see(self, view: View) -> None:
        """Offer an image; an older one that nobody has looked at is gone."""
        with self._news:
            self._view = view
            self._news.notify()

    def aim(self, goal: Array) -> None:
        """Plan towards this goal image from the next image on."""
        with self._news:
            self._goal, self._new_goal = goal, True

    def replace(self, pilot: Pilotlike) -> None:
        """Plan with another pilot from the next image on, towards the same goal."""
        with self._news:
            self._new_pilot = pilot

    def close(self, timeout: float) -> bool:
        """End the thread; False if the planner hangs and the thread had to be left behind."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Plan until closed."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closing or self._view is not None)
                if self._closing:
                    return
                view, self._view = self._view, None
            assert view is not None
            if self._is_worth(view):
                self._think(view)

    def _is_worth(self, view: View) -> bool:
        """Say whether a plan from this image would be used."""
        if not self._controller.wants_plans or view.era != self._controller.era:
            return False
        last = self._last
        if last is None or last.era != view.era or view.seen < last.seen:
            return True
        return view.seen - last.seen >= _LEAST_GAP * self._dt

    def _think(self, view: View) -> None:
        """Make one plan, and hand it over."""
        began = self._clock.now()
        try:
            self._prepare(view)
            lately = self._lately_ms.percentile(50) if self._lately_ms.count else 0.0
            outlook = self._outlook(view.seen, began + 1e-3 * lately)
            elapsed = self._ticks.elapsed(outlook.start)
            plan = self._pilot.plan(view.pixels, elapsed, outlook.sent)
        except Exception as error:  # whatever the planner does, the robot stops and we go on
            if self._closing:
                return
            self.errors += 1
            self._last = None  # begin afresh
            self._controller.planner_failed(view.era)
            self._fail(f'planner failed: {type(error).__name__}: {error}')
            return
        if self._closing:  # maybe long ago, and nobody listens any more
            return
        self._last = view
        ready = self._clock.now()
        ahead = 0 if outlook.sent is None else len(outlook.sent)
        thought = Thought(plan, ahead, 1e3 * (ready - began), 1e3 * (ready - view.seen))
        self.plan_ms.add(thought.plan_ms)
        self._lately_ms.add(thought.plan_ms)
        timed = TimedPlan(plan.actions, view.seen, ready, view.era, plan.cost, outlook.start)
        if self._controller.take(timed):
            self._done(thought)

    def _prepare(self, view: View) -> None:
        """Take over a new pilot or goal, and forget the last plan where it means nothing now."""
        with self._news:
            pilot, self._new_pilot = self._new_pilot, None
            goal = self._goal if self._new_goal or pilot is not None else None
            self._new_goal = False
        if pilot is not None:
            self._pilot = pilot
        if goal is not None:
            self._pilot.set_goal(goal)
        if pilot is not None or self._last is None or self._last.era != view.era:
            self._pilot.reset()
            self._ticks.reset()
