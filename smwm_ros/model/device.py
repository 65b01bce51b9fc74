# SPDX-License-Identifier: Apache-2.0
"""The device, the seed and the memory allocator of torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
import os
import sys

from smwm_ros.config import Model, Planner
from smwm_ros.errors import ConfigError
import torch

CPU = torch.device('cpu')
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8  # of glibc's malloc.h
LARGEST = 2**30  # largest block that malloc keeps after it was freed [bytes]


def pick_device(name: str, knob: str = 'train.device') -> torch.device:
    """Return the device of that name; 'auto' is a GPU if there is one, else the CPU."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(f'{knob}: no CUDA GPU was found; valid here: auto, cpu')
    if name == 'cuda':  # LOCAL_RANK: set by torchrun for each process of a machine
        device = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
        torch.cuda.set_device(device)
        return device
    return torch.device(name)


def planning_device(settings: Planner, model: Model) -> torch.device:
    """Return where to plan: for 'auto', a GPU is used for the large networks of `tiny` alone."""
    small = settings.device == 'auto' and model.preset != 'tiny'
    return pick_device('cpu' if small else settings.device, 'planner.device')


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed torch inside, and restore its generators afterwards."""
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        yield


def keep_memory(one_heap: bool = False) -> None:
    """
    Make malloc keep freed blocks, because every step needs the same blocks again.

    glibc returns large blocks to the kernel, which has to zero them again for the next step: a
    tenth of the training time of `tiny`. With `one_heap`, all threads share the heap that keeps
    large blocks. Has no effect where the C library is not glibc.
    """
    if sys.platform != 'linux':
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1)
        if one_heap:
            mallopt(M_ARENA_MAX, 1)
