# SPDX-License-Identifier: Apache-2.0
"""One training step: gradient, clipping, learning rate, precision, random seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
import math

from smwm_ros import config
from smwm_ros.errors import TrainingError
from smwm_ros.interfaces import Window
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.any_model import AnyModel
from smwm_ros.model.compiled import Compiled
from smwm_ros.model.device import keep_memory, seeded
from smwm_ros.model.distributed import ALONE, ProcessGroup
from smwm_ros.text import count_of
from smwm_ros.training.augment import augment, OFTEN, risen, SHIFT, SHIFTS_RISE, Strength
from smwm_ros.training.metrics import held_out
import torch
from torch import Tensor
from torch.optim import AdamW

# In the messages of torch and numpy, on a GPU and on the CPU.
OUT_OF_MEMORY = ('out of memory', "can't allocate memory", 'unable to allocate')


class Learner:
    """A model and its optimiser."""

    def __init__(
        self,
        model: AnyModel,
        settings: config.Train,
        device: torch.device,
        process_group: ProcessGroup = ALONE,
        tuned: bool = False,  # the model was trained before, so nothing is easy any more
        seen: float = 0.0,  # how often the whole training shows each window
    ) -> None:
        self.model, self._settings, self._device = model, settings, device
        self._often = seen > OFTEN
        self._process_group, self._tuned = process_group, tuned
        self.optimiser = AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        self._share = process_group.share(settings.batch)
        self._half = settings.precision == 'bf16' or (
            settings.precision == 'auto' and device.type == 'cuda'
        )
        losses = Compiled(model.losses) if settings.compile else model.losses
        self.losses = partial(losses, gather=process_group.gather)
        if device.type == 'cpu':
            keep_memory()
        model.train()

    def step(self, number: int, batch: Window) -> dict[str, Tensor]:
        """Update the weights once; return the loss terms before. The first step is 1."""
        # Nothing here waits for a GPU; the caller decides when to read the terms.
        with seeded((self._settings.seed << 32) + number, self._device):
            strength = self._strength(number, batch.obs.pixels.shape[-1])
            batch = augment(batch, strength, self._share)
            with torch.autocast(self._device.type, torch.bfloat16, self._half):
                terms = self.losses(batch)
        self.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self._process_group.average_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip)
        for group in self.optimiser.param_groups:
            group['lr'] = learning_rate(number - 1, self._settings)
        self.optimiser.step()
        self.model.adapt(terms)
        return {name: term.detach() for name, term in terms.items()}

    def _strength(self, number: int, side: int) -> Strength:
        """Return how much images of `side` pixels change in a step."""
        if isinstance(self.model, LatentActionModel):  # z holds the motion: nothing is easy
            return Strength(0.0, 0.0, self.model.config.latent_action.shift)
        settings = self._settings
        grown, shift = 1.0 if self._tuned else risen(number, settings), 0.0
        if self._often and not self.model.config.aligns_state:  # no shifted image shows the state
            shift = SHIFT * side * settings.warp
            shift *= 1.0 if self._tuned else risen(number, settings, SHIFTS_RISE)
        return Strength(grown * settings.warp, grown * settings.colour_jitter, round(shift))

    def validate(self, batch: Window, settled: bool) -> dict[str, float]:
        """Return measures of the model on a held-out batch, in this process alone."""
        with seeded(self._settings.seed, self._device):
            return held_out(self.model, batch, settled)


def learning_rate(step: int, settings: config.Train) -> float:
    """Return the learning rate: linear warm-up, then cosine decay to 0. The first step is 0."""
    rise = int(settings.warmup * settings.steps)
    if step < rise:
        return settings.lr * step / rise
    done = (step - rise) / max(settings.steps - rise, 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))


@contextmanager
def explain_out_of_memory(
    settings: config.Train, image_size: int, device: torch.device
) -> Iterator[None]:
    """Turn an out-of-memory error into a TrainingError that says what to try."""
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
