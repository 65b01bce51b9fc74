# SPDX-License-Identifier: Apache-2.0
"""Linear layers for inference, with weights in the memory layout that is fastest here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
import platform

from smwm_ros.model.fastest import fastest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

X86 = platform.machine() in ('x86_64', 'AMD64')
LANES = 16  # float32 numbers in the widest register
ROWS = 300  # of the inputs, as the default to optimise the layout for
MANY = 512  # most rows in a timing
AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    'none': lambda x: x,
    'relu': torch.relu_,
    'gelu': F.gelu,
    'swish': partial(F.silu, inplace=True),
    'tanh': torch.tanh_,
}


class PackedLinear:
    """
    A linear layer and its activation, (..., I) -> (..., O), without gradients.

    Weights are packed for oneDNN if that is faster here; results are equal up to rounding.
    """

    def __init__(
        self,
        weight: Tensor,  # (O, I), of any precision
        bias: Tensor,  # (O,)
        after: str = 'none',  # of AFTER
        half: bool = False,  # multiply in bfloat16
        rows: int = ROWS,  # expected rows of the input
    ) -> None:
        kind = torch.bfloat16 if half else torch.float32
        self._weight, self._bias = weight.to(kind), bias.to(kind)
        self._after, self._half = after, half
        self._packed: Tensor | None = None
        if weight.device.type == 'cpu' and can_pack(kind):
            self._pack(rows)

    def _pack(self, rows: int) -> None:
        """Pack the weights for oneDNN, and keep that layout if it is faster."""
        plain, rows = self._weight, min(rows, MANY)
        packed = torch.ops.mkldnn._reorder_linear_weight(plain, rows)
        x = torch.ones(rows, plain.shape[1])

        def go(layout: Tensor | None) -> None:
            self._packed = layout
            self(x)

        outputs, inputs = plain.shape
        task = (
            f'{rows} x {inputs} -> {outputs} {self._after} {plain.dtype}, '
            f'{torch.get_num_threads()} threads'
        )
        with torch.inference_mode():
            forms = {'plain': lambda: go(None), 'packed': lambda: go(packed)}
            self._packed = packed if fastest(task, forms) == 'packed' else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output, float32."""
        if self._half:
            x = x.bfloat16()
        y: Tensor
        if self._packed is not None:
            linear = torch.ops.mkldnn._linear_pointwise.default
            y = linear(x, self._packed, self._bias, self._after, [], 'none')
        else:
            y = AFTER[self._after](F.linear(x, self._weight, self._bias))
        return y.float() if self._half else y


def lane_padding(width: int) -> int:
    """Return how many zero columns make a width a multiple of the SIMD register."""
    return -width % LANES


@cache
def can_pack(kind: torch.dtype) -> bool:
    """
    Return whether weights can be packed for oneDNN here.

    The default kernels of torch leave half of the SIMD width of some x86 processors unused. The
    operators used here are internal to torch.compile and may change, so they are tried once.
    """
    if not X86:
        return False
    x = torch.ones(2, LANES, dtype=kind)
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(x, ROWS)
        y = torch.ops.mkldnn._linear_pointwise.default(x, weight, x[0, :2], 'relu', [], 'none')
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((y == LANES + 1).all())
