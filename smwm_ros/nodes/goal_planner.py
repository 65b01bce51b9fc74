# SPDX-License-Identifier: Apache-2.0
"""Plan towards the current goal or route with the current pilot; other threads may change both."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple, Protocol

from smwm_ros.control.alternatives import Alternatives
from smwm_ros.control.command_record import PlanStart
from smwm_ros.control.route import Event, GoalTolerance, Route
from smwm_ros.control.ticks import PlanClock
from smwm_ros.interfaces import Array
from smwm_ros.planning.goal_states import StateGoal
from smwm_ros.planning.pilot import PilotPlan


class GoalMask(NamedTuple):
    """The pixels of a goal picture that count, and the latent metric that follows from them."""

    pixels: Array  # (S, S) bool
    metric: Array  # (D, D)


class GoalInput(NamedTuple):
    """A goal, a route or alternative goals, as images or as latents; or a goal as a state."""

    pixels: Array | None = None  # (N, S, S, 3) uint8 RGB
    latents: Array | None = None  # (N, D), where there are no images
    state: StateGoal | None = None  # where there is neither
    names: tuple[str, ...] = ()  # of the images, if any of them counts as the goal
    mask: GoalMask | None = None  # of a single image

    @property
    def places(self) -> Array:
        """Return what distinguishes this goal from others: images, latents or a state."""
        if self.state is not None:
            return self.state.place
        places = self.latents if self.pixels is None else self.pixels
        assert places is not None
        return places


class PilotLike(Protocol):
    """The part of planning.pilot.Pilot that the planner thread uses; tests pass a simpler one."""

    raw_steps: int  # raw steps in a plan

    def encode(self, pixels: Array) -> Array:
        """Return the latents (N, D) of images (N, S, S, 3) or observations (N, S, S, 3*H)."""
        ...

    def seconds_to(self, latent: Array, goals: Array) -> Array | None:
        """Return the learnt times from a latent (D,) to goals (N, D) [s], None without one."""
        ...

    def aim(self, latent: Array, metric: Array | None) -> None:
        """Set the latent (D,) of the goal, and the metric (D, D) if it has a mask."""
        ...

    def plan(
        self, pixels: Array, elapsed: int, sent: Array | None, before: Array | None
    ) -> PilotPlan:
        """
        Return raw actions from the time of an observation; the first are those in `sent`.

        `before` (n, A) acted before it, or is None where the model reads no past.
        """
        ...

    def reset(self) -> None:
        """Forget the previous plan."""
        ...

    def cancel(self) -> None:
        """End the running plan, or the next one before reset(), with CancelledError."""
        ...


class GoalPlanner:
    """
    Hold the pilot, the goal and the progress towards it.

    Any thread may call the setters and cancel(); only the planner thread calls the other methods.
    """

    def __init__(self, pilot: PilotLike, dt: float) -> None:
        self._pilot = pilot
        self._route: Route | Alternatives | None = None
        self._clock = PlanClock(dt)
        self._lock = Lock()
        self._new_pilot: PilotLike | None = None  # replaces the pilot at the next plan
        self._goal: GoalInput | None = None  # that was set last
        self._new_goal: GoalInput | None = None  # replaces the route at the next plan
        self._tolerance: GoalTolerance | None = None
        self.keeps_goal = False

    @property
    def raw_steps(self) -> int:
        """Return the raw steps in a plan."""
        return self._pilot.raw_steps

    def set_goal(self, goal: GoalInput) -> None:
        """Plan towards this goal from the next image on."""
        with self._lock:
            self._goal = self._new_goal = goal

    def set_tolerance(self, tolerance: GoalTolerance | None, keep: bool) -> None:
        """
        Report the goal as reached at these distances; None never reports it.

        With keep, the node monitors a goal that is reached, and returns when the robot leaves it.
        """
        with self._lock:
            self._tolerance, self.keeps_goal = tolerance, keep
            if self._route is not None and tolerance is not None:
                self._route.tolerance = tolerance

    def set_pilot(self, pilot: PilotLike, encodes_anew: bool = False) -> None:
        """
        Plan with another pilot from the next image on, towards the same goal.

        If it encodes images in another way, the route begins again, with new latents.
        """
        with self._lock:
            before, self._new_pilot = self._new_pilot or self._pilot, pilot
            if encodes_anew:
                self._new_goal = self._goal
        before.cancel()

    def cancel(self) -> None:
        """End the running plan with CancelledError."""
        with self._lock:
            pilot = self._pilot
        pilot.cancel()

    def encode(self, observation: Array) -> Array:
        """Return the latent (D,) of an observation (S, S, 3*H)."""
        latent: Array = self._pilot.encode(observation[None])[0]
        return latent

    def prepare(self, fresh: bool, observation: Array | None = None) -> Route | Alternatives:
        """
        Apply a new pilot or goal; with fresh, forget the last plan. Return the route.

        What a goal state leaves open stays as it is in the observation (S, S, 3*H).
        """
        with self._lock:
            pilot, self._new_pilot = self._new_pilot, None
            goal = self._new_goal
        if pilot is not None:
            self._pilot = pilot
        if goal is not None:
            self._route = self._route_of(goal, observation)
        assert self._route is not None
        if goal is not None or pilot is not None:
            self._pilot.aim(self._route.target, self._route.metric)
            with self._lock:
                if self._new_goal is goal:  # only now, so that a failed goal is tried again
                    self._new_goal = None
        if pilot is not None or fresh:
            self._pilot.reset()
            self._clock.reset()
            self._route.restart()
        return self._route

    def _route_of(self, goal: GoalInput, observation: Array | None) -> Route | Alternatives:
        """Return the route to a goal; of alternative goals, the nearest is the target."""
        latents = self._latents_of(goal, observation)
        if not goal.names:
            metric = None if goal.mask is None else goal.mask.metric
            return Route(latents, self._tolerance, metric)
        route = Alternatives(latents, self._tolerance)
        if observation is not None:
            z = self.encode(observation)
            route.begin(z, self._pilot.seconds_to(z, latents))
        return route

    def _latents_of(self, goal: GoalInput, observation: Array | None) -> Array:
        """Return the latents (N, D) of a goal."""
        if goal.state is not None:
            z = None if observation is None else self.encode(observation)
            return goal.state.latent(z)[None]
        return goal.places if goal.pixels is None else self._pilot.encode(goal.pixels)

    def plan(self, observation: Array, plan_start: PlanStart) -> PilotPlan:
        """Return a plan from an observation (S, S, 3*H), with the first actions of plan_start."""
        elapsed = self._clock.elapsed(plan_start.start)
        return self._pilot.plan(observation, elapsed, plan_start.sent, plan_start.before)

    def update_progress(self, route: Route | Alternatives, plan: PilotPlan) -> Event:
        """Update the route with the image of a plan; the next plan leads to its new target."""
        z, before = plan.latent, route.at
        if z is None:
            return Event.NOTHING
        if isinstance(route, Alternatives):
            event = route.update(z, self._pilot.seconds_to(z, route.latents))
        else:
            event = route.update(z, plan.seconds_to_go)
        if route.at != before:
            self._pilot.aim(route.target, route.metric)
        return event
