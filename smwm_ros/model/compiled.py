# SPDX-License-Identifier: Apache-2.0
"""Functions that torch makes faster by compiling them, on machines that can."""

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
    A function, compiled at its first call.

    That needs a C++ compiler, and on a GPU the headers of Python, which many machines lack: there
    it stays what it was, only slower.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self._plain = function
        self._call: Callable[P, R] = torch.compile(function)
        self._tried = False
        self.failed = False  # it stayed what it was

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Apply."""
        if self._tried:
            return self._call(*args, **kwargs)
        try:
            result = self._call(*args, **kwargs)
        except Exception as error:  # compilers fail in many ways; what else is wrong comes again
            result = self._plain(*args, **kwargs)
            self._call, self.failed = self._plain, True
            why = (str(error).strip() or repr(error)).splitlines()[0]
            _log.warning(
                'torch could not compile (%s), so this is slower; install a C++ compiler and the '
                'headers of Python (on Debian and Ubuntu: g++ and python3-dev)',
                why,
            )
        self._tried = True
        return result


def fused(function: Callable[P, R], device: torch.device) -> Callable[P, R]:
    """
    Return a function that needs fewer kernels on a GPU.

    Triton joins what lies between two products; without it, launches are recorded as they are.
    """
    return Compiled(function) if device.type == 'cuda' and find_spec('triton') else function
