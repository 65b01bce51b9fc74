# SPDX-License-Identifier: Apache-2.0
"""A checkpoint knows how far apart in its latent frames are that lie so long apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.model.checkpoint import load, META
from smwm_ros.model.info import Info
from smwm_ros.training.latent_scale import distance_of, measure_distances, TICKS
from smwm_ros.training.train import train
from worlds import dot_dataset, TINY, tiny_checkpoint


def test_latent_distances_of_driving_grow_with_time(tmp_path: Path) -> None:
    still = np.zeros((20, 30, 2))
    still[..., 0] = 0.2  # straight ahead, all the time
    measured = measure_distances(tiny_checkpoint().model, dot_dataset(tmp_path, actions=still))
    assert measured['ticks'] == list(TICKS)
    for low, median, high in zip(*(measured[n] for n in ('low', 'median', 'high')), strict=True):
        assert 0 <= low <= median <= high
    assert measured['median'][0] < measured['median'][4] < measured['median'][7]


def test_half_of_the_distances_are_below_the_median(tmp_path: Path) -> None:
    found = measure_distances(tiny_checkpoint().model, dot_dataset(tmp_path, val_share=0.3))
    for low, median, high in zip(found['low'], found['median'], found['high'], strict=True):
        assert 0 < low < median < high


def test_short_episodes_are_measured_as_far_as_they_go(tmp_path: Path) -> None:
    measured = measure_distances(tiny_checkpoint().model, dot_dataset(tmp_path, length=6))
    assert measured['ticks'] == [1, 2, 3, 4, 5]


def test_between_measured_ticks_distances_are_interpolated() -> None:
    info = Info(distances={'ticks': [1, 2, 4], 'median': [0.5, 0.8, 1.2]})
    found = [distance_of(info, ticks) for ticks in (0.0, 0.5, 1.0, 3.0, 9.0)]
    assert found == pytest.approx([0.0, 0.25, 0.5, 1.0, 1.2])
    assert distance_of(Info(), 2.0) is None


def test_training_measures_and_a_finished_run_is_measured_without_training(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'data')
    words = (TINY, config.Train(steps=2, batch=4, device='cpu'), config.Planner())
    made = train(data, tmp_path / 'run', *words)
    assert distance_of(made.info, 2.0)
    assert distance_of(load(tmp_path / 'run' / 'best').info, 2.0)
    path = tmp_path / 'run' / META
    meta = json.loads(path.read_text())
    del meta['info']['distances']  # as an older version wrote it
    path.write_text(json.dumps(meta))
    old = load(tmp_path / 'run')
    assert distance_of(old.info, 2.0) is None
    again = train(data, tmp_path / 'run', *words)
    assert made.info.distances
    assert again.info.distances
    assert load(tmp_path / 'run').info.distances == again.info.distances
    for name, values in again.info.distances.items():
        assert values == pytest.approx(made.info.distances[name])
