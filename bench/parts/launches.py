# SPDX-License-Identifier: Apache-2.0
"""
Record on a processor what a GPU would be asked to do: a stand-in for CUDA graphs.

Operations are recorded in their order and run again on replay. An operation that makes the GPU
wait for Python, or Python wait for the GPU, raises WaitError, as CUDA refuses to record it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeVar
from unittest import mock

from smwm_ros.model import kernels, recorded, vit
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

R = TypeVar('R')
# Methods of a tensor that copy numbers to Python or from a GPU to the processor.
READS = {'cpu', 'numpy', 'tolist', 'item', '__bool__', '__float__', '__int__', '__index__'}
READS |= {'nonzero', 'pin_memory', '__array__', '__contains__'}
# Operations whose result size depends on the data, that read a number, or take one from Python.
WAITS = {'_local_scalar_dense', 'nonzero', 'is_nonzero', 'equal', 'masked_select', 'lift_fresh'}
WAITS |= {'unique_dim', '_unique2', 'unique_consecutive', 'repeat_interleave', 'bincount'}
FREE = {'empty', 'new_empty', 'empty_like', 'empty_strided', 'new_empty_strided', 'detach'}
FREE |= {'_unsafe_view'}
# Operations that a compiler does not fuse with their neighbours.
ALONE = {'addmm', 'mm', 'bmm', 'baddbmm', 'randn', 'topk', 'sort', 'convolution', '_cdist_forward'}
ALONE |= {'_scaled_dot_product_flash_attention_for_cpu', '_scaled_dot_product_attention_math'}


class WaitError(AssertionError):
    """An operation makes the GPU or Python wait."""


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its types out
    """Operations in their order, with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Any, Any, Any, Any]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing is compiled here, so torch need not load its compiler."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it."""
        kwargs = kwargs or {}
        name = name_of(func)
        masks = name in ('index', 'index_put', 'index_put_', '_index_put_impl_') and any(
            isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if name in WAITS or masks:
            raise WaitError(f'{func}: a GPU waits for this, so it cannot be recorded')
        out = func(*args, **kwargs)
        if name not in FREE and not is_view(func):
            self._calls.append((func, args, kwargs, out))
        return out

    def replay(self) -> None:
        """Run all operations again, into the same memory."""
        with torch.no_grad():
            for func, args, kwargs, out in self._calls:
                found = func(*args, **kwargs)
                for old, new in zip(tensors(out), tensors(found), strict=True):
                    if old is not new:
                        old.copy_(new)

    @property
    def launches(self) -> int:
        """Return the number of kernels, one for each operation."""
        return len(self._calls)

    @property
    def joined(self) -> int:
        """Return the number of kernels if all operations between two large ones are fused."""
        names = [name_of(func) for func, *_ in self._calls]
        groups = groupby(names, key=lambda name: name in ALONE)
        return sum(len(list(group)) if alone else 1 for alone, group in groups)


class Watch(TorchFunctionMode):
    """Raises WaitError for reads that have no effect on a processor, such as .cpu()."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, or raise WaitError."""
        name, kwargs = getattr(func, '__name__', ''), kwargs or {}
        moves = name == 'to' and any(
            isinstance(one, str | torch.device) for one in [*args[1:], *kwargs.values()]
        )
        if name in READS or moves:
            raise WaitError(f'Tensor.{name}: a GPU waits for this, so it cannot be recorded')
        return func(*args, **kwargs)


def watched(run: Callable[[], R]) -> tuple[Tape, R]:
    """Run a function; return its operations and its result."""
    tape = Tape()
    with Watch(), tape:
        return tape, run()


@contextmanager
def as_if_gpu() -> Iterator[list[Tape]]:
    """Take the code paths of a GPU on the processor; yield what was recorded."""
    tapes: list[Tape] = []

    def record(
        run: Callable[[], R], generator: torch.Generator | None
    ) -> tuple[Callable[[], None], R]:
        """Do as recorded.record_graph does."""
        state = None if generator is None else generator.get_state()
        tape, found = watched(run)
        if generator is not None and state is not None:
            generator.set_state(state)
        tapes.append(tape)
        return tape.replay, found

    with (
        mock.patch.dict(recorded.RECORDERS, cpu=record),
        mock.patch.object(kernels, 'can_pack', return_value=False),
        mock.patch.object(vit, 'can_convolve', return_value=False),
    ):
        yield tapes


def name_of(func: Any) -> str:
    """Return the name of an operation without its kind: aten::add.Tensor is add."""
    name: str = func._schema.name
    return name.rpartition('::')[2]


def is_view(func: Any) -> bool:
    """Return whether the result of an operation is a view of its argument."""
    returns = [one.alias_info for one in func._schema.returns]
    return any(info is not None and not info.is_write for info in returns)


def tensors(found: Any) -> list[Tensor]:
    """Return the tensors that an operation returned."""
    if isinstance(found, Tensor):
        return [found]
    return (
        [one for part in found for one in tensors(part)] if isinstance(found, tuple | list) else []
    )
