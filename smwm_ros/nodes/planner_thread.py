# SPDX-License-Identifier: Apache-2.0
"""The planner thread: make a timed plan from the newest camera image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import math
from threading import Thread
from typing import NamedTuple

from smwm_ros.control.alternatives import Alternatives
from smwm_ros.control.command_record import PlanStart
from smwm_ros.control.controller import Controller
from smwm_ros.control.percentiles import Percentiles
from smwm_ros.control.reasons import Reason
from smwm_ros.control.route import Event, Route, RouteRecorder
from smwm_ros.control.timed_plan import TimedPlan
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.goal_planner import GoalPlanner
from smwm_ros.nodes.latest import Latest
from smwm_ros.planning.pilot import PilotPlan
from smwm_ros.planning.search import CancelledError
from smwm_ros.text import count_of

# One plan per tick is enough: more only cost processor time [ticks].
_LEAST_GAP = 0.8
_RECENT = 20  # plans; their median time is expected of the next one


class CameraImage(NamedTuple):
    """One camera image, ready for the model."""

    pixels: Array  # (S, S, 3) uint8 RGB
    observation: Array  # (S, S, 3*H) with the images before that the model reads
    time: float  # when it was taken, as far as known [s]
    era: int  # the controller's era when it was received
    frame_id: str = ''  # of the camera


class PlanReport(NamedTuple):
    """One plan that the controller accepted, for statistics and displays."""

    plan: PilotPlan
    time: float  # of the image, as far as known [s]
    era: int  # of the controller
    event: Event
    subgoal: int  # index of the subgoal that was planned for
    subgoals: int  # their number
    pixels: Array  # (S, S, 3) of the image
    plan_ms: float  # planning time
    age_ms: float  # age of the image when the plan was ready
    frame_id: str  # of the camera


class PlannerStatistics:
    """Planning times and errors since the activation."""

    def __init__(self) -> None:
        self.plan_ms = Percentiles()
        self._recent_ms = Percentiles(_RECENT)
        self.errors = 0

    def add(self, plan_ms: float) -> None:
        """Add the time of a plan."""
        self.plan_ms.add(plan_ms)
        self._recent_ms.add(plan_ms)

    def forget_recent(self) -> None:
        """Expect nothing of the next plan."""
        self._recent_ms = Percentiles(_RECENT)

    @property
    def expected(self) -> float:
        """Return the expected time of the next plan [s], 0 before the first."""
        return 1e-3 * self._recent_ms.percentile(50) if self._recent_ms.count else 0.0

    def values(self) -> dict[str, float | int]:
        """Return the values for /diagnostics."""
        return {
            'plans': self.plan_ms.count,
            'plan_ms_p50': self.plan_ms.percentile(50),
            'plan_ms_p99': self.plan_ms.percentile(99),
            'planner_errors': self.errors,
        }


class PlannerThread:
    """Plan from the newest image whenever the controller needs a plan."""

    def __init__(
        self,
        planner: GoalPlanner,
        controller: Controller,
        clock: WallClock | RosClock,
        dt: float,
        plan_start: Callable[[float, float], PlanStart],  # from image time and ready time [s]
        on_plan: Callable[[PlanReport], None],
        warn: Callable[[str], None],
        watch: Callable[[Array], None] | None = None,  # called between plans with an observation
    ) -> None:
        self.planner = planner
        self._controller = controller
        self._clock = clock
        self._dt = dt
        self._plan_start = plan_start
        self._on_plan = on_plan
        self._warn = warn
        self._watch = watch
        self._watched = -math.inf  # time of the last image that was watched [s]
        self.statistics = PlannerStatistics()
        self._images: Latest[CameraImage] = Latest()
        self._last: CameraImage | None = None  # of the previous plan; None to begin afresh
        self._recorder: RouteRecorder | None = None
        self._thread = Thread(target=self._run, name='planner', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def set_image(self, image: CameraImage) -> None:
        """Replace the image from which the next plan is made."""
        self._images.put(image)

    def set_recorder(self, recorder: RouteRecorder | None) -> RouteRecorder | None:
        """Pass all images to a recorder, or to none; return the recorder before."""
        before, self._recorder = self._recorder, recorder
        return before

    def close(self, timeout: float) -> bool:
        """End the thread; return False if it still runs after the timeout [s]."""
        self._images.close()
        self.planner.cancel()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Plan until closed."""
        while (image := self._images.take()) is not None:
            latent = self._plan(image) if self._is_due(image) else None
            recorder = self._recorder
            if recorder is not None:
                with self._keep_running('image not recorded'):
                    self._record(recorder, image, latent)
            if self._watch is not None and self._is_later(image, self._watched):
                self._watched = image.time
                with self._keep_running('image not used to calibrate'):
                    self._watch(image.observation)

    def _is_due(self, image: CameraImage) -> bool:
        """Return whether a plan from this image would be used."""
        if not self._controller.needs_plans or image.era != self._controller.era:
            return False
        last = self._last
        return last is None or last.era != image.era or self._is_later(image, last.time)

    def _is_later(self, image: CameraImage, time: float) -> bool:
        """Return whether an image came a control period after a time, or time has jumped back."""
        return image.time < time or image.time - time >= _LEAST_GAP * self._dt

    def _plan(self, image: CameraImage) -> Array | None:
        """Make one plan and pass it on; return the latent (D,) of the image."""
        began = self._clock.now()
        last, self._last = self._last, None  # begin afresh after an error
        try:
            fresh = last is None or last.era != image.era
            route = self.planner.prepare(fresh, image.observation)
            plan_start = self._plan_start(image.time, began + self.statistics.expected)
            sent = 0 if plan_start.sent is None else len(plan_start.sent)
            if sent >= self.planner.raw_steps:
                self._report_too_late(image, began, sent)
                return None
            if self._images.closed:  # prepare() may have reset a cancellation
                return None
            plan = self.planner.plan(image.observation, plan_start)
        except CancelledError:
            return None
        except Exception as error:  # whatever the planner raises, stop the robot and keep running
            if not self._images.closed:
                self.statistics.errors += 1
                self._controller.planner_failed(image.era)
                self._warn(f'planner failed: {type(error).__name__}: {error}')
            return None
        if self._images.closed:
            return None
        self._last = image
        self._pass_on(plan, image, route, began, plan_start.start)
        return plan.latent

    def _pass_on(
        self,
        plan: PilotPlan,
        image: CameraImage,
        route: Route | Alternatives,
        began: float,
        start: float,
    ) -> None:
        """Update the progress, and give the plan to the controller and to displays."""
        ready = self._clock.now()
        subgoal, subgoals = route.at, len(route.latents)
        event = self.planner.update_progress(route, plan)
        if event in (Event.REACHED, Event.LEFT):
            reached = event is Event.REACHED
            self._controller.set_goal_reached(image.era, reached, self.planner.keeps_goal)
        plan_ms, age_ms = 1e3 * (ready - began), 1e3 * (ready - image.time)
        self.statistics.add(plan_ms)
        timed = TimedPlan(plan.actions, image.time, ready, image.era, plan.cost, start)
        if self._controller.accept(timed):
            self._on_plan(
                PlanReport(
                    plan,
                    image.time,
                    image.era,
                    event,
                    subgoal,
                    subgoals,
                    image.pixels,
                    plan_ms,
                    age_ms,
                    image.frame_id,
                )
            )

    def _report_too_late(self, image: CameraImage, now: float, sent: int) -> None:
        """Stop the robot because a plan would end before it is ready."""
        self.statistics.forget_recent()  # the planner may be faster again
        self._controller.planner_failed(image.era, Reason.STALE_PLAN)
        self._warn(
            f'no plan: the image is {now - image.time:.2f} s old; {sent} of '
            f'{count_of(self.planner.raw_steps, "control period")} of a plan would have passed '
            'when it is ready; check node.camera_delay, node.actuation_delay and planner.horizon'
        )

    def _record(self, recorder: RouteRecorder, image: CameraImage, latent: Array | None) -> None:
        """Add an image to the route that is being recorded."""
        if latent is None:
            latent = self.planner.encode(image.observation)
        recorder.add(latent, image.pixels)

    @contextmanager
    def _keep_running(self, failure: str) -> Iterator[None]:
        """Warn of an exception rather than end the thread, as after a failed plan."""
        try:
            yield
        except Exception as error:
            self._warn(f'{failure}: {type(error).__name__}: {error}')
