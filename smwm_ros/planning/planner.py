# SPDX-License-Identifier: Apache-2.0
"""
Planners: a search that starts from the previous plan, and the choice between planners.

All actions here are normalised. Every sample and every plan lies inside the limits of the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import time

from smwm_ros import config
from smwm_ros.interfaces import Plan, Planner, Plans, WorldModel
from smwm_ros.model.past import steps_before
from smwm_ros.model.recorded import can_record, Recorded
from smwm_ros.planning.actor_rollout import ActorRollout
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs, Heads, StateReader
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.latent_space import LatentPlanner, noise_model, require_free
from smwm_ros.planning.policy import AmortisedPlanner, Policy, Propose
from smwm_ros.planning.roadmap import Mover, RoadmapPlanner
from smwm_ros.planning.search import Before, CancelledError, Search, SearchResult
import torch
from torch import Tensor

NO_GUIDES = Guides()


class SearchPlanner:
    """Runs a search for each plan, warm started with the previous plan."""

    def __init__(self, search: Search) -> None:
        self._search, self.settings = search, search.settings
        self._bounds, self._costs = search.bounds, search.costs
        self._recorded: Recorded[SearchResult] | None = None
        # A CUDA graph can record neither a clock nor a gradient.
        recordable = not (self.settings.budget_ms or self.settings.refine)
        if recordable and can_record(search.bounds.low.device):
            self._recorded = Recorded(search, search.noise.generator)
        self.reset()

    def cancel(self) -> None:
        """Make the running search, or else the next one, raise CancelledError; thread-safe."""
        self._search.cancelled = True

    def reset(self) -> None:
        """Drop the last plan and reseed the noise, so that an episode can be repeated."""
        self._last: Tensor | None = None  # (B, 1+E, T, K*A): the last plans, and elites
        self._before: Tensor | None = None  # (B, A): the last executed raw action
        self._search.noise.seed(self.settings.seed)
        self._search.cancelled = False

    def shift(self, raw_steps: int) -> None:
        """Shift the last plans by the raw actions that were executed since."""
        if self._last is None or raw_steps == 0:
            return
        raw = self._bounds.raw(self._last)  # (B, 1+E, T*K, A)
        length = raw.shape[2]
        self._before = raw[:, 0, min(raw_steps, length) - 1]
        if raw_steps >= length:
            self._last = None
            return
        end = raw[:, :, -1:].expand(-1, -1, raw_steps, -1)
        raw = torch.cat([raw[:, :, raw_steps:], end], dim=2)
        self._last = raw.reshape(self._last.shape)

    def keep(self, problems: Sequence[int]) -> None:
        """Keep only these problems of the last plans, in this order."""
        if self._last is not None:
            self._last = self._last[list(problems)]
        if self._before is not None:
            self._before = self._before[list(problems)]

    def plan(self, z: Tensor, goal: Tensor) -> Plan:
        """Return actions (T, K*A) that lead from z (D,) to goal (D,)."""
        if not bool(goal.isfinite().all()):
            raise ValueError('goal: expected finite numbers')
        plans = self.plan_many(z.unsqueeze(0), goal.unsqueeze(0))
        return Plan(plans.actions[0], float(plans.cost[0]), float(plans.spread[0]))

    def plan_many(
        self, z: Tensor, goal: Tensor, past: Tensor | None = None, metric: Tensor | None = None
    ) -> Plans:
        """
        Plan for B problems at once, each as if it were alone: z (B, W), goal (B, D).

        z may have its past (model/past.py), so W is D or more.

        Every plan begins with `past` (B, n, A): normalised raw actions that were sent before.
        The distance from a goal is |(z - goal) @ metric| with `metric` (B, D, D).
        """
        width = self._costs.latent_size
        if len(z) != len(goal) or (z.ndim, goal.ndim) != (2, 2):
            raise ValueError(
                f'expected as many latents as goals, found z of {tuple(z.shape)} and goals of '
                f'{tuple(goal.shape)}'
            )
        if goal.shape[1] != width:
            raise ValueError(
                f'expected latents of width {width}, those of goals, too, found {goal.shape[1]}'
            )
        steps_before(z.shape[1], width, self._bounds.width)
        length = self.settings.horizon * self._bounds.block  # raw actions in a plan
        if past is not None and not (len(past) == len(z) and 0 < past.shape[1] < length):
            raise ValueError(
                f'past: expected fewer than {length} raw actions for each of {len(z)} problems, '
                f'found {tuple(past.shape)}'
            )
        if self._last is not None and len(self._last) != len(z):
            self._last = self._before = None
        refines = self.settings.refine > 0
        with torch.no_grad(), torch.inference_mode(not refines):
            if refines:  # autograd refuses tensors that were made in inference mode
                z, goal = z.clone(), goal.clone()
            # Several problems keep a GPU busy without a graph, and their number varies.
            search = self._recorded if self._recorded and len(z) == 1 else self._search
            last = self._last if self.settings.warm_start else None
            found = search(z, goal, *Before(last, self._before, past, metric))
        if self._search.cancelled:  # meanwhile: a graph that was launched cannot be stopped
            raise CancelledError
        self._last = found.kept
        return found.plans


def make_planner(
    model: WorldModel,
    settings: config.Planner,
    low: Tensor,  # (K*A,) normalised
    high: Tensor,  # (K*A,)
    block: int = 1,  # K, how many raw actions make one model step
    step: Tensor | None = None,  # (A,) largest change from one raw action to the next
    rest: Tensor | None = None,  # (A,) the raw action whose effort is 0
    keep_out: Tensor | None = None,  # (M, D) latents of places to avoid
    heads: Heads | None = None,
    clock: Callable[[], float] = time.perf_counter,
    guides: Guides = NO_GUIDES,
    read_focus: StateReader | None = None,  # reads the fields of planner.focus
) -> Planner:
    """Return the planner that the settings select."""
    space = None
    bounds = Bounds(low, high, block, step)
    if settings.space != 'actions':
        require_free(settings)
        model = space = noise_model(model, settings.space)
        bounds, rest = Bounds(-space.limit, space.limit), None
    roadmap, policy, time_to_go, retrieval, actor, support = guides.to(low.device)
    costs = Costs(model, settings, bounds, rest, keep_out, heads, read_focus, time_to_go, support)
    if settings.kind == 'roadmap':
        if roadmap is None:
            raise ValueError('planner.kind=roadmap: expected a roadmap in guides')
        settings = replace(settings, kind=settings.subplanner)
    else:
        roadmap = None
    proposals: list[Propose] = []
    if policy:
        proposals.append(_unbounded(partial(policy.propose, model, horizon=settings.horizon)))
    if retrieval:
        still = low.new_zeros(len(low) // block) if rest is None else rest
        recall = partial(retrieval.propose, horizon=settings.horizon, rest=still)
        proposals.append(_unbounded(recall))
    act = ActorRollout(actor, model, bounds, settings.horizon) if actor else None
    _require_guides(settings.kind, act, policy)
    propose = joined(proposals)
    planner: Planner
    if settings.kind == config.DIRECT and act:
        planner = AmortisedPlanner(act, bounds, costs)
    elif settings.kind == 'amortised' and propose:
        planner = AmortisedPlanner(propose, bounds, costs)
    else:
        around = act if settings.kind == config.GUARDED else None
        planner = SearchPlanner(Search(settings, bounds, costs, clock, propose, around))
    if roadmap:
        planner = RoadmapPlanner(planner, roadmap, Mover(model, bounds.low, bounds.high))
    return LatentPlanner(planner, space, low, high, block) if space else planner


def _require_guides(kind: str, act: ActorRollout | None, policy: Policy | None) -> None:
    """Raise where a kind of planner lacks what it follows."""
    if kind in config.ACTING and act is None:
        raise ValueError(f'planner.kind={kind}: expected an actor in guides')
    if kind == 'amortised' and policy is None:
        raise ValueError('planner.kind=amortised: expected a policy in guides')


def joined(proposals: Sequence[Propose]) -> Propose | None:
    """Return a function with the plans of all of these, None without any."""
    if len(proposals) < 2:
        return proposals[0] if proposals else None
    return lambda *known: torch.cat([propose(*known) for propose in proposals], dim=1)


def _unbounded(propose: Callable[[Tensor, Tensor], Tensor]) -> Propose:
    """Return a function whose plans depend on latents and goals alone."""
    return lambda z, goal, before, past: propose(z, goal)
