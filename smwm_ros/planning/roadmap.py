# SPDX-License-Identifier: Apache-2.0
"""
A roadmap: a graph of recorded latents, and its shortest paths to a goal.

Latent distance ignores walls, so a planner with a short horizon gets stuck in front of them. Nodes
are latents of the dataset, far from each other. An edge joins two nodes where a recording moved
from one to the other, or where the forward model predicts that the action of the inverse model
makes the move. The shortest path gives a subgoal within the horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.interfaces import Planner, Plans, WorldModel
from smwm_ros.model import sidecar
from smwm_ros.planning.drives import RecordedDrives
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

NAME = 'roadmap'
MOST = 1000  # nodes
NEIGHBOURS = 12  # nearest nodes that are tried for an edge
CLOSE = 0.5  # distance between nodes, and tolerance of the end of a move [median model steps]
AHEAD = 2.0  # largest distance of a subgoal along the path [median model steps]


class Roadmap(NamedTuple):
    """Nodes, and the edges between them."""

    nodes: Tensor  # (N, D)
    edges: Tensor  # (2, E) int64: from, to
    step: float  # median latent distance of a model step
    radius: float  # largest distance of a recorded latent from its nearest node

    @property
    def lengths(self) -> Tensor:
        """Return the latent distance of each edge (E,)."""
        start, end = self.nodes[self.edges]
        lengths: Tensor = torch.linalg.vector_norm(end - start, dim=1)
        return lengths


class Paths(NamedTuple):
    """The shortest paths from N nodes to each of B goals; the goal itself is number N."""

    goal: Tensor  # (B, D)
    to_go: Tensor  # (B, N+1) latent distance along the path, inf where there is none
    after: Tensor  # (B, N+1) the next node; the goal where there is no path


class Mover:
    """Predicts with the model which moves one model step can make."""

    def __init__(self, model: WorldModel, low: Tensor, high: Tensor) -> None:
        self._model, self._low, self._high = model, low, high  # (K*A,) normalised

    def misses(self, start: Tensor, end: Tensor) -> Tensor:
        """Return how far moves from start (n, D) end from `end` (n, D): latent distances (n,)."""
        action = self._model.infer(start, end)
        action = torch.minimum(torch.maximum(action, self._low), self._high)
        missed = self._model.predict(start, action) - end
        distance: Tensor = torch.linalg.vector_norm(missed, dim=-1)
        return distance


def farthest_points(latents: Tensor, apart: float, most: int) -> tuple[Tensor, Tensor, float]:
    """
    Choose latents of (R, D) until all others are nearer than `apart` to a chosen one.

    Each is the farthest from those chosen before. Return their rows (N,), at most `most`; for each
    latent the number (R,) of the nearest chosen one; and the largest distance to it.
    """
    distance = latents.new_full((len(latents),), torch.inf)
    nearest = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
    middle = latents.mean(dim=0)
    chosen = [int(torch.linalg.vector_norm(latents - middle, dim=1).argmin())]
    while True:
        new = torch.linalg.vector_norm(latents - latents[chosen[-1]], dim=1)
        nearest[new < distance] = len(chosen) - 1
        distance = torch.minimum(distance, new)
        far = int(distance.argmax())
        if distance[far] < apart or len(chosen) == most:
            return torch.tensor(chosen), nearest, float(distance[far])
        chosen.append(far)


@torch.inference_mode()
def build(drives: RecordedDrives, mover: Mover, most: int = MOST) -> Roadmap:
    """Make a roadmap of recorded drives, with at most `most` nodes."""
    step = drives.step
    if not step > 0:
        raise DatasetError(
            f'the median latent distance of a model step is {step:g}, expected more than 0; '
            'smwm inspect says whether the latent has collapsed'
        )
    rows, nearest, radius = farthest_points(drives.latents, CLOSE * step, most)
    nodes = drives.latents[rows]
    distance = torch.cdist(nodes, nodes)
    distance.fill_diagonal_(torch.inf)
    moved = (drives.left[:-1] > 0) & (nearest[1:] != nearest[:-1])
    driven = torch.stack([nearest[:-1][moved], nearest[1:][moved]])
    # Drop jumps: longer in one tick than a model step between neighbouring nodes.
    driven = driven[:, distance[tuple(driven)] < 2 * radius + step]
    count = min(NEIGHBOURS, len(nodes) - 1)
    ends = distance.topk(count, largest=False).indices.ravel()
    starts = torch.arange(len(nodes)).repeat_interleave(count)
    good = mover.misses(nodes[starts], nodes[ends]) < CLOSE * step
    possible = torch.stack([starts[good], ends[good]])
    edges = torch.unique(torch.cat([driven, possible], dim=1), dim=1)
    if not edges.numel():
        raise DatasetError(
            'no edge between the places in the drives: none was reached from another; record '
            'longer drives, or train longer'
        )
    return Roadmap(nodes, edges, step, radius)


def save(folder: Path, roadmap: Roadmap, info: dict[str, Any]) -> None:
    """Write a roadmap beside its model."""
    tensors = {'nodes': roadmap.nodes, 'edges': roadmap.edges}
    scale = {'step': roadmap.step, 'radius': roadmap.radius}
    sidecar.save(folder, NAME, tensors, {**scale, **info})


def load(folder: Path | None, needed_by: str) -> Roadmap:
    """Read the roadmap beside a model."""
    sizes: dict[str, tuple[int | str, ...]] = {'nodes': ('N', 'D'), 'edges': (2, 'E')}
    tensors, meta = sidecar.load(folder, NAME, needed_by, sizes, {'step': float, 'radius': float})
    roadmap = Roadmap(tensors['nodes'], tensors['edges'], meta['step'], meta['radius'])
    last = len(roadmap.nodes) - 1
    whole = roadmap.edges.dtype == torch.int64
    inside = whole and torch.equal(roadmap.edges.clamp(0, last), roadmap.edges)
    if not (inside and 0 < roadmap.step < torch.inf and 0 <= roadmap.radius < torch.inf):
        raise CheckpointError(f'{folder}: its {NAME} is damaged; make it again: smwm prepare')
    if not roadmap.edges.numel():
        raise CheckpointError(f'{folder}: its {NAME} has no edges; make it again: smwm prepare')
    return roadmap


def joined(roadmap: Roadmap) -> float:
    """Return the share of ordered pairs of different nodes that a path joins."""
    count = len(roadmap.nodes)
    reach = torch.eye(count)
    reach[tuple(roadmap.edges)] = 1.0
    while True:
        further = (reach @ reach).clamp(max=1.0)  # paths of twice as many edges
        if torch.equal(further, reach):
            return float((reach.sum() - count) / max(count * (count - 1), 1))
        reach = further


class RoadmapPlanner:
    """Gives another planner the subgoals along the shortest path."""

    def __init__(self, planner: Planner, roadmap: Roadmap, mover: Mover) -> None:
        self._planner, self._roadmap, self._mover = planner, roadmap, mover
        self._lengths = roadmap.lengths
        self._known: Paths | None = None

    def plan_many(
        self, z: Tensor, goal: Tensor, past: Tensor | None = None, metric: Tensor | None = None
    ) -> Plans:
        """Plan to subgoals on the path to goal (B, D), or to the goal where there is no path."""
        if metric is not None:
            raise ValueError('a roadmap has paths of plain latent distance alone')
        if self._known is None or not torch.equal(self._known.goal, goal):
            self._known = self.paths(goal)
        subgoal, to_go = self._next(z[:, : goal.shape[1]], self._known)
        plans = self._planner.plan_many(z, subgoal, past)
        return plans._replace(to_go=to_go / self._roadmap.step)

    def shift(self, raw_steps: int) -> None:
        """Shift the last plans."""
        self._planner.shift(raw_steps)

    def keep(self, problems: Sequence[int]) -> None:
        """Keep only these problems, in this order."""
        if self._known is not None:
            self._known = Paths(*(part[list(problems)] for part in self._known))
        self._planner.keep(problems)

    def reset(self) -> None:
        """Drop the last plans, and the paths."""
        self._known = None
        self._planner.reset()

    def cancel(self) -> None:
        """Cancel the running search."""
        self._planner.cancel()

    @torch.inference_mode()
    def paths(self, goal: Tensor) -> Paths:
        """Find the shortest paths to goals (B, D), by the Bellman-Ford algorithm."""
        start, end = self._roadmap.edges
        last = self._links(goal, to_nodes=False)  # (B, N) from the nodes near the goal
        to_go = last
        origin = start.expand(len(goal), -1)
        while True:
            by_edge = self._lengths + to_go[:, end]  # (B, E)
            shorter = to_go.scatter_reduce(1, origin, by_edge, 'amin')
            if torch.equal(shorter, to_go):
                break
            to_go = shorter
        there = len(self._roadmap.nodes)
        choice = torch.where(by_edge <= to_go[:, start], end, there)
        after = torch.full_like(to_go, there, dtype=torch.long)
        after = after.scatter_reduce(1, origin, choice, 'amin')
        after = torch.where(last <= to_go, there, after)
        return Paths(goal, F.pad(to_go, (0, 1), value=0.0), F.pad(after, (0, 1), value=there))

    @torch.inference_mode()
    def _next(self, z: Tensor, paths: Paths) -> tuple[Tensor, Tensor]:
        """Return subgoals (B, D), and the distances (B,) from z to the goals along the paths."""
        nodes, problem = self._roadmap.nodes, torch.arange(len(z), device=z.device)
        to_go, node = (self._links(z, to_nodes=True) + paths.to_go[:, :-1]).min(dim=1)
        reach = to_go - AHEAD * self._roadmap.step  # a subgoal is no nearer to the goal
        here = to_go - paths.to_go[problem, node] < self._roadmap.radius
        node = torch.where(here, paths.after[problem, node], node)
        while True:
            further = paths.after[problem, node]
            further = torch.where(paths.to_go[problem, further] >= reach, further, node)
            if torch.equal(further, node):
                break
            node = further
        final = (node == len(nodes)) | ~to_go.isfinite()
        subgoal = nodes[node.clamp(max=len(nodes) - 1)]
        return torch.where(final.unsqueeze(1), paths.goal, subgoal), to_go

    def _links(self, z: Tensor, to_nodes: bool) -> Tensor:
        """Return the distances (B, N) of nodes that one move joins to z (B, D), else inf."""
        nodes, roadmap = self._roadmap.nodes, self._roadmap
        distance = torch.cdist(z, nodes)
        near, index = distance.topk(min(NEIGHBOURS, len(nodes)), largest=False)
        there = nodes[index].flatten(0, 1)
        here = z.repeat_interleave(index.shape[1], dim=0)
        moves = (here, there) if to_nodes else (there, here)
        good = self._mover.misses(*moves).view_as(near) < CLOSE * roadmap.step
        good[:, 0] |= near[:, 0] < 2 * roadmap.radius  # the node that stands for this place
        near = torch.where(good, near, torch.inf)
        return torch.full_like(distance, torch.inf).scatter(1, index, near)
