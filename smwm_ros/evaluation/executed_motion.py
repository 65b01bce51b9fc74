# SPDX-License-Identifier: Apache-2.0
"""
Compare the motion of a robot with the motion that the model predicts for its commands.

Both are changes of the latent over the last second. The predicted motion is the difference between
the commands and zero commands: for latents unlike those of the training a model predicts a change
even for a robot at rest. The motion of the robot is projected on the predicted one: 1 is motion as
predicted, 0 is a robot that does not move.

A model that has learned walls predicts no motion into them, and then a robot that pushes against a
wall moves as predicted. So the motion is also compared with the usual one: how far the same
commands move the robot from most places of the training.
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
from torch import Tensor

WINDOW = 1.0  # that is compared, and more to a whole number of model steps [s]
PLACES = 32  # with which motion is compared
SHORTER = 0.75  # so much shorter usual motions count: their median errs less than one prediction
_NEAREST, _FARTHEST = 0.75, 1.5  # age of the image to compare with, where few come [windows]


class Motion(NamedTuple):
    """Motion over the last window."""

    predicted: float  # latent distance
    share: float  # of the predicted motion that was executed
    usual: float = 0.0  # latent distance, the median over places; 0 if unknown
    usual_share: float = 1.0  # how far the robot moved, as a share of that

    def progress(self, least: float) -> float | None:
        """Return the smaller share of motions that were to be so long; None if neither was."""
        shares = [self.share] if self.predicted >= least else []
        if self.usual >= SHORTER * least:
            shares.append(self.usual_share)
        return min(shares, default=None)


class MotionMeter:
    """Remembers the latents of the last images; one thread uses it."""

    def __init__(self, checkpoint: Checkpoint, places: Tensor | None = None) -> None:
        """Take the latents (P, D) of places to compare with, if they are known."""
        self._checkpoint = checkpoint
        if places is not None and checkpoint.robot.command.stop == 'zero':
            # Position commands move a robot that is elsewhere, and not one that is there.
            self._places = places[torch.linspace(0, len(places) - 1, PLACES).long()]
        else:
            self._places = torch.empty(0, checkpoint.model.latent)
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
        predicted, *others = part * self._predict(start, commands)
        squared, moved = float(predicted @ predicted), latent - start
        share = float(moved @ predicted) / max(squared, 1e-12)
        if not others:
            return Motion(math.sqrt(squared), share)
        usual = float(np.median(np.linalg.norm(others, axis=1)))
        return Motion(
            math.sqrt(squared), share, usual, float(np.linalg.norm(moved)) / max(usual, 1e-12)
        )

    @torch.inference_mode()
    def _predict(self, latent: Array, commands: Array) -> Array:
        """Return the changes (1+P, D) of a latent and of all places by raw commands (n, A)."""
        made = self._checkpoint
        device = next(made.model.parameters()).device
        width = made.action_block * made.spec.size
        raw = commands[None]
        if made.robot.command.stop == 'zero':  # otherwise no command is known to be rest
            raw = np.stack([commands, np.zeros_like(commands)])
        normal = torch.from_numpy(made.scaler.normalise(raw)).float()
        z = torch.cat([torch.from_numpy(latent)[None], self._places])
        path = made.model.rollout(
            z.repeat(len(raw), 1).to(device),
            normal.reshape(len(raw), -1, width).repeat_interleave(len(z), dim=0).to(device),
        )
        ends = path[:, -1].cpu()
        change: Array = (ends[: len(z)] - (ends[len(z) :] if len(raw) > 1 else z)).numpy()
        return change
