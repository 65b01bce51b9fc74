# SPDX-License-Identifier: Apache-2.0
"""The path from a camera image to raw physical actions, in evaluation and on robots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
import time
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.codec.image_files import read_folder
from smwm_ros.codec.image_stack import at_rest
from smwm_ros.errors import CheckpointError
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import planning_device
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.model.goal_fields import columns_of
from smwm_ros.model.past import joined, Recent
from smwm_ros.model.recorded import can_record, Recorded
from smwm_ros.planning.bounds import largest_change
from smwm_ros.planning.costs import StateReader
from smwm_ros.planning.guides import load_guides, tested_time
from smwm_ros.planning.latent_space import require_decoder
from smwm_ros.planning.masked_goals import require_distance
from smwm_ros.planning.planner import make_planner
import torch
from torch import Tensor


class PilotPlan(NamedTuple):
    """A plan that starts at the time of the image, one row for each control period."""

    actions: Array  # (T*K, A) physical, inside the limits of the spec
    cost: float  # as planner.cost defines it; not finite where no sample had a finite cost
    spread: float  # mean standard deviation of the samples after the last iteration
    distance: float  # latent distance from the image to the goal
    shares: Mapping[str, float] = MappingProxyType({})  # of each term in the cost
    # Along the roadmap [model steps]; inf where no path is known, None without a roadmap.
    to_go: float | None = None
    latent: Array | None = None  # (D,) of the image
    # Learnt time from the image to the goal [s]; None without one that passed its test.
    seconds_to_go: float | None = None


class Pilot:
    """Encodes images, plans, and returns physical actions."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        planner: config.Planner | None = None,  # None: that of the checkpoint
    ) -> None:
        settings = checkpoint.planner if planner is None else planner
        require_decoder(checkpoint)
        self.spec = checkpoint.spec
        self.action_block = checkpoint.action_block
        self.image_size = checkpoint.image_size
        self.model_config = checkpoint.model_config
        self.stack = self.model_config.stack  # H, the images that make a latent
        self.past_steps = self.model_config.context - 1  # most model steps of the past that count
        self.raw_steps = settings.horizon * self.action_block  # raw steps in a plan
        self.latent_size = checkpoint.model.latent  # D
        self._device = planning_device(settings, self.model_config)
        self._model = checkpoint.on(self._device).model
        self._recorded = Recorded(self._model.encode) if can_record(self._device) else None
        self._scaler = checkpoint.scaler
        self._resize = checkpoint.dataset.resize
        low, high, rest = (
            self._tensor(self._scaler.normalise(np.array(raw)))
            for raw in (self.spec.low, self.spec.high, 0.0)
        )
        block = self.action_block
        change = largest_change(settings.max_rate, self.spec)
        guides = load_guides(checkpoint, settings)
        self._planner = make_planner(
            accelerate(self._model, settings.precision == 'bf16', settings.samples) or self._model,
            settings,
            low.repeat(block),
            high.repeat(block),
            block,
            step=None if change is None else self._tensor(change / self._scaler.std),
            rest=rest,
            keep_out=self._places(settings.keep_out) if settings.keep_out else None,
            heads=self._model.heads,
            guides=guides,
            read_focus=self._focus_reader(checkpoint.robot, settings.focus),
        )
        self._goal: Tensor | None = None  # (B, D)
        self._metric: Tensor | None = None  # (B, D, D) of masked goals
        self._settings = settings
        time = guides.time if settings.cost == 'time' else tested_time(checkpoint)
        self._time = time and time.to(self._device)
        self._step_seconds = self.action_block * self.spec.dt

    def set_goal(self, pixels: Array) -> None:
        """Set the goal image (S, S, 3) uint8 RGB, and drop the last plan."""
        self._check(pixels, 3)
        self.set_goals(pixels[None])

    def set_goals(self, pixels: Array, metrics: Array | None = None) -> None:
        """
        Set the goal images (B, S, S, 3) uint8 RGB of B problems, and drop the last plans.

        `metrics` (B, D, D) are those of masked goals, see planning/masked_goals.py.
        """
        self._set_goal(self._encode(pixels), metrics)
        self._planner.reset()

    def encode(self, pixels: Array) -> Array:
        """Return the latents (N, D) of images or observations (N, S, S, 3 or 3*H) uint8 RGB."""
        latents: Array = self._encode(pixels).cpu().numpy()
        return latents

    def seconds_to(self, latent: Array, goals: Array) -> Array | None:
        """Return the learnt times from a latent (D,) to goals (N, D) [s], None without one."""
        if self._time is None:
            return None
        there = self._tensor(goals)
        return np.array(self._seconds(self._tensor(latent).expand_as(there), there))

    def aim(self, latent: Array, metric: Array | None = None) -> None:
        """Set the goal latent (D,) and metric (D, D); keep the last plan for the warm start."""
        if latent.shape != (self.latent_size,):
            raise ValueError(f'expected {self.latent_size} numbers, found {latent.shape}')
        self.aim_many(latent[None], None if metric is None else metric[None])

    def aim_many(self, latents: Array, metrics: Array | None = None) -> None:
        """Set the goal latents (B, D) and metrics (B, D, D); keep the last plans."""
        self._set_goal(self._tensor(latents), metrics)

    def plan(
        self,
        pixels: Array,
        elapsed: int,
        sent: Array | None = None,
        before: Array | None = None,
    ) -> PilotPlan:
        """
        Plan from an observation (S, S, 3*H) uint8 RGB, or from an image (S, S, 3) at rest.

        `elapsed` is the number of raw steps since the image of the previous plan. The plan begins
        with `sent` (n, A): the raw actions that were sent before and act after this image.
        `before` (n, A) are the last ones that acted before it. A forward model with a history
        reads as many of them as the observation has earlier images, which are K of them apart.
        """
        self._check(pixels, 3)
        one = (None if part is None else part[None] for part in (sent, before))
        return self.plan_many(pixels[None], elapsed, *one)[0]

    def plan_many(
        self,
        pixels: Array,
        elapsed: int,
        sent: Array | None = None,
        before: Array | None = None,
    ) -> list[PilotPlan]:
        """
        Plan from the observations of all problems at once, each as if it were alone.

        `elapsed`, `sent` (B, n, A) and `before` (B, n, A) are those of plan().
        """
        if self._goal is None:
            raise RuntimeError('no goal; call set_goal before plan')
        start = self._start(pixels, before)  # (B, W)
        z = start[:, : self.latent_size]
        self._planner.shift(elapsed)
        past = None
        if sent is not None and sent.shape[1] > 0:
            past = self._tensor(self._scaler.normalise(sent))
        plans = self._planner.plan_many(start, self._goal, past, self._metric)
        raw = plans.actions.reshape(len(z), self.raw_steps, self.spec.size).cpu().numpy()
        actions = self.spec.clip(self._scaler.restore(raw))
        away = z - self._goal
        if self._metric is not None:
            away = (away.unsqueeze(1) @ self._metric).squeeze(1)
        distance = torch.linalg.vector_norm(away, dim=1)
        numbers = (part.tolist() for part in (plans.cost, plans.spread, distance))
        lists = {name: column.tolist() for name, column in plans.shares.items()}
        shares = [{name: column[row] for name, column in lists.items()} for row in range(len(z))]
        to_go = [None] * len(z) if plans.to_go is None else plans.to_go.tolist()
        seconds = self._seconds(z, self._goal)
        rows = zip(actions, *numbers, shares, to_go, z.cpu().numpy(), seconds, strict=True)
        return [PilotPlan(*row) for row in rows]

    def keep(self, problems: Sequence[int]) -> None:
        """Keep only these problems, in this order."""
        if self._goal is not None:
            self._goal = self._goal[list(problems)]
        if self._metric is not None:
            self._metric = self._metric[list(problems)]
        self._planner.keep(problems)

    def reset(self) -> None:
        """Drop the last plan, and keep the goal."""
        self._planner.reset()

    def cancel(self) -> None:
        """Make the running search, or else the next one, raise CancelledError; thread-safe."""
        self._planner.cancel()

    def warm_up(self) -> float:
        """Plan for black images, so that later plans are fast; return the shortest time [s]."""
        goal, metric, whole = self._goal, self._metric, self.past_steps
        self.set_goal(np.zeros((self.image_size, self.image_size, 3), np.uint8))
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            self._plan_black(whole)
            times.append(time.perf_counter() - begun)
        if self._recorded:  # each number of sent actions, and of past steps, has a CUDA graph
            for sent in range(min(self.action_block + 1, self.raw_steps)):
                for past in range(whole + 1):
                    self._plan_black(past, sent)
        self._goal, self._metric = goal, metric
        self.reset()
        return min(times)

    def _plan_black(self, past: int, sent: int = 0) -> None:
        """Plan for black images after so many model steps, and begin with so many actions."""
        image = np.zeros((self.image_size, self.image_size, 3 * (past + 1)), np.uint8)
        actions = np.zeros((max(sent, past * self.action_block), self.spec.size))
        self.plan(image, 1, actions[:sent], actions[: past * self.action_block])

    @torch.inference_mode()
    def _encode(self, pixels: Array) -> Tensor:
        """Return the latents (B, D) of observations, or of images in which nothing moves."""
        self._check(pixels, 4)
        if pixels.shape[-1] < 3 * self.stack:
            pixels = at_rest(pixels, self.stack)
        pixels = pixels[..., -3 * self.stack :]  # without the past
        images = torch.tensor(pixels, device=self._device).permute(0, 3, 1, 2)
        alone = len(images) == 1  # many images keep a GPU busy by themselves
        encode = self._recorded if self._recorded and alone else self._model.encode
        return encode(images)

    @torch.inference_mode()
    def _start(self, pixels: Array, before: Array | None) -> Tensor:
        """Return the latents of observations (B, W), with as much of their past as is known."""
        z = self._encode(pixels)
        block, count = self.action_block, 0 if before is None else before.shape[1]
        steps = min(pixels.shape[-1] // 3 - 1, self.past_steps, count // self.action_block)
        if before is None or steps < 1:
            return z
        images = np.split(pixels[..., -3 * (steps + 1) : -3], steps, axis=-1)
        latents = self._encode(np.concatenate(images)).view(steps, *z.shape)
        sent = self._tensor(self._scaler.normalise(before[:, count - steps * block :]))
        every = torch.cat([latents, z.unsqueeze(0)]).transpose(0, 1)
        return joined(Recent(every, sent.reshape(len(z), steps, -1)))

    @torch.inference_mode()
    def _seconds(self, z: Tensor, goal: Tensor) -> list[float] | list[None]:
        """Return the learnt time from z (B, D) to goals (B, D) [s], None each without one."""
        if self._time is None or self._metric is not None:  # it leads to the whole picture
            return [None] * len(z)
        # What is learnt for a goal itself is small, but not 0.
        steps = (self._time(z, goal) - self._time(goal, goal)).clamp(min=0)
        seconds: list[float] = (steps * self._step_seconds).tolist()
        return seconds

    def _set_goal(self, goal: Tensor, metrics: Array | None) -> None:
        """Set goals (B, D) and metrics (B, D, D), or raise where a goal is not finite."""
        if not bool(goal.isfinite().all()):
            raise CheckpointError(
                'the latent of the goal is not finite: the weights of the checkpoint are damaged; '
                'train it again'
            )
        if metrics is not None:
            require_distance(self._settings)
        self._goal = goal
        self._metric = None if metrics is None else self._tensor(metrics)

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(values).float().to(self._device)

    def _focus_reader(self, robot: config.Robot, focus: tuple[str, ...]) -> StateReader | None:
        """Return the function that reads the fields of `focus` off latents, None without any."""
        columns, head = columns_of(focus, self._model.config, robot), self._model.state_head
        if not head or not columns:
            return None
        return partial(head.at_rest, columns=torch.tensor(columns, device=self._device))

    def _places(self, folder: str) -> Tensor:
        """Return the latents of places to avoid (M, D)."""
        return self._encode(read_folder(Path(folder), self.image_size, self._resize)).clone()

    def _check(self, pixels: Array, dimensions: int) -> None:
        """Raise ValueError where pixels are not images of the size of the model."""
        expected = (self.image_size, self.image_size, 3)
        counts = (1, self.stack, *range(1, self.past_steps + 2))
        possible = [(*expected[:2], 3 * count) for count in counts]
        fits = pixels.ndim == dimensions and pixels.shape[-3:] in possible
        if not fits or pixels.dtype != np.uint8:
            either = ' or '.join(map(str, dict.fromkeys(possible)))
            raise ValueError(f'expected {either} uint8, found {pixels.shape} {pixels.dtype}')
