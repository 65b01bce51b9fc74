# SPDX-License-Identifier: Apache-2.0
"""
Functions of tensors that a GPU is asked for once, as a CUDA graph, and repeats.

A planner asks for thousands of small kernels, one after the other, and launching each of them
from Python takes longer than the kernel. Code that reads a value of a tensor (.item(), a boolean
mask) waits for the GPU and cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import local
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

R = TypeVar('R')
GRAPHS = 16  # shapes that are kept recorded
WARM_UP = 2  # runs before: the first one compiles, the second one allocates as all later ones

_now = local()  # .records: whether this thread is recording


def can_record(device: torch.device) -> bool:
    """Say whether a device repeats what was recorded."""
    return device.type in RECORDERS


class Recorded(Generic[R]):
    """
    A function of tensors, any of which may be absent, launched as one for each set of shapes.

    It returns tensors, also in tuples and dicts. One that is called while another is recorded is
    part of that.
    """

    def __init__(
        self,
        function: Callable[..., R],
        generator: torch.Generator | None = None,  # that it draws from
    ) -> None:
        self._function, self._generator = function, generator
        self._ready: dict[Any, tuple[Callable[[], None], list[Tensor | None], R]] = {}

    def __call__(self, *inputs: Tensor | None) -> R:
        """Apply."""
        if getattr(_now, 'records', False):
            return self._function(*inputs)
        shapes = tuple(None if one is None else one.shape for one in inputs)
        if shapes not in self._ready:
            if len(self._ready) == GRAPHS:
                del self._ready[next(iter(self._ready))]
            self._ready[shapes] = self._record(inputs)
        replay, held, found = self._ready[shapes]
        for here, there in zip(held, inputs, strict=True):
            if here is not None:
                here.copy_(there)  # type: ignore[arg-type]  # of the same shape, so not None
        replay()
        kept: R = copied(found)  # the next replay writes over it
        return kept

    def _record(
        self, inputs: tuple[Tensor | None, ...]
    ) -> tuple[Callable[[], None], list[Tensor | None], R]:
        """Return what repeats the function, with the inputs that it reads and what it returns."""
        with torch.inference_mode(False), torch.no_grad():
            held = [None if one is None else one.clone() for one in inputs]
            record = next(RECORDERS[one.device.type] for one in held if one is not None)
            _now.records = True
            try:
                replay, found = record(lambda: self._function(*held), self._generator)
            finally:
                _now.records = False
        return replay, held, found


def record_graph(
    run: Callable[[], R], generator: torch.Generator | None
) -> tuple[Callable[[], None], R]:
    """Return what repeats a function on a GPU, and what it returns, which is written each time."""
    state = None if generator is None else generator.get_state()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    if generator is not None and state is not None:
        generator.set_state(state)  # the first replay draws what the first run would have drawn
        graph.register_generator_state(generator)
    # Other threads may go on using the GPU meanwhile.
    with torch.cuda.graph(graph, capture_error_mode='thread_local'):
        found = run()
    return graph.replay, found


def copied(found: Any) -> Any:
    """Return tensors, also in tuples and dicts, that nobody writes over."""
    if isinstance(found, Tensor):
        return found.clone()
    if isinstance(found, dict):
        return {name: copied(part) for name, part in found.items()}
    if isinstance(found, tuple):
        parts = map(copied, found)
        return type(found)(*parts) if hasattr(found, '_fields') else tuple(parts)
    return found


# How each kind of device records.
RECORDERS: dict[str, Callable[..., tuple[Callable[[], None], Any]]] = {'cuda': record_graph}
