# SPDX-License-Identifier: Apache-2.0
"""The planner thread: the newest image in, a plan by time out."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread
from typing import NamedTuple, Protocol

from smwm_ros.control.command_record import PlanStart
from smwm_ros.control.controller import Controller
from smwm_ros.control.percentiles import Percentiles
from smwm_ros.control.reasons import Reason
from smwm_ros.control.route import Event, GoalTolerance, Route, RouteRecorder
from smwm_ros.control.ticks import PlanClock
from smwm_ros.control.timed_plan import TimedPlan
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.planning.pilot import PilotPlan
from smwm_ros.planning.search import CancelledError
from smwm_ros.text import count_of

# Plans are needed once per tick; a camera faster than this would only heat the CPU [ticks].
_LEAST_GAP = 0.8
_LATELY = 20  # plans; the next one is expected to take as long as their median


class CameraView(NamedTuple):
    """One camera image as the planner sees it."""

    pixels: Array  # (S, S, 3) uint8 RGB
    seen: float  # when it was taken, as far as known [s]
    era: int  # the controller's era then
    frame_id: str = ''  # of the camera


class GoalInput(NamedTuple):
    """Where to go: by images or by latents, several for a route."""

    pixels: Array | None = None  # (N, S, S, 3) uint8 RGB
    latents: Array | None = None  # (N, D), where there are no images


class PlanReport(NamedTuple):
    """One plan as others are told of it."""

    plan: PilotPlan
    event: Event
    at: int  # the subgoal that was aimed at,
    of: int  # of so many
    pixels: Array  # (S, S, 3) what the plan was made from
    plan_ms: float  # time the planner took
    age_ms: float  # age of its image when the plan was done
    frame_id: str  # of the camera


class PilotLike(Protocol):
    """What the thread needs of planning.pilot.Pilot; tests hand in a simpler one."""

    raw_steps: int  # raw steps in a plan

    def encode(self, pixels: Array) -> Array:
        """Return the latents (N, D) of images (N, S, S, 3)."""
        ...

    def aim(self, latent: Array) -> None:
        """Plan towards a latent (D,) from now on."""
        ...

    def plan(self, pixels: Array, elapsed: int, sent: Array | None) -> PilotPlan:
        """Return raw actions from an image on, of which the first ones were sent already."""
        ...

    def reset(self) -> None:
        """Forget the previous plan."""
        ...

    def cancel(self) -> None:
        """End the plan that is being made, or the next one before reset(), with CancelledError."""
        ...


class PlannerThread:
    """Owns the pilot: nobody else touches it while the thread runs."""

    def __init__(
        self,
        pilot: PilotLike,
        controller: Controller,
        clock: WallClock | RosClock,
        dt: float,
        plan_start: Callable[[float, float], PlanStart],  # of an image, and when its plan is ready
        done: Callable[[PlanReport], None],
        fail: Callable[[str], None],
    ) -> None:
        self._pilot = pilot
        self._controller = controller
        self._clock = clock
        self._dt = dt
        self._plan_start = plan_start
        self._done = done
        self._fail = fail
        self._news = Condition()
        self._view: CameraView | None = None
        self._aim: GoalInput | None = None  # that is not aimed at yet
        self._goal_route: Route | None = None
        self._reach: GoalTolerance | None = None
        self._stays = False
        self._recorder: RouteRecorder | None = None
        self._new_pilot: PilotLike | None = None
        self._closing = False
        self._ticks = PlanClock(dt)
        self._last: CameraView | None = None  # of the previous plan
        self._thread = Thread(target=self._run, name='planner', daemon=True)
        self.plan_ms = Percentiles()
        self._lately_ms = Percentiles(_LATELY)
        self.errors = 0

    def start(self) -> None:
        """Begin to plan."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def see(self, view: CameraView) -> None:
        """Offer an image; an older one that nobody has looked at is gone."""
        with self._news:
            self._view = view
            self._news.notify()

    def aim(self, aim: GoalInput) -> None:
        """Plan towards this goal from the next image on."""
        with self._news:
            self._aim = aim

    def judge(self, reach: GoalTolerance | None, stays: bool) -> None:
        """Call a goal reached by these distances; who stays goes on to look at it."""
        with self._news:
            self._reach, self._stays = reach, stays
            if self._goal_route is not None and reach is not None:
                self._goal_route.reach = reach

    def teach(self, recorder: RouteRecorder | None) -> RouteRecorder | None:
        """Show all images to somebody, or to nobody any more; return who saw them before."""
        with self._news:
            before, self._recorder = self._recorder, recorder
        return before

    def replace(self, pilot: PilotLike) -> None:
        """Plan with another pilot from the next image on, towards the same goal."""
        with self._news:
            before, self._new_pilot = self._new_pilot or self._pilot, pilot
        before.cancel()

    def close(self, timeout: float) -> bool:
        """End the thread; False if the planner hangs and the thread had to be left behind."""
        with self._news:
            self._closing = True
            self._news.notify()
            pilot = self._pilot
        pilot.cancel()
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
            latent = self._think(view) if self._is_worth(view) else None
            if self._recorder is not None:
                self._show(view, latent)

    def _is_worth(self, view: CameraView) -> bool:
        """Say whether a plan from this image would be used."""
        if not self._controller.wants_plans or view.era != self._controller.era:
            return False
        last = self._last
        if last is None or last.era != view.era or view.seen < last.seen:
            return True
        return view.seen - last.seen >= _LEAST_GAP * self._dt

    def _think(self, view: CameraView) -> Array | None:
        """Make one plan, and hand it over; return the latent of the image."""
        began = self._clock.now()
        try:
            goal_route = self._prepare(view)
            lately = self._lately_ms.percentile(50) if self._lately_ms.count else 0.0
            plan_start = self._plan_start(view.seen, began + 1e-3 * lately)
            ahead = 0 if plan_start.sent is None else len(plan_start.sent)
            if ahead >= self._pilot.raw_steps:
                self._refuse(view, began, ahead)
                return None
            elapsed = self._ticks.elapsed(plan_start.start)
            if self._closing:  # after reset() a cancellation would be forgotten
                return None
            plan = self._pilot.plan(view.pixels, elapsed, plan_start.sent)
        except CancelledError:
            self._last = None  # begin afresh
            return None
        except Exception as error:  # whatever the planner does, the robot stops and we go on
            if self._closing:
                return None
            self.errors += 1
            self._last = None  # begin afresh
            self._controller.planner_failed(view.era)
            self._fail(f'planner failed: {type(error).__name__}: {error}')
            return None
        if self._closing:  # maybe long ago, and nobody listens any more
            return None
        self._last = view
        ready = self._clock.now()
        at, event = goal_route.at, self._judge(goal_route, plan, view.era)
        age = 1e3 * (ready - view.seen)
        took = 1e3 * (ready - began)
        of = len(goal_route.latents)
        plan_report = PlanReport(plan, event, at, of, view.pixels, took, age, view.frame_id)
        self.plan_ms.add(plan_report.plan_ms)
        self._lately_ms.add(plan_report.plan_ms)
        timed = TimedPlan(plan.actions, view.seen, ready, view.era, plan.cost, plan_start.start)
        if self._controller.take(timed):
            self._done(plan_report)
        return plan.latent

    def _refuse(self, view: CameraView, now: float, ahead: int) -> None:
        """Stop the robot: what is known to be on its way already is longer than a plan."""
        self._last = None  # begin afresh
        self._lately_ms = Percentiles(_LATELY)  # a planner that was slow may be so no more
        self._controller.planner_failed(view.era, Reason.STALE_PLAN)
        self._fail(
            f'no plan: the image is {now - view.seen:.2f} s old, and of a plan of '
            f'{count_of(self._pilot.raw_steps, "control period")} '
            f'{ahead} would be over when it is '
            'ready; see node.camera_delay, node.actuation_delay and planner.horizon'
        )

    def _judge(self, goal_route: Route, plan: PilotPlan, era: int) -> Event:
        """Look how far the robot has come; a subgoal that is passed gives way to the next."""
        event = Event.NOTHING if plan.latent is None else goal_route.see(plan.latent)
        if event is Event.PASSED:
            self._pilot.aim(goal_route.target)
        elif event is not Event.NOTHING:
            self._controller.arrive(era, event is Event.REACHED, self._stays)
        return event

    def _show(self, view: CameraView, latent: Array | None) -> None:
        """Let the teacher see an image."""
        recorder = self._recorder
        try:
            if latent is None:
                latent = self._pilot.encode(view.pixels[None])[0]
            if recorder is not None:
                recorder.see(latent, view.pixels)
        except Exception as error:  # as with plans
            self._fail(f'image not learnt: {type(error).__name__}: {error}')

    def _prepare(self, view: CameraView) -> Route:
        """Take over a new pilot or goal, and forget the last plan where it means nothing now."""
        with self._news:
            pilot, self._new_pilot = self._new_pilot, None
            aim = self._aim
        if pilot is not None:
            self._pilot = pilot
        fresh = self._last is None or self._last.era != view.era
        if aim is not None:
            latents = aim.latents if aim.pixels is None else self._pilot.encode(aim.pixels)
            assert latents is not None
            self._goal_route = Route(latents, self._reach)
        assert self._goal_route is not None
        if aim is not None or pilot is not None:
            self._pilot.aim(self._goal_route.target)
            with self._news:
                if self._aim is aim:  # only now: a goal that cannot be aimed at is tried again
                    self._aim = None
        if pilot is not None or fresh:
            self._pilot.reset()
            self._ticks.reset()
            self._goal_route.restart()
        return self._goal_route
