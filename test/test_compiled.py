# SPDX-License-Identifier: Apache-2.0
"""A machine without a compiler computes the same, and says what is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from smwm_ros.model.compiled import Compiled
import torch
from torch import Tensor


def test_without_a_compiler_one_warning_is_logged_and_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def cannot(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def fail(x: Tensor) -> Tensor:
            tries.append(x)
            raise RuntimeError('No working C++ compiler found\nand much more')

        return fail

    monkeypatch.setattr(torch, 'compile', cannot)
    double = Compiled(lambda x: 2 * x)
    for _ in range(3):
        assert float(double(torch.tensor(2.0))) == 4
    assert len(tries) == 1
    (record,) = caplog.records
    reported = record.getMessage()
    assert record.levelname == 'WARNING'
    assert reported.count('torch.compile failed (No working C++ compiler found); continuing') == 1
    assert 'g++' in reported


def test_a_mistake_of_the_function_itself_is_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, 'compile', lambda function: function)
    with pytest.raises(RuntimeError, match='size'):
        Compiled(torch.dot)(torch.zeros(2), torch.zeros(3))
    assert not caplog.records
