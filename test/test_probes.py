# SPDX-License-Identifier: Apache-2.0
"""A probe is judged by frames that it was not fitted to, and so is whatever else is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation import examine as examining
from smwm_ros.evaluation.examine import examine
from smwm_ros.evaluation.probes import linear, nonlinear
from smwm_ros.interfaces import Array, Window
from smwm_ros.model.any_model import make_model
from smwm_ros.model.regression import r2
from smwm_ros.toys import judge
from smwm_ros.toys.worlds import TOYS
from smwm_ros.training.batches import Batches
from smwm_ros.training.latent_scale import measure_distances
from smwm_ros.training.new_model import new_model
from smwm_ros.training.train import train
import torch
from worlds import dot_dataset, TINY, tiny_checkpoint

pytestmark = pytest.mark.usefixtures('one_thread')
CPU = torch.device('cpu')


def rows_of(data: TransitionDataset, split: str) -> set[int]:
    mine = [e for e in data.episodes if e.split == split]
    return {row for e in mine for row in range(e.start, e.stop)}


class Watched:
    """A dataset that notes which rows are looked at."""

    def __init__(self, data: TransitionDataset, patch: pytest.MonkeyPatch) -> None:
        self.seen, pixels = set[int](), data.pixels

        def noted(rows: Array) -> Array:
            self.seen |= set(np.ravel(rows).tolist())
            return pixels(rows)

        patch.setattr(data, 'pixels', noted)


@pytest.fixture
def noise(tmp_path: Path) -> TransitionDataset:
    """Return drives whose measured state has nothing to do with what is seen."""
    data = dot_dataset(tmp_path, episodes=8, length=12, val_share=0.3)
    data._states = np.random.default_rng(1).standard_normal(data._states.shape).astype(np.float32)
    return data


def test_nothing_is_read_off_latents_of_what_they_do_not_show(noise: TransitionDataset) -> None:
    found = examine(tiny_checkpoint(), noise, 1000, CPU)
    assert found.measures['linear_r2'] < 0
    # A probe of 256 units learns the few held-out frames by heart if it is shown them.
    assert found.measures['nonlinear_r2'] < 0.05


def test_probes_are_fitted_to_training_frames_and_judged_by_all_held_out_ones(
    noise: TransitionDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {state.tobytes(): row for row, state in enumerate(noise.states(np.arange(len(noise))))}
    fitted, judged = list[set[int]](), list[set[int]]()

    def numbers(states: Array) -> set[int]:
        return {place[state.astype(np.float32).tobytes()] for state in states}

    def heard(fit: Any) -> Any:
        def noted(inputs: Array, targets: Array) -> Any:
            fitted.append(numbers(targets))
            return fit(inputs, targets)

        return noted

    def scored(read: Array, true: Array) -> Array:
        if len(true) and true[0].astype(np.float32).tobytes() in place:
            judged.append(numbers(true))
        return r2(read, true)

    for name, part in {
        'linear': heard(linear),
        'nonlinear': heard(nonlinear),
        'r2': scored,
    }.items():
        monkeypatch.setattr(examining, name, part)
    examine(tiny_checkpoint(), noise, 1000, CPU)
    assert len(fitted) == len(judged) == 2
    for one in fitted:
        assert one == set(noise.starts('train').tolist())
    for one in judged:
        assert one == set(noise.starts('val').tolist())
        assert one <= rows_of(noise, 'val')


def test_training_deals_training_windows_and_looks_at_held_out_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dot_dataset(tmp_path / 'data', episodes=8, length=12, val_share=0.3)
    dealt, at = list[set[int]](), Batches.at

    def noted(self: Batches, starts: Array, share: slice = slice(None)) -> Window:
        reach = np.arange(self.steps * data.info.action_block + 1)
        dealt.append(set((np.ravel(starts)[:, None] + reach).ravel().tolist()))
        return at(self, starts, share)

    monkeypatch.setattr(Batches, 'at', noted)
    settings = config.Train(steps=8, batch=16, device='cpu')
    train(data, tmp_path / 'run', TINY, settings, config.Planner())
    looked, *learnt = dealt
    assert looked == rows_of(data, 'val')
    assert len(learnt) == settings.steps
    assert set.union(*learnt) == rows_of(data, 'train')


def test_the_scale_of_the_measured_state_is_that_of_training_rows(
    noise: TransitionDataset,
) -> None:
    states = noise.states(np.array(sorted(rows_of(noise, 'train')))).astype(np.float64)
    head = new_model(noise, replace(TINY, kind='state_align'), 0).state_head
    assert head is not None
    assert np.allclose(head.mean, states.mean(0), atol=1e-6)
    assert np.allclose(head.std, states.std(0), atol=1e-6)


def test_what_near_means_is_measured_on_held_out_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dot_dataset(tmp_path, episodes=8, length=30, val_share=0.3)
    watched = Watched(data, monkeypatch)
    measure_distances(tiny_checkpoint().model, data)
    assert watched.seen
    assert watched.seen <= rows_of(data, 'val')


def test_the_probe_of_a_toy_world_is_judged_by_the_other_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blank, settings = tiny_checkpoint(), config.Model(preset='toy')
    model = make_model(settings, 16, 2).eval().requires_grad_(False)
    toy = blank._replace(model=model, model_config=settings)
    fitted, judged = list[Array](), list[Array]()

    def noted(inputs: Array, targets: Array) -> Any:
        fitted.append(targets)
        return linear(inputs, targets)

    def scored(read: Array, true: Array) -> Array:
        judged.append(true)
        return r2(read, true)

    monkeypatch.setattr(judge, 'linear', noted)
    monkeypatch.setattr(judge, 'r2', scored)
    found = judge.judge(TOYS['single'], toy, 0, 40)
    states = found.moves.state[:, 0]
    assert np.array_equal(fitted[0], states[:20])
    assert np.array_equal(judged[0], states[20:])
