# SPDX-License-Identifier: Apache-2.0
"""Our model as the cost of a solver of stable-worldmodel: CEMSolver(CostModel(run))."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from smwm_ros.codec.image_stack import at_rest
from smwm_ros.errors import CheckpointError
from smwm_ros.interfaces import ActionScaler, Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.world_model import Smwm
from smwm_ros.swm.observations import checkpoint_of, images_of
import torch
from torch import nn, Tensor

LATENTS = 'smwm_ros_latents'  # of start and goal, kept in the info dict over the iterations


class ActionProcess:
    """The normalisation of actions, as WorldModelPolicy(process={'action': ...}) takes it."""

    def __init__(self, scaler: ActionScaler) -> None:
        self._scaler = scaler

    def transform(self, actions: Array) -> Array:
        """Normalise raw actions (..., A)."""
        return self._scaler.normalise(actions).astype(np.float32)

    def inverse_transform(self, actions: Array) -> Array:
        """Return raw actions (..., A)."""
        return self._scaler.restore(actions).astype(np.float32)


class CostModel(nn.Module):
    """Squared latent distance to the goal after the last step, as in the paper."""

    def __init__(self, run: Checkpoint | Path | str) -> None:
        super().__init__()
        self._checkpoint = checkpoint_of(run)
        model = self._checkpoint.model
        if not isinstance(model, Smwm):
            raise CheckpointError(
                f'{self._checkpoint.folder or "the run"}: its latent actions are no raw actions '
                'that a solver of stable-worldmodel could search for; use PlannerPolicy'
            )
        self.model = model.eval().requires_grad_(False)
        self.action_block = self._checkpoint.action_block
        self.process = {'action': ActionProcess(self._checkpoint.scaler)}

    def get_cost(self, info_dict: dict[str, Any], candidates: Tensor) -> Tensor:
        """Return the costs (B, S) of normalised action sequences (B, S, T, K*A)."""
        if LATENTS not in info_dict:
            info_dict[LATENTS] = self._encode(info_dict['pixels']), self._encode(info_dict['goal'])
        z, goal = (latent.to(candidates.device) for latent in info_dict[LATENTS])
        many = candidates.shape[1]
        start = z.unsqueeze(1).expand(-1, many, -1)
        end = self.model.rollout(start, candidates)[..., -1, :]
        costs: Tensor = (end - goal.unsqueeze(1)).square().sum(dim=-1)
        return costs

    def _encode(self, values: Any) -> Tensor:
        """Return the latents (B, D) of images (B, S, T, H, W, 3), the same for all samples."""
        images = images_of(values[:, 0].cpu().numpy(), self._checkpoint)
        seen = at_rest(images, self._checkpoint.model_config.stack)
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            latents: Tensor = self.model.encode(
                torch.from_numpy(seen).permute(0, 3, 1, 2).to(device)
            )
        return latents
