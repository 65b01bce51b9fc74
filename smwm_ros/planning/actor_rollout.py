# SPDX-License-Identifier: Apache-2.0
"""The plan of an actor: what it does in the predictions of the forward model."""

from __future__ import annotations

from smwm_ros.interfaces import WorldModel
from smwm_ros.model.actor import Actor
from smwm_ros.model.past import advanced
from smwm_ros.planning.bounds import Bounds
import torch
from torch import Tensor


class ActorRollout:
    """Rolls out an actor and a model, inside the limits of the robot."""

    def __init__(self, actor: Actor, model: WorldModel, bounds: Bounds, horizon: int) -> None:
        self._actor, self._model, self._bounds, self._horizon = actor, model, bounds, horizon

    def __call__(
        self, z: Tensor, goal: Tensor, before: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """
        Return plans (B, P, T, K*A) from z (B, W) to goal (B, D), P of them for the actor's steps.

        They follow the raw action `before` (B, A), and begin with the raw actions `past`
        (B, n, A).
        """
        block, count = self._bounds.block, len(self._actor.steps)
        left = (block * self._actor.steps).repeat(len(z))  # (B*P,) raw steps
        z, goal = (part.repeat_interleave(count, dim=0) for part in (z, goal))
        last = None if before is None else before.repeat_interleave(count, dim=0)
        sent = None if past is None else past.repeat_interleave(count, dim=0)
        plan = []
        for _ in range(self._horizon):
            action = self._actor(z[:, : goal.shape[1]], goal, left)[0]
            begin = None
            if sent is not None and sent.shape[1]:
                begin, sent = sent[:, :block], sent[:, block:]
            if begin is not None and begin.shape[1] == block:
                action = begin.flatten(1)
            else:
                action = self._bounds.bound(action[:, None, None], last, begin)[:, 0, 0]
            plan.append(action)
            last = action.reshape(len(action), block, -1)[:, -1]
            z = advanced(self._model, z, action)
            left = (left - block).clamp(min=1)
        return torch.stack(plan, dim=1).reshape(-1, count, self._horizon, self._bounds.width)
