# SPDX-License-Identifier: Apache-2.0
"""
Augment training images on the device of the batch: random warps, colour jitter and shifts.

All frames of a window are warped alike, so that its motion stays smooth. Colours differ from frame
to frame: g cannot predict them, so the encoder learns to ignore them. Without both an encoder
depends on a few pixel values, and fails under another camera, light or renderer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from smwm_ros import config
from smwm_ros.interfaces import Obs, Window
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

# Shares of the training between which the strength rises from 0 to 1, that of shifts earlier.
RISE, SHIFTS_RISE = (0.5, 0.8), (0.2, 0.5)
OFTEN = 40  # times that a training shows each window, beyond which a model memorises the images
SHIFT = 0.1  # largest shift of all windows then, as a share of the image side
EVERY = 3  # one window in so many changes: the images of the recordings keep most of the weight

# The largest changes at strength 1. Image coordinates go from -1 to 1.
TURN = 0.1  # rotation [rad]
ZOOM = 0.1
STRETCH = 0.05  # of width against height, and shear
MOVE = 0.08
TILT = 0.1  # perspective: zoom at the edges
CONTRAST, CHANNEL_CONTRAST = 0.3, 0.15
BRIGHTNESS, CHANNEL_BRIGHTNESS = 25.0, 12.0  # [grey levels]
MIXING = 0.15  # of the channels
UNEVEN = 0.3  # illumination of parts of the image
NOISE = 12.0  # standard deviation [grey levels]
NOISES = 16  # fields of noise per batch: numbers for every pixel would cost more than the rest


class Strength(NamedTuple):
    """How much images change: 0 for nothing, 1 for the changes above; shift in pixels."""

    warp: float
    colour_jitter: float
    shift: int = 0


def risen(step: int, settings: config.Train, rise: tuple[float, float] = RISE) -> float:
    """
    Return the strength of the augmentation in a step, from 0 to 1; the first step is 1.

    The augmentation starts late because frames of a window share their warp, which is easy to
    predict. An encoder that has not learnt to show the robot yet would encode the warp instead:
    the forward loss is near 0, and the inverse loss never falls. Shifts start before a model has
    memorised the images.
    """
    begin, end = rise
    return min(max(((step - 1) / settings.steps - begin) / (end - begin), 0.0), 1.0)


def augment(batch: Window, strength: Strength, share: slice) -> Window:
    """
    Change the images of a batch at random.

    Random numbers are drawn for the whole batch; `share` selects the windows in this process.
    """
    pixels, states, count = *batch.obs, batch.action.shape[1]
    goal = batch.goal
    if goal:  # the same camera sees it, in another light
        pixels = torch.cat([pixels, goal.pixels.unsqueeze(0)])
    stack = pixels.shape[2] // 3
    pixels = _frames(pixels)
    if strength.shift:
        far = strength.shift
        away = torch.randint(-far, far + 1, (2, count, 1), device=pixels.device)
        pixels = shifted(pixels, *away[:, share])
    if strength.warp or strength.colour_jitter:
        first, last, _ = share.indices(count)
        mine = slice(-first % EVERY, None, EVERY)  # of the windows in this process
        here = slice(first + mine.start, last, EVERY)  # the same of the whole batch
        changed = pixels[:, mine].float()
        if strength.warp:
            changed = warped(changed, _warps(count, strength.warp, pixels)[here])
            states = states.clone()
            states[:, ::EVERY] = math.nan  # the images no longer show what was measured
        if strength.colour_jitter:
            drawn = _jitters(len(pixels) // stack, count, strength.colour_jitter, pixels)
            # The images of an observation are taken a moment apart, in the same light.
            drawn = tuple(part.repeat_interleave(stack, dim=0) for part in drawn)
            changed = jittered(changed, *(part[:, here] for part in drawn))
        pixels = pixels.clone()
        pixels[:, mine] = changed.round_().clamp_(0, 255).to(pixels.dtype)
    pixels = _observations(pixels, stack)
    if goal:
        goal = goal._replace(pixels=pixels[-1])
        pixels = pixels[:-1]
    return batch._replace(obs=Obs(pixels, states), goal=goal)


def _frames(pixels: Tensor) -> Tensor:
    """Return the images of observations, (T+1, B, 3*H, S, S) -> (H*(T+1), B, 3, S, S)."""
    count, windows, channels, *sides = pixels.shape
    if channels == 3:
        return pixels
    apart = pixels.reshape(count, windows, channels // 3, 3, *sides).transpose(1, 2)
    return apart.flatten(0, 1)


def _observations(frames: Tensor, stack: int) -> Tensor:
    """Join images to observations again."""
    if stack == 1:
        return frames
    apart = frames.reshape(-1, stack, *frames.shape[1:]).transpose(1, 2)
    return apart.flatten(2, 3)


def _uniform(*shape: int, like: Tensor) -> Tensor:
    """Draw numbers from -1 to 1."""
    return 2 * torch.rand(shape, device=like.device) - 1


def _warps(count: int, strength: float, like: Tensor) -> Tensor:
    """Draw homographies (B, 3, 3) from the coordinates of an image to those of its source."""
    drawn = strength * _uniform(8, count, like=like)
    turn, zoom, stretch, shear, right, down, tilt_x, tilt_y = drawn
    cos, sin = torch.cos(TURN * turn), torch.sin(TURN * turn)
    size, wide = 1 + ZOOM * zoom, 1 + STRETCH * stretch
    rows = [
        [size * wide * cos, STRETCH * shear - size * sin, MOVE * right],
        [size * sin, size / wide * cos, MOVE * down],
        [TILT * tilt_x, TILT * tilt_y, torch.ones_like(turn)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def warped(images: Tensor, warps: Tensor) -> Tensor:
    """Apply homographies (B, 3, 3) to float images (T+1, B, 3, S, S), and replicate the edges."""
    frames, count, channels, side, _ = images.shape
    line = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    y, x = torch.meshgrid(line, line, indexing='ij')
    points = torch.stack([x, y, torch.ones_like(x)]).view(3, -1)
    source = warps @ points  # (B, 3, S*S)
    grid = (source[:, :2] / source[:, 2:]).transpose(1, 2).view(count, side, side, 2)
    # As channels of one image, all frames of a window share the interpolation.
    flat = images.transpose(0, 1).reshape(count, frames * channels, side, side)
    found = F.grid_sample(flat, grid, padding_mode='border', align_corners=False)
    return found.view(count, frames, channels, side, side).transpose(0, 1)


def _jitters(frames: int, count: int, strength: float, like: Tensor) -> tuple[Tensor, ...]:
    """Draw mixing (T+1, B, 3, 3), offset (T+1, B, 3), light (T+1, B, 3, 3), noise, its number."""

    def each(*shape: int) -> Tensor:
        return strength * _uniform(frames, count, *shape, like=like)

    contrast = 1 + CONTRAST * each(1, 1) + CHANNEL_CONTRAST * each(3, 1)
    mixing = contrast * (torch.eye(3, device=like.device) + MIXING * each(3, 3))
    offset = BRIGHTNESS * each(1) + CHANNEL_BRIGHTNESS * each(3)
    noise = NOISE * each().abs()
    which = torch.randint(NOISES, (frames, count), device=like.device)
    return mixing, offset, 1 + UNEVEN * each(3, 3), noise, which


def jittered(
    images: Tensor, mixing: Tensor, offset: Tensor, light: Tensor, noise: Tensor, which: Tensor
) -> Tensor:
    """Change colours, illumination and noise of float images (T+1, B, 3, S, S)."""
    side, grey = images.shape[-1], 127.5
    # mixing (x - grey) + grey + offset, as one product
    bias = offset + grey - grey * mixing.sum(dim=-1)
    flat = images.reshape(-1, 3, side * side)
    mixed = torch.baddbmm(bias.reshape(-1, 3, 1), mixing.reshape(-1, 3, 3), flat)
    spread = _interpolation(side, images)
    field = spread @ light.reshape(-1, 3, 3) @ spread.T
    found = mixed.view(-1, 3, side, side).mul_(field[:, None])
    fields = torch.randn(NOISES, 3, side, side, device=images.device)
    found.addcmul_(noise.reshape(-1, 1, 1, 1), fields[which.flatten()])
    return found.view(images.shape)


def _interpolation(side: int, like: Tensor) -> Tensor:
    """Return the matrix (S, 3) that interpolates three values along a side."""
    places = torch.linspace(0, 2, side, device=like.device)[:, None]
    return (1 - (places - torch.arange(3, device=like.device)).abs()).clamp(min=0)


def shifted(pixels: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift images (T+1, B, 3, S, S) by (B, 1) pixels each way, and replicate the edges."""
    side = pixels.shape[-1]
    places = torch.arange(side, device=pixels.device)
    rows, columns = ((places - by).clamp(0, side - 1) for by in (down, right))  # (B, S)
    tall = rows[None, :, None, :, None].expand(pixels.shape)
    wide = columns[None, :, None, None, :].expand(pixels.shape)
    return pixels.gather(-2, tall).gather(-1, wide)
