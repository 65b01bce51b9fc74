# SPDX-License-Identifier: Apache-2.0
"""
Record functions of tensors as CUDA graphs, and replay them.

A planner launches thousands of small kernels, and launching one from Python takes longer than the
kernel runs. Code that reads a value of a tensor (.item(), a boolean mask) synchronises with the
GPU and cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import local
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

R = TypeVar('R')
GRAPHS = 24  # most recordings of a function, one for each set of input shapes
WARM_UP = 2  # runs before recording: the first compiles, the second allocates as later ones do

_now = local()  # .records: whether this thread records


def can_record(device: torch.device) -> bool:
    """Return whether functions can be recorded on a device."""
    return device.type in RECORDERS


class Recorded(Generic[R]):
    """
    A function of tensors, any of which may be None, recorded once for each set of input shapes.

    It returns tensors, also in tuples and dicts. If it is called while another one is recorded, it
    becomes part of that recording.
    """

    def __init__(
        self,
        function: Callable[..., R],
        generator: torch.Generator | None = None,  # of its random numbers
    ) -> None:
        self._function, self._generator = function, generator
        self._ready: dict[Any, tuple[Callable[[], None], list[Tensor | None], R]] = {}

    def __call__(self, *inputs: Tensor | None) -> R:
        """Replay, after recording if the shapes are new."""
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
        kept: R = copied(found)  # the next replay overwrites it
        return kept

    def _record(
        self, inputs: tuple[Tensor | None, ...]
    ) -> tuple[Callable[[], None], list[Tensor | None], R]:
        """Return the replay function, the input buffers that it reads, and its outputs."""
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
    """Return a function that replays a CUDA graph, and the outputs that it overwrites."""
    state = None if generator is None else generator.get_state()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    if generator is not None and state is not None:
        generator.set_state(state)  # the first replay draws the numbers of a first run
        graph.register_generator_state(generator)
    # Other threads may use the GPU meanwhile.
    with torch.cuda.graph(graph, capture_error_mode='thread_local'):
        found = run()
    return graph.replay, found


def copied(found: Any) -> Any:
    """Return copies of tensors, also in tuples and dicts."""
    if isinstance(found, Tensor):
        return found.clone()
    if isinstance(found, dict):
        return {name: copied(part) for name, part in found.items()}
    if isinstance(found, tuple):
        parts = map(copied, found)
        return type(found)(*parts) if hasattr(found, '_fields') else tuple(parts)
    return found


# By kind of device.
RECORDERS: dict[str, Callable[..., tuple[Callable[[], None], Any]]] = {'cuda': record_graph}
