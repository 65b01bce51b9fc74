# SPDX-License-Identifier: Apache-2.0
"""The one path from a camera image to raw physical actions, for evaluation and live robots."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.core.checkpoint import Checkpoint
from smwm_ros.core.interfaces import Array, Obs
from smwm_ros.core.planner import CemPlanner
import torch
from torch import Tensor


class PilotPlan(NamedTuple):
    """What to do from the image on, one row for each control period."""

    actions: Array  # (T*K, A) physical, inside the limits of the spec
    cost: float  # of the plan, in squared latent distance; not finite when nothing could be scored
    spread: float  # mean standard deviation of the samples at the end, 0 when certain
    distance: float  # latent distance from the image to the goal


class Pilot:
    """Encodes images, plans, and turns normalised actions into physical ones."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        planner: config.Planner | None = None,  # None: the settings in the checkpoint
        device: str | torch.device = 'cpu',
    ) -> None:
        settings = checkpoint.planner if planner is None else planner
        self.spec = checkpoint.spec
        self.action_block = checkpoint.action_block
        self.image_size = checkpoint.image_size
        self.horizon = settings.horizon * self.action_block  # raw steps in a plan
        self._device = torch.device(device)
        self._model = checkpoint.model.to(self._device).eval()
        self._mean, self._std = checkpoint.mean, checkpoint.std
        low, high = (
            torch.from_numpy(np.tile((limit - self._mean) / self._std, self.action_block))
            .float()
            .to(self._device)
            for limit in (np.array(self.spec.low), np.array(self.spec.high))
        )
        self._planner = CemPlanner(self._model, settings, low, high, self.action_block)
        self._goal: Tensor | None = None

    def set_goal(self, pixels: Array) -> None:
        """Take an image (S, S, 3) uint8 RGB as the goal, and forget the last plan."""
        self._goal = self._encode(pixels)
        self._planner.reset()

    def plan(self, pixels: Array, elapsed: int) -> PilotPlan:
        """
        Plan from an image (S, S, 3) uint8 RGB.

        `elapsed` is how many raw steps passed since the image of the previous plan.
        """
        if self._goal is None:
            raise RuntimeError('set_goal comes before plan')
        z = self._encode(pixels)
        self._planner.shift(elapsed)
        plan = self._planner.plan(z, self._goal)
        raw = plan.actions.reshape(self.horizon, self.spec.size).cpu().numpy()
        actions = self.spec.clip(raw.astype(np.float64) * self._std + self._mean)
        distance = float(torch.linalg.vector_norm(z - self._goal))
        return PilotPlan(actions, plan.cost, plan.spread, distance)

    def reset(self) -> None:
        """Forget the last plan; the goal stays."""
        self._planner.reset()

    def warm_up(self) -> None:
        """Plan a few times to nowhere, so that the first real plan is as fast as the others."""
        goal, black = self._goal, np.zeros((self.image_size, self.image_size, 3), np.uint8)
        self.set_goal(black)
        for _ in range(3):
            self.plan(black, elapsed=1)
        self._goal = goal
        self.reset()

    @torch.inference_mode()
    def _encode(self, pixels: Array) -> Tensor:
        """Return the latent (D,) of one image."""
        expected = (self.image_size, self.image_size, 3)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise ValueError(f'expected {expected} uint8, found {pixels.shape} {pixels.dtype}')
        image = torch.tensor(pixels, device=self._device).permute(2, 0, 1).unsqueeze(0)
        return self._model.encode(Obs(image, torch.zeros(1, 0, device=self._device)))[0]
