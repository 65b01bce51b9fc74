# SPDX-License-Identifier: Apache-2.0
"""One step of training: gradient, clipping, learning rate, precision, chance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
import math
import os
import sys

from smwm_ros import config
from smwm_ros.errors import ConfigError, TrainingError
from smwm_ros.interfaces import Window
from smwm_ros.model.compiled import Compiled
from smwm_ros.model.distributed import Team
from smwm_ros.model.world_model import Smwm
from smwm_ros.text import count_of
from smwm_ros.training.augment import augment, strength
from smwm_ros.training.metrics import held_out
import torch
from torch import Tensor
from torch.optim import AdamW

# How torch and numpy tell it, on a GPU and on the CPU.
CPU = torch.device('cpu')
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8  # of glibc's malloc.h
LARGEST = 2**30  # block that is kept for the next step [bytes]
OUT_OF_MEMORY = ('out of memory', "can't allocate memory", 'unable to allocate')


class Learner:
    """A model, and what makes it better."""

    def __init__(self, model: Smwm, settings: config.Train, device: torch.device) -> None:
        self._model, self._settings, self._device = model, settings, device
        self.optimiser = AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        self._share = model.team.share(settings.batch)
        self._half = settings.precision == 'bf16' or (
            settings.precision == 'auto' and device.type == 'cuda'
        )
        self.losses = Compiled(model.losses) if settings.compile else model.losses
        if device.type == 'cpu':
            keep_memory()
        model.train()

    def step(self, number: int, batch: Window) -> dict[str, Tensor]:
        """Go down the gradient; return the terms of the loss before it. The first step is 1."""
        # Nothing here waits for a GPU: what it found is for the caller to ask.
        with (
            seeded((self._settings.seed << 32) + number, self._device),
            torch.autocast(self._device.type, torch.bfloat16, self._half),
        ):
            grown = strength(number, self._settings)
            terms = self.losses(augment(batch, self._settings, self._share, grown))
        self.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self._model.team.average_gradients(self._model.parameters())
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip)
        for group in self.optimiser.param_groups:
            group['lr'] = learning_rate(number - 1, self._settings)
        self.optimiser.step()
        self._model.adapt(terms)
        return {name: term.detach() for name, term in terms.items()}

    def look(self, batch: Window, settled: bool) -> dict[str, float]:
        """Measure the model on a batch that it does not learn from, in this process alone."""
        team, self._model.team = self._model.team, Team()
        try:
            with seeded(self._settings.seed, self._device):
                return held_out(self._model, batch, settled)
        finally:
            self._model.team = team


def keep_memory(one_heap: bool = False) -> None:
    """
    Let this process keep what it frees: every step needs the same blocks again.

    With one heap for all threads, those that are not the main one keep large blocks, too.

    glibc gives large blocks back to the system, which has to fill them with zeros for the next
    step: a tenth of the time of `tiny`. Other libraries do as they please.
    """
    if sys.platform != 'linux':
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1)
        if one_heap:
            mallopt(M_ARENA_MAX, 1)


def learning_rate(step: int, settings: config.Train) -> float:
    """Rise linearly from zero, then fall to zero along a cosine; the first step is 0."""
    rise = int(settings.warmup * settings.steps)
    if step < rise:
        return settings.lr * step / rise
    done = (step - rise) / max(settings.steps - rise, 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))


def pick_device(name: str, knob: str = 'train.device') -> torch.device:
    """Return where to compute; 'auto' takes a GPU where there is one."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(f'{knob}: no CUDA GPU was found; valid here: auto, cpu')
    if name == 'cuda':  # torchrun numbers the processes of a machine
        device = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
        torch.cuda.set_device(device)
        return device
    return torch.device(name)


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Let chance depend on a seed alone, and leave the generators of others as they were."""
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def memory_in_words(
    settings: config.Train, image_size: int, device: torch.device
) -> Iterator[None]:
    """Say what asked for too much memory, and what to try."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(word in text for word in OUT_OF_MEMORY):
            raise
        raise TrainingError(
            f'out of memory on {device}: a batch is {count_of(settings.batch, "window")} of '
            f'{settings.unroll + 1} images of {image_size}x{image_size} px; try '
            f'train.batch={max(settings.batch // 2, 2)}'
            + (', a smaller train.unroll' if settings.unroll > 1 else '')
            + ', or a dataset with a smaller dataset.image_size'
        ) from error
