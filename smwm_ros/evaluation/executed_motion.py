# SPDX-License-Identifier: Apache-2.0
"""
Compare the motion of a robot with the motion that the model predicts for its commands.

Both are changes of the latent over the last second. The predicted motion is the difference between
the commands and zero commands: for latents unlike those of the training a model predicts a change
even for a robot at rest. The motion of the robot is projected on the predicted one: 1 is motion as
predicted, 0 is a robot that does not move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import math
from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
import torch

WINDOW = 1.0  # that is compared, and more to a whole number of model steps [s]
_NEAREST, _FARTHEST = 0.75, 1.5  # age of the image to compare with, where few come [windows]


class Motion(NamedTuple):
    """Motion over the last window."""

    predicted: float  # latent distance
    share: float  # of the predicted motion that was executed


class MotionMeter:
    """Remembers the latents of the last images; one thread uses it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        step = checkpoint.action_block * checkpoint.robot.dt
        steps = math.ceil(WINDOW / step - 1e-6)
        self._ticks = steps * checkpoint.action_block
        self.window = steps * step  # [s]
        self._seen: deque[tuple[float, Array]] = deque()  # time [s] and latent (D,)

    def clear(self) -> None:
        """Forget all images."""
        self._seen.clear()

    def measure(
        self,
        time: float,
        latent: Array,
        acting: Callable[[float, int], Array | None],  # commands (n, A) from a time on
    ) -> Motion | None:
        """Measure the motion until an image (D,) at a time [s]; None if it is not known."""
        if self._seen and time < self._seen[-1][0]:  # time has jumped back
            self.clear()
        self._seen.append((time, latent))
        while time - self._seen[0][0] > _FARTHEST * self.window:
            self._seen.popleft()
        before, start = min(self._seen, key=lambda seen: abs(time - seen[0] - self.window))
        part = (time - before) / self.window
        commands = acting(before, self._ticks) if part >= _NEAREST else None
        if commands is None:
            return None
        predicted = part * self._predict(start, commands)
        squared = float(predicted @ predicted)
        return Motion(
            math.sqrt(squared), float((latent - start) @ predicted) / max(squared, 1e-12)
        )

    @torch.inference_mode()
    def _predict(self, latent: Array, commands: Array) -> Array:
        """Return the change (D,) of a latent that raw commands (n, A) make."""
        made = self._checkpoint
        device = next(made.model.parameters()).device
        width = made.action_block * made.spec.size
        raw = commands[None]
        if made.robot.command.stop == 'zero':  # otherwise no command is known to be rest
            raw = np.stack([commands, np.zeros_like(commands)])
        normal = made.scaler.normalise(raw).reshape(len(raw), -1, width)
        z = torch.from_numpy(latent).expand(len(raw), -1).to(device)
        path = made.model.rollout(z, torch.from_numpy(normal).float().to(device))
        ends: Array = path[:, -1].cpu().numpy()
        change: Array = ends[0] - (ends[1] if len(ends) > 1 else latent)
        return change
