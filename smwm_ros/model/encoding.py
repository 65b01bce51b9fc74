# SPDX-License-Identifier: Apache-2.0
"""Latents of the frames of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from smwm_ros.codec import image_stack
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.observations import observations
from smwm_ros.interfaces import Array
from smwm_ros.model.any_model import AnyModel
import torch
from torch import Tensor

BATCH = 256  # frames encoded at once


@torch.inference_mode()
def encode_rows(
    model: AnyModel,
    dataset: TransitionDataset,
    rows: Array,
    progress: Callable[[Sequence[Array]], Iterable[Array]] = iter,  # wraps the batches of rows
    at_rest: bool = False,  # encode each image as if nothing moved
) -> Tensor:
    """Return the latents (n, D) of rows (n,), on the CPU; the model must be in eval mode."""
    device = next(model.parameters()).device
    latents = []
    for part in progress(np.array_split(rows, max(-(-len(rows) // BATCH), 1))):
        stack = model.config.stack
        images = (
            image_stack.at_rest(dataset.pixels(part), stack)
            if at_rest
            else observations(dataset, part, stack)
        )
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
        latents.append(model.encode(pixels).cpu())
    return torch.cat(latents)
