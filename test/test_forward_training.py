# SPDX-License-Identifier: Apache-2.0
"""Training g by itself improves the predictions of whole plans, and changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import logging
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import TrainingError
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.training import forward_training
from smwm_ros.training.batches import Batches
from smwm_ros.training.train import train
import torch
from torch import Tensor
from worlds import dot_dataset, half_labelled, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
PLANNER = config.Planner()
SHORT = config.Train(steps=40, batch=16, eval_every=20, device='cpu', forward_unroll=3)
CPU = torch.device('cpu')


@pytest.fixture
def dots(tmp_path: Path) -> TransitionDataset:
    return dot_dataset(tmp_path / 'dots')


def trained(
    data: TransitionDataset,
    folder: Path,
    on: int = 0,
    model: config.Model = TINY,
    **knobs: object,
) -> Checkpoint:
    settings = replace(SHORT, forward_steps=on, **knobs)  # type: ignore[arg-type]
    return train(data, folder, model, settings, PLANNER)


def errors(made: Checkpoint, data: TransitionDataset, steps: int = 3) -> dict[str, float]:
    """Return the errors over windows, from images and the model alone."""
    starts = data.starts('val', steps * made.action_block)
    frames, _, actions = data.sequence(starts, steps)
    raw = actions.reshape(len(starts), steps, made.action_block, -1)
    sent = torch.from_numpy(made.scaler.normalise(raw)).float().flatten(2)
    model = made.smwm
    with torch.no_grad():
        pixels = torch.from_numpy(frames).flatten(0, 1).permute(0, 3, 1, 2)
        z = model.encode(pixels).view(len(starts), steps + 1, -1)
        ahead = model.rollout(z[:, 0], sent)
        found = {'latent': float((ahead - z[:, 1:]).square().mean())}
        before = torch.cat([z[:, :1], ahead], dim=1)[:, :-1]
        if head := model.state_head:
            apart = head(before, ahead) - head(z[:, :-1], z[:, 1:])
            found['state'] = float(apart.square().mean())
        if model.picture_head:
            apart = model.picture_head(ahead) - model.picture_head(z[:, 1:])
            found['picture'] = float(apart.square().mean())
    return found


def changed(one: Checkpoint, two: Checkpoint) -> set[str]:
    """Return the parts of a model whose weights differ."""
    was: Mapping[str, Tensor] = one.model.state_dict()
    now = two.model.state_dict()
    return {name.split('.')[0] for name in was if not torch.equal(was[name], now[name])}


def test_predictions_improve_and_everything_but_the_forward_model_stays(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    plain, better = trained(dots, tmp_path / 'plain'), trained(dots, tmp_path / 'better', 60)
    assert changed(plain, better) == {'forward_model'}
    assert errors(better, dots)['latent'] < 0.7 * errors(plain, dots)['latent']
    before, after = plain.info.summary, better.info.summary
    assert after['forward_over_copy'] != before['forward_over_copy'], 'measured again'
    assert after['inverse_r2'] == before['inverse_r2']


HEADS = {
    'none': {},
    'state': {'kind': 'state_align'},
    'picture': {'picture_weight': 1.0},
    'both': {'kind': 'state_align', 'picture_weight': 1.0},
}


@pytest.mark.parametrize('heads', HEADS)
def test_the_error_is_that_of_predictions_from_predictions_and_of_what_heads_read_off_them(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: str
) -> None:
    monkeypatch.setattr(forward_training, 'READ_EVERY', 1)
    made = trained(dots, tmp_path / 'run', model=replace(TINY, **HEADS[heads]))  # type: ignore[arg-type]
    windows = forward_training.EncodedWindows(made.smwm, Batches(dots, made.scaler, CPU, steps=3))
    found = windows.errors(made.smwm, dots.starts('val', 3 * made.action_block))
    expected = errors(made, dots)
    assert len(expected) == {'none': 1, 'both': 3}.get(heads, 2)
    assert float(found.mean()) == pytest.approx(sum(expected.values()), rel=1e-4)
    assert found[2] > found[0]


def test_a_run_killed_in_these_steps_ends_with_the_same_weights(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(dots, tmp_path / 'whole', 20)
    with monkeypatch.context() as patch:
        patch.setattr(
            forward_training, '_train', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            trained(dots, tmp_path / 'killed', 20)
    assert not changed(whole, trained(dots, tmp_path / 'killed', 20))


def test_a_result_that_is_worse_on_held_out_windows_is_not_kept(
    dots: TransitionDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = trained(dots, tmp_path / 'plain')
    for rate in (10.0, 1e30):
        monkeypatch.setattr(forward_training, 'RATE', rate)
        with caplog.at_level(logging.WARNING):
            kept = trained(dots, tmp_path / f'run{rate}', 10)
        assert not changed(plain, kept)
        assert 'train.forward_steps: held-out error over 3 model steps' in caplog.text
        caplog.clear()


def test_windows_are_shorter_where_no_episode_is_longer(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'dots')
    longest = max(episode.stop - episode.start for episode in data.episodes)
    made = trained(data, tmp_path / 'run', 20, forward_unroll=100)
    assert changed(trained(data, tmp_path / 'plain'), made) == {'forward_model'}
    batches = Batches(data, made.scaler, CPU)
    steps = forward_training.longest_window(batches, 100)
    assert 1 < steps * made.action_block < longest
    assert len(data.starts('train', steps * made.action_block))
    assert not len(data.starts('train', (steps + 1) * made.action_block))


def test_labels_count_by_their_confidence(tmp_path: Path) -> None:
    data = half_labelled(tmp_path)
    made = trained(dot_dataset(tmp_path / 'all'), tmp_path / 'run')
    batches = Batches(data, made.scaler, CPU, steps=1)
    assert batches.weighted
    windows = forward_training.EncodedWindows(made.smwm, batches)
    starts = data.starts('train', made.action_block)
    sure = data.confidence(starts[:, None] + np.arange(made.action_block)).min(axis=1) == 1
    both = starts[[np.flatnonzero(sure)[0], np.flatnonzero(~sure)[0]]]
    one, other = (float(windows.errors(made.smwm, both[[n]])) for n in (0, 1))
    weight = data.confidence(both[1:, None] + np.arange(made.action_block)).min()
    mixed = (one + weight * other) / (1 + weight)
    assert float(windows.errors(made.smwm, both)) == pytest.approx(mixed, rel=1e-4)


@pytest.mark.parametrize(
    ('model', 'found'),
    [
        (config.Model(preset='tiny'), 'preset tiny'),
        (config.Model(kind='latent_action'), 'kind latent_action'),
    ],
)
def test_other_models_are_refused_before_they_are_trained(
    dots: TransitionDataset, tmp_path: Path, model: config.Model, found: str
) -> None:
    with pytest.raises(
        TrainingError, match=rf'train\.forward_steps: 5, but only .*{found}.*set it to 0'
    ):
        train(dots, tmp_path / 'run', model, replace(SHORT, forward_steps=5), PLANNER)
