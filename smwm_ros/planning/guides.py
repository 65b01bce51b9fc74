# SPDX-License-Identifier: Apache-2.0
"""The files of smwm prepare that planners need: roadmap, policy, time to go and drives."""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros import config
from smwm_ros.errors import CheckpointError
from smwm_ros.model.actor import Actor
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning import policy as proposals
from smwm_ros.planning import retrieval, roadmap, time_to_go
from smwm_ros.planning.policy import Policy
from smwm_ros.planning.retrieval import Retrieval
from smwm_ros.planning.roadmap import Roadmap
from smwm_ros.planning.support import Support, support_of
from smwm_ros.planning.time_to_go import Ranks, TimeToGo
import torch


class Guides(NamedTuple):
    """What some planners need beside a model; None where the settings do not use it."""

    roadmap: Roadmap | None = None
    policy: Policy | None = None
    time: TimeToGo | None = None
    retrieval: Retrieval | None = None
    actor: Actor | None = None
    support: Support | None = None

    def to(self, device: torch.device) -> Guides:
        """Return copies on a device."""
        road, policy, time, drives, actor, support = self
        if road is not None:
            road = road._replace(nodes=road.nodes.to(device), edges=road.edges.to(device))
        return Guides(
            road,
            policy and policy.to(device),
            time and time.to(device),
            drives and drives.to(device),
            actor and actor.to(device),
            support and support.to(device),
        )


def tested_time(checkpoint: Checkpoint) -> TimeToGo | None:
    """Return the time to go beside a checkpoint if it passed its test, else None."""
    try:
        return _if_better(*time_to_go.load(checkpoint.folder, 'the time to the goal'))
    except CheckpointError:
        return None


def _if_better(time: TimeToGo, ranks: Ranks) -> TimeToGo | None:
    """Return the time if it orders frames better than latent distance, else None."""
    return time if ranks.better else None


def load_guides(checkpoint: Checkpoint, settings: config.Planner) -> Guides:
    """Read what the settings require; raise CheckpointError where it is missing."""
    where = checkpoint.folder
    road = policy = time = drives = support = None
    if settings.kind == 'roadmap':
        road = roadmap.load(where, 'planner.kind=roadmap')
    if 'amortised' in (settings.kind, settings.subplanner) or settings.proposals:
        key = 'planner.proposals' if settings.proposals else 'planner.kind=amortised'
        policy = proposals.load(where, checkpoint.spec.size * checkpoint.action_block, key)
    if settings.cost == 'time':
        # Without it the latent distance is used.
        time = _if_better(*time_to_go.load(where, 'planner.cost=time'))
    if settings.retrieval:
        drives = retrieval.load(where, checkpoint.action_block, 'planner.retrieval')
    if settings.novel_weight:
        key = 'planner.novel_weight'
        block = checkpoint.action_block
        recorded = drives.drives if drives else retrieval.load_drives(where, block, key)
        support = support_of(recorded)
    kind = settings.inner_kind
    actor = actor_of(checkpoint, kind) if kind in config.ACTING else None
    return Guides(road, policy, time, drives, actor, support)


def actor_of(checkpoint: Checkpoint, kind: str) -> Actor:
    """Return the actor of a model; raise CheckpointError if it was trained without one."""
    actor = checkpoint.model.actor
    if actor is None:
        raise CheckpointError(
            f'{checkpoint.folder or "the checkpoint"}: planner.kind={kind} needs a model with an '
            'actor, but this one was trained with model.actor=none; train with '
            'model.actor=intent, or choose another planner.kind'
        )
    return actor
