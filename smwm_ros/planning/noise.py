# SPDX-License-Identifier: Apache-2.0
"""Noise of action samples: white, held within a model step, or coloured."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Noise:
    """Draws noise of variance 1."""

    def __init__(
        self,
        shape: tuple[int, int, int],  # N, T, K*A
        block: int,  # K
        smooth: float,  # share of the variance that the K raw actions of a model step share
        beta: float,  # power falls with frequency ** beta; 0 is white
        device: torch.device,
    ) -> None:
        samples, steps, width = shape
        self._shape = shape
        self._held = (samples, steps, 1, width // block)
        self._raw = (samples, steps * block, width // block)
        self._block, self._smooth = block, smooth
        self._mix = coloured(steps * block, beta).to(device) if beta else None
        self.generator = torch.Generator(device)

    def seed(self, seed: int) -> None:
        """Seed the generator."""
        self.generator.manual_seed(seed)

    def draw(self) -> Tensor:
        """Return (N, T, K*A)."""
        noise = self._white(self._shape)
        if self._mix is not None:
            return (self._mix @ noise.reshape(self._raw)).reshape(self._shape)
        if not self._smooth:
            return noise
        held = self._white(self._held).expand(-1, -1, self._block, -1).reshape(self._shape)
        return math.sqrt(1 - self._smooth) * noise + math.sqrt(self._smooth) * held

    def _white(self, shape: tuple[int, ...]) -> Tensor:
        device = self.generator.device
        return torch.randn(shape, generator=self.generator, device=device)


def coloured(steps: int, exponent: float) -> Tensor:
    """Return the matrix (L, L) that turns white noise over L raw steps into coloured noise."""
    # Twice as long as needed, since the inverse FFT gives periodic noise.
    frequency = torch.fft.rfftfreq(2 * steps, dtype=torch.float64)
    frequency[0] = frequency[1]
    power = torch.fft.irfft(frequency**-exponent, n=2 * steps)[:steps]
    step = torch.arange(steps)
    covariance = (power / power[0])[(step[:, None] - step).abs()]
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # Rounding may give a variance that is not exactly 1.
    mix: Tensor = root / root.square().sum(dim=1, keepdim=True).sqrt()
    return mix.float()
