# SPDX-License-Identifier: Apache-2.0
"""Where torch computes: which device, by which seed, and with memory that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
import os
import sys

from smwm_ros.errors import ConfigError
import torch

CPU = torch.device('cpu')
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8  # of glibc's malloc.h
LARGEST = 2**30  # block that is kept for the next step [bytes]


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
