# SPDX-License-Identifier: Apache-2.0
"""The benchmark of training runs, from the frames that it draws to its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.mark.usefixtures('one_thread')
def test_nano_trains_on_drawn_frames_and_its_rows_are_explained(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('STABLE_WORLDMODEL_PYTHON', raising=False)
    task = bench.train.Task('nano', 64, 200, 8, 1, 2)
    dataset = bench.train.noise(tmp_path / 'data', task)
    rows = list(bench.train.beside_platform(dataset, task, torch.device('cpu')))
    assert [row.measure for row in rows] == ['train.nano', 'train.nano.loading']
    assert all(row.value > 0 for row in rows)
    assert {row.measure for row in rows} <= set(bench.common.TARGETS)


@pytest.mark.usefixtures('one_thread')
def test_the_gain_of_compiling_is_measured_beside_the_same_training_without_it(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def compiled(function: Any) -> Any:
        def call(*args: Any, **words: Any) -> Any:
            calls.append(function)
            return function(*args, **words)

        return call

    monkeypatch.setattr(torch, 'compile', compiled)  # a C++ compiler takes half a minute
    task = bench.train.Task('nano', 64, 200, 8, 1, 2)
    dataset = bench.train.noise(tmp_path / 'data', task)
    gain, wait = bench.train.compile_gain(dataset, task, torch.device('cpu'))
    assert len(calls) == 3, 'one run that compiles, and two rounds'
    assert (gain.measure, wait.measure) == ('train.nano.compile', 'train.nano.compile_wait')
    assert min(gain.value, gain.peer_value) > 0
    assert {gain.measure, wait.measure} <= set(bench.common.TARGETS)
