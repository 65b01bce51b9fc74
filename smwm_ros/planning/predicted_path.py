# SPDX-License-Identifier: Apache-2.0
"""The latents through which plans lead, as the forward model predicts them; for displays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning.pilot import PilotPlan
import torch
from torch import Tensor


@torch.inference_mode()
def predicted_paths(checkpoint: Checkpoint, plans: Sequence[PilotPlan]) -> Tensor:
    """Return the latents (B, T+1, D) of the images of B plans, and after each model step."""
    device = next(checkpoint.model.parameters()).device
    latents = np.stack([plan.latent for plan in plans if plan.latent is not None])
    actions = np.stack([plan.actions for plan in plans])
    width = checkpoint.action_block * checkpoint.spec.size
    normal = checkpoint.scaler.normalise(actions).reshape(len(plans), -1, width)
    z = torch.from_numpy(latents).float().to(device)
    steps = checkpoint.model.rollout(z, torch.from_numpy(normal).float().to(device))
    return torch.cat([z.unsqueeze(1), steps], dim=1).cpu()
