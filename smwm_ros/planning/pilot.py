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
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import pick_device
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.model.goal_fields import columns_of
from smwm_ros.model.recorded import can_record, Recorded
from smwm_ros.planning.costs import StateReader
from smwm_ros.planning.guides import load_guides, tested_time
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
        _require_decoder(checkpoint)
        self.spec = checkpoint.spec
        self.action_block = checkpoint.action_block
        self.image_size = checkpoint.image_size
        self.stack = checkpoint.model_config.stack  # H, the images in an observation
        self.raw_steps = settings.horizon * self.action_block  # raw steps in a plan
        self.latent_size = checkpoint.model.latent  # D
        self._device = planning_device(settings, checkpoint.model_config)
        self._model = checkpoint.on(self._device).model
        self._recorded = Recorded(self._model.encode) if can_record(self._device) else None
        self._scaler = checkpoint.scaler
        self._resize = checkpoint.dataset.resize
        low, high, rest = (
            self._tensor(self._scaler.normalise(np.array(raw)))
            for raw in (self.spec.low, self.spec.high, 0.0)
        )
        block = self.action_block
        guides = load_guides(checkpoint, settings)
        self._planner = make_planner(
            accelerate(self._model, settings.precision == 'bf16', settings.samples) or self._model,
            settings,
            low.repeat(block),
            high.repeat(block),
            block,
            step=self._step(settings.max_rate),
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

    def plan(self, pixels: Array, elapsed: int, sent: Array | None = None) -> PilotPlan:
        """
        Plan from an observation (S, S, 3*H) uint8 RGB, or from an image (S, S, 3) at rest.

        `elapsed` is the number of raw steps since the image of the previous plan. The plan begins
        with `sent` (n, A): the raw actions that were sent before and act after this image.
        """
        self._check(pixels, 3)
        return self.plan_many(pixels[None], elapsed, None if sent is None else sent[None])[0]

    def plan_many(self, pixels: Array, elapsed: int, sent: Array | None = None) -> list[PilotPlan]:
        """
        Plan from the observations of all problems at once, each as if it were alone.

        `elapsed` and `sent` (B, n, A) are those of plan().
        """
        if self._goal is None:
            raise RuntimeError('no goal; call set_goal before plan')
        z = self._encode(pixels)
        self._planner.shift(elapsed)
        past = None
        if sent is not None and sent.shape[1] > 0:
            past = self._tensor(self._scaler.normalise(sent))
        plans = self._planner.plan_many(z, self._goal, past, self._metric)
        raw = plans.actions.reshape(len(z), self.raw_steps, self.spec.size).cpu().numpy()
        actions = self.spec.clip(self._scaler.restore(raw))
        away = z - self._goal
        if self._metric is not None:
            away = (away.unsqueeze(1) @ self._metric).squeeze(1)
        distance = torch.linalg.vector_norm(away, dim=1)
        numbers = (part.tolist() for part in (plans.cost, plans.spread, distance))
        shares = _rows(plans.shares, len(z))
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
        goal, metric = self._goal, self._metric
        black = np.zeros((self.image_size, self.image_size, 3), np.uint8)
        self.set_goal(black)
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            self.plan(black, elapsed=1)
            times.append(time.perf_counter() - begun)
        if self._recorded:  # each number of sent actions has a CUDA graph of its own
            for sent in range(1, min(self.action_block + 1, self.raw_steps)):
                self.plan(black, elapsed=1, sent=np.zeros((sent, self.spec.size)))
        self._goal, self._metric = goal, metric
        self.reset()
        return min(times)

    @torch.inference_mode()
    def _encode(self, pixels: Array) -> Tensor:
        """Return the latents (B, D) of observations, or of images in which nothing moves."""
        self._check(pixels, 4)
        if pixels.shape[-1] < 3 * self.stack:
            pixels = at_rest(pixels, self.stack)
        images = torch.tensor(pixels, device=self._device).permute(0, 3, 1, 2)
        alone = len(images) == 1  # many images keep a GPU busy by themselves
        encode = self._recorded if self._recorded and alone else self._model.encode
        return encode(images)

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

    def _step(self, rate: tuple[float, ...]) -> Tensor | None:
        """Return the largest change from one raw action to the next (A,), normalised."""
        if not rate:
            return None
        if len(rate) not in (1, self.spec.size) or min(rate) <= 0:
            raise ConfigError(
                'planner.max_rate: expected one positive number, or one for each of '
                f'{", ".join(self.spec.fields)}, found {list(rate)}'
            )
        return self._tensor(np.array(rate) * self.spec.dt / self._scaler.std)

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
        possible = (expected, (*expected[:2], 3 * self.stack))
        fits = pixels.ndim == dimensions and pixels.shape[-3:] in possible
        if not fits or pixels.dtype != np.uint8:
            either = ' or '.join(map(str, dict.fromkeys(possible)))
            raise ValueError(f'expected {either} uint8, found {pixels.shape} {pixels.dtype}')


def planning_device(settings: config.Planner, model: config.Model) -> torch.device:
    """Return where to plan: for 'auto', a GPU is used for the large networks of `tiny` alone."""
    small = settings.device == 'auto' and model.preset != 'tiny'
    return pick_device('cpu' if small else settings.device, 'planner.device')


def _require_decoder(checkpoint: Checkpoint) -> None:
    """Raise a CheckpointError if nothing connects the latent actions of a model to actions."""
    latent = checkpoint.model_config.kind == 'latent_action'
    if latent and not checkpoint.info.actions:
        raise CheckpointError(
            f'{checkpoint.folder or "the checkpoint"}: its latent actions cannot be decoded, '
            'because no moment was labelled; label some (smwm label --ask), and train again'
        )


def _rows(columns: Mapping[str, Tensor], length: int) -> list[dict[str, float]]:
    """Turn named columns (B,) into one named row for each problem."""
    lists = {name: column.tolist() for name, column in columns.items()}
    return [{name: column[row] for name, column in lists.items()} for row in range(length)]
