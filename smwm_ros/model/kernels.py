# SPDX-License-Identifier: Apache-2.0
"""Matrix products that are done again and again: weights in the layout the processor likes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
import platform

from smwm_ros.model.fastest import fastest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

X86 = platform.machine() in ('x86_64', 'AMD64')
LANES = 16  # float32 numbers in the widest register
ROWS = 300  # for which weights are laid out if nothing else is known
MANY = 512  # rows; more are not worth the time it takes to time them
AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    'none': lambda x: x,
    'relu': torch.relu_,
    'gelu': F.gelu,
    'swish': partial(F.silu, inplace=True),
    'tanh': torch.tanh_,
}


class PackedLinear:
    """
    A linear layer and what follows it, (..., I) -> (..., O), without gradients.

    Weights are laid out for oneDNN where that is faster here; the numbers are the same up to
    rounding.
    """

    def __init__(
        self,
        weight: Tensor,  # (O, I), of any precision
        bias: Tensor,  # (O,)
        after: str = 'none',  # of AFTER
        half: bool = False,  # multiplies in bfloat16
        rows: int = ROWS,  # about how many there will be
    ) -> None:
        kind = torch.bfloat16 if half else torch.float32
        self._weight, self._bias = weight.to(kind), bias.to(kind)
        self._after, self._half = after, half
        self._packed: Tensor | None = None
        if weight.device.type == 'cpu' and can_pack(kind):
            self._pack(rows)

    def _pack(self, rows: int) -> None:
        """Lay the weights out for oneDNN, and keep that if it is faster."""
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
        """Apply; the result is float32."""
        if self._half:
            x = x.bfloat16()
        y: Tensor
        if self._packed is not None:
            linear = torch.ops.mkldnn._linear_pointwise.default
            y = linear(x, self._packed, self._bias, self._after, [], 'none')
        else:
            y = AFTER[self._after](F.linear(x, self._weight, self._bias))
        return y.float() if self._half else y


def gap(width: int) -> int:
    """Return how many zeros fill the last register of inputs; it is slower half empty."""
    return -width % LANES


@cache
def can_pack(kind: torch.dtype) -> bool:
    """
    Say whether weights can be laid out for oneDNN here.

    What torch calls otherwise leaves half of the width of some x86 processors unused. The calls
    are those of torch's own compiler, and nobody promises that they stay.
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
