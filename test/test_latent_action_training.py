# SPDX-License-Identifier: Apache-2.0
"""Latent actions are learnt from images, grounded by few labels, and measured on held-out data."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import TrainingError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.latent_actions import action_maps
from smwm_ros.latent_actions.bottlenecks import Vq
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.model.regression import r2
from smwm_ros.toys.dots import Moves
from smwm_ros.toys.worlds import draw, JUDGE, record, TOYS
from smwm_ros.training.metrics import collapse_warning, held_out, measure, require_code_book
from smwm_ros.training.train import train
from test_latent_action_model import LATENT, make, window, with_gaps
from test_train import equal, interrupted, read_curves
import torch
from worlds import dot_dataset, half_labelled, hide_actions

pytestmark = pytest.mark.usefixtures('one_thread')
PLANNER = config.Planner()
SHORT = config.Train(steps=30, batch=16, eval_every=10, device='cpu')
SIDE, TRANSITIONS, LABELS = 32, 1000, 100
KNOBS = ['model.kind=latent_action', 'model.latent_action.blur=4', 'model.latent=8']
KNOBS += ['model.hidden=32', 'model.latent_action.hidden=32', 'train.steps=300', 'train.batch=32']
KNOBS += ['train.eval_every=150', 'train.device=cpu', 'train.threads=1', 'train.lr=0.005']


@pytest.fixture
def brief_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit decoder and controller in a few steps."""
    monkeypatch.setattr(action_maps, 'STEPS', 3)


@pytest.fixture(scope='module')
def trained(
    tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> tuple[Checkpoint, Moves, np.ndarray]:
    """Train on dots of which few moves are labelled; return fresh moves, and what is decoded."""
    folder = tmp_path_factory.mktemp('dots')
    toy = TOYS['random']
    record(toy, folder / 'data', 0, TRANSITIONS, SIDE)
    labelled = np.random.default_rng(0).permutation(TRANSITIONS)[:LABELS]
    rows = np.arange(2 * TRANSITIONS)
    hide_actions(folder / 'data' / 'shards' / 'toy', rows[~np.isin(rows // 2, labelled)])
    words = ['train', str(folder / 'data'), '--out', str(folder / 'run'), *KNOBS]
    assert main(words) == 0
    checkpoint = load(folder / 'run')
    moves = draw(toy, 0, JUDGE, 500, SIDE)
    pixels = torch.from_numpy(moves.pixels).permute(1, 0, 4, 2, 3)
    model = checkpoint.model
    decoded = model.infer(model.encode(pixels[0]), model.encode(pixels[1]))
    return checkpoint, moves, checkpoint.scaler.restore(decoded.numpy())


def test_few_labels_tell_which_of_two_dots_is_the_robot(
    trained: tuple[Checkpoint, Moves, np.ndarray],
) -> None:
    checkpoint, moves, decoded = trained
    assert r2(decoded, moves.action).min() > 0.8
    moved = moves.state[:, 1] - moves.state[:, 0]
    for axis in range(2):
        robot, other = (
            np.corrcoef(decoded[:, axis], moved[:, 2 * dot + axis])[0, 1] for dot in (0, 1)
        )
        assert robot**2 > 0.8 > 0.1 > other**2
    found = checkpoint.info.actions
    assert found['moments'] == LABELS
    assert max(found['decoder'].values()) > 0.8
    assert max(found['controller'].values()) > 0.8
    assert checkpoint.info.summary['inverse_r2'] > 0.8
    assert not checkpoint.info.warnings


def test_commands_predict_where_the_robot_will_be(
    trained: tuple[Checkpoint, Moves, np.ndarray],
) -> None:
    checkpoint, moves, _ = trained
    model = checkpoint.model
    pixels = torch.from_numpy(moves.pixels).permute(1, 0, 4, 2, 3)
    now, then = (model.encode(frames) for frames in pixels)
    action = torch.from_numpy(checkpoint.scaler.normalise(moves.action).astype(np.float32))
    sent, mixed = (model.predict(now, part)[:, :8] for part in (action, action.roll(1, 0)))
    error, wrong = ((part - then[:, :8]).square().mean() for part in (sent, mixed))
    assert error < 0.4 * wrong


@pytest.mark.usefixtures('brief_fits')
@pytest.mark.parametrize('bottleneck', ['noisy', 'pvq'])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bottleneck: str
) -> None:
    monkeypatch.setattr(Vq, 'RESET_EVERY', 4)
    lam = replace(LATENT.latent_action, bottleneck=bottleneck, groups=3, codes=32)
    model, data = replace(LATENT, latent_action=lam), half_labelled(tmp_path)
    with interrupted(monkeypatch, 17), pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / 'cut', model, SHORT, PLANNER)
    torch.rand(9)
    resumed = train(data, tmp_path / 'cut', model, SHORT, PLANNER)
    state = torch.get_rng_state()
    whole = train(data, tmp_path / 'whole', model, SHORT, PLANNER)
    assert torch.equal(state, torch.get_rng_state())
    assert equal(resumed, whole)
    assert resumed.info.actions == whole.info.actions
    assert int(whole.model.get_buffer('steps')) == SHORT.steps
    one, two = (read_curves(tmp_path / name) for name in ('cut', 'whole'))
    assert [row['val_forward'] for row in one] == [row['val_forward'] for row in two]


@pytest.mark.usefixtures('brief_fits')
def test_windows_of_several_steps_are_learnt(tmp_path: Path) -> None:
    settings = replace(SHORT, unroll=3)
    found = train(half_labelled(tmp_path), tmp_path / 'run', LATENT, settings, PLANNER)
    assert all(math.isfinite(value) for value in found.info.summary.values())
    assert isinstance(load(tmp_path / 'run').model, LatentActionModel)


@pytest.mark.usefixtures('brief_fits')
def test_a_dataset_without_any_label_is_learnt(tmp_path: Path) -> None:
    hide_actions(dot_dataset(tmp_path / 'dots').folder / 'shards' / 'dots', np.arange(600))
    dots = TransitionDataset.open(tmp_path / 'dots')
    found = train(dots, tmp_path / 'run', LATENT, SHORT, PLANNER).info
    assert found.summary['inverse_r2'] == 0.0
    assert found.summary['anchor'] == 0.0
    assert not found.actions


@pytest.mark.usefixtures('brief_fits')
def test_a_collapsed_code_book_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_code_book({'step': 9.0, 'perplexity_0': 2.0, 'perplexity_1': 9.0, 'nats': 0.1})
    words = r'step 9: a code book has collapsed: its perplexity is 1\.20, expected at least 2'
    with pytest.raises(TrainingError, match=words):
        require_code_book({'step': 9.0, 'perplexity_0': 5.0, 'perplexity_1': 1.2})
    monkeypatch.setattr(Vq, 'perplexity', torch.tensor([1.2]))
    model = replace(LATENT, latent_action=replace(LATENT.latent_action, bottleneck='vq'))
    with pytest.raises(TrainingError, match='step 10: a code book has collapsed'):
        train(dot_dataset(tmp_path / 'dots'), tmp_path / 'run', model, SHORT, PLANNER)


@pytest.mark.usefixtures('brief_fits')
def test_latent_actions_that_carry_nothing_are_reported(tmp_path: Path) -> None:
    fine = {'forward_over_copy': 0.4, 'without_action': 0.9, 'inverse_r2': 0.0, 'latent_std': 0.0}
    assert collapse_warning(fine) is None
    assert collapse_warning({**fine, 'forward_over_copy': 0.80}) is None
    empty = collapse_warning({**fine, 'forward_over_copy': 0.82})
    assert empty is not None
    assert empty.startswith('latent actions carry nothing: with them the forward error is 0.82 of')
    assert 'without them 0.90' in empty
    model = replace(LATENT, latent_action=replace(LATENT.latent_action, bottleneck='zero'))
    found = train(dot_dataset(tmp_path / 'dots'), tmp_path / 'run', model, SHORT, PLANNER)
    assert found.info.warnings[0].startswith('latent actions carry nothing')


def test_measures_are_those_of_the_first_step_without_noise() -> None:
    model, batch = make(), with_gaps(window(steps=2), labels=True)
    found = measure(model, batch)
    now, then, _ = model.maps(batch)
    code = model.latent_action(now, then).mean
    copying = (then - now).square().mean()
    known = torch.arange(24) % 3 == 2
    forward = (model.forward_model(now, code) - then).square().mean() / copying
    without = (model.without_action(now) - then).square().mean() / copying
    assert found['forward_over_copy'] == pytest.approx(forward.item(), rel=1e-4)
    assert found['without_action'] == pytest.approx(without.item(), rel=1e-4)
    action = batch.action[0, known]
    missed = (model.anchor(code)[known] - action).square().mean()
    share = missed / action.var(dim=0, unbiased=False).mean()
    assert found['inverse_r2'] == pytest.approx(1 - share.item(), rel=1e-3)
    assert found['nats'] == pytest.approx(model.latent_action(now, then).nats.mean().item(), 1e-4)
    assert found['active_dimensions'] in (1, 2, 3)
    assert model.training is False
    assert held_out(model.train(), batch, settled=True)['misfit'] == pytest.approx(
        found['forward_over_copy'] + 1 - found['inverse_r2'], rel=1e-4
    )


@pytest.mark.filterwarnings('ignore:.*degrees of freedom')
def test_a_window_alone_is_measured() -> None:
    one = window(1)
    found = measure(make(), Window(Obs(*one.obs), one.action))
    assert found['inverse_r2'] == 0.0, 'one label has no variance'
    assert math.isfinite(found['forward_over_copy'])


@pytest.mark.parametrize('bottleneck', ['sparse', 'none'])
def test_a_rate_that_is_not_defined_is_not_reported(bottleneck: str) -> None:
    model = make(
        replace(LATENT, latent_action=replace(LATENT.latent_action, bottleneck=bottleneck))
    )
    assert 'nats' not in measure(model, window())


def test_dimensions_that_barely_vary_are_not_active() -> None:
    model, batch = make(), window()
    last = list(model.idm.parameters())
    with torch.no_grad():
        last[-2][1] *= 1e-3  # of the three means, the second
    variance = model.latent_action(*model.maps(batch)).mean.var(dim=0)
    assert measure(model, batch)['active_dimensions'] == int(
        (variance > variance.max() / 100).sum()
    )
    assert measure(model, batch)['active_dimensions'] <= 2
