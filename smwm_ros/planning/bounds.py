# SPDX-License-Identifier: Apache-2.0
"""The limits of raw actions, and of the change from one raw action to the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import ActionSpec, Array
import torch
from torch import Tensor


class Bounds:
    """The limits of the robot, in normalised actions. The allowed set is convex."""

    def __init__(
        self,
        low: Tensor,  # (K*A,)
        high: Tensor,  # (K*A,)
        block: int = 1,  # K, raw actions in a model step
        step: Tensor | None = None,  # (A,) largest change from one raw action to the next
    ) -> None:
        if low.shape != high.shape or not bool((low <= high).all()):
            raise ValueError(f'bounds: expected low <= high of one size, found {low} and {high}')
        if low.ndim != 1 or len(low) % block:
            raise ValueError(f'bounds: expected {block} raw actions, found {tuple(low.shape)}')
        if step is not None and (len(step) != len(low) // block or not bool((step > 0).all())):
            raise ValueError(f'step: expected a positive number for each field, found {step}')
        self.low, self.high, self.block = low, high, block
        self._step = step

    @property
    def width(self) -> int:
        """Return K*A."""
        return len(self.low)

    def raw(self, actions: Tensor) -> Tensor:
        """Return model steps (..., T, K*A) as raw actions (..., T*K, A)."""
        *batch, steps, width = actions.shape
        return actions.reshape(*batch, steps * self.block, width // self.block)

    def bound(
        self, samples: Tensor, before: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """
        Move action sequences (B, N, T, K*A) inside the limits.

        `before` (B, A) is the raw action that precedes them, None where it is unknown. `past`
        (B, n, A) replaces their first raw actions: these were sent and cannot change any more.
        """
        samples = torch.minimum(torch.maximum(samples, self.low), self.high)
        if self._step is None and past is None:
            return samples
        raw = self.raw(samples)
        if past is None:
            return self._limit_change(raw, before).reshape(samples.shape)
        rest = self._limit_change(raw[:, :, past.shape[1] :], past[:, -1])
        begin = past.unsqueeze(1).expand(-1, samples.shape[1], -1, -1)
        return torch.cat([begin, rest], dim=2).reshape(samples.shape)

    def _limit_change(self, raw: Tensor, before: Tensor | None) -> Tensor:
        """Limit the changes between successive raw actions (B, N, T*K, A)."""
        if self._step is None:
            return raw
        last = raw[:, :, 0] if before is None else before.unsqueeze(1)
        bounded = []
        for action in raw.unbind(dim=2):
            last = torch.minimum(torch.maximum(action, last - self._step), last + self._step)
            bounded.append(last)
        return torch.stack(bounded, dim=2)


def largest_change(rate: Sequence[float], spec: ActionSpec) -> Array | None:
    """Return the largest change between raw actions (A,) for planner.max_rate, None for any."""
    if not rate:
        return None
    if len(rate) not in (1, spec.size) or min(rate) <= 0:
        raise ConfigError(
            'planner.max_rate: expected one positive number, or one for each of '
            f'{", ".join(spec.fields)}, found {list(rate)}'
        )
    change: Array = np.array(rate) * spec.dt
    return change
