# SPDX-License-Identifier: Apache-2.0
"""Compile functions with torch.compile where the machine supports it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
import logging
from typing import Generic, ParamSpec, TypeVar

import torch

_log = logging.getLogger(__name__)

P = ParamSpec('P')
R = TypeVar('R')


class Compiled(Generic[P, R]):
    """
    A function that is compiled at its first call, or stays as it is if that fails.

    torch.compile needs a C++ compiler, and on a GPU the Python headers.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self._plain = function
        self._call: Callable[P, R] = torch.compile(function)
        self._tried = False
        self.failed = False  # whether the plain function is used

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Apply."""
        if self._tried:
            return self._call(*args, **kwargs)
        try:
            result = self._call(*args, **kwargs)
        except (
            Exception
        ) as error:  # of a compiler, of any type; other errors are raised again below
            result = self._plain(*args, **kwargs)
            self._call, self.failed = self._plain, True
            why = (str(error).strip() or repr(error)).splitlines()[0]
            _log.warning(
                'torch.compile failed (%s); continuing without it, which is slower; install a C++ '
                'compiler and the Python headers (on Debian and Ubuntu: g++ and python3-dev)',
                why,
            )
        self._tried = True
        return result


def fused(function: Callable[P, R], device: torch.device) -> Callable[P, R]:
    """
    Return a function that launches fewer kernels on a GPU, compiled if Triton is installed.

    Triton fuses the element-wise operations between two matrix products.
    """
    return Compiled(function) if device.type == 'cuda' and find_spec('triton') else function
