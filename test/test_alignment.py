# SPDX-License-Identifier: Apache-2.0
"""States, their changes, velocities and actions are read off any frames of a window."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import ConfigError, DatasetError, TrainingError
from smwm_ros.evaluation.methods import other_kind
from smwm_ros.interfaces import Array, Obs, Window
from smwm_ros.load import load_config
from smwm_ros.model.alignment import StateHead
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import load
from smwm_ros.model.goal_fields import columns_of, velocity_columns
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.batches import Batches
from smwm_ros.training.metrics import known_r2
from smwm_ros.training.new_model import new_model
from smwm_ros.training.train import train
import torch
from torch import Tensor
from worlds import BLOCK, dot_dataset, ROBOT, SIZE, STATE, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
ALIGNED = replace(TINY, kind='state_align')
X, Y = STATE.fields
EVERY: dict[str, Any] = {
    'state_frames': config.ALL,
    'inverse_pairs': config.ALL,
    'state_change_weight': 1.0,
    'velocity_fields': (X,),
    'readout': 'layernorm',
}
TRAINING = config.Train(steps=200, batch=32, lr=1e-2, unroll=2, eval_every=100, device='cpu')
WIDTH, ACTIONS = TINY.latent, 2 * BLOCK


def window(steps: int, states: int = 2, count: int = 5) -> tuple[tuple[Tensor, ...], Window]:
    """Return the latents of a window, and the window."""
    torch.manual_seed(0)
    z = torch.randn(steps + 1, count, WIDTH)
    state = torch.randn(steps + 1, count, states)
    action = torch.randn(steps, count, ACTIONS)
    return tuple(z), Window(Obs(torch.zeros(steps + 1, count), state), action)


def head_of(settings: config.Model, states: int = 2) -> StateHead:
    """Return an untrained head that reads states."""
    head = make_model(settings, SIZE, ACTIONS, states).state_head
    assert head is not None
    return head


def read(head: StateHead, *z: Tensor) -> Array:
    """Return what a head reads off two latents."""
    return head(*z).detach().numpy()


def test_the_first_frame_is_read_from_itself_alone_and_without_what_moves() -> None:
    z, batch = window(2)
    head = head_of(replace(ALIGNED, state_frames=config.ALL))
    head.choose((), np.array([False, True]), np.ones(2))
    states = batch.obs.state.numpy()
    first = (read(head, z[0], z[0])[:, 0] - states[0, :, 0]) ** 2
    pairs = [(read(head, z[t - 1], z[t]) - states[t]) ** 2 for t in (1, 2)]
    wanted = np.concatenate([first, *(pair.ravel() for pair in pairs)]).mean()
    assert head.window_error(z, batch.obs.state).item() == pytest.approx(wanted, rel=1e-5)
    usual = head_of(ALIGNED)
    usual.load_state_dict(head.state_dict(), strict=False)
    wanted = np.mean(pairs)
    assert usual.window_error(z, batch.obs.state).item() == pytest.approx(wanted, rel=1e-5)


def test_changes_are_read_off_any_two_frames_that_were_both_measured() -> None:
    z, batch = window(3)
    head = head_of(replace(ALIGNED, state_change_weight=0.5))
    head.fit(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    scale = np.array([0.1, 10.0])
    head.choose((), np.zeros(2, bool), scale)
    state = batch.obs.state.clone()
    state[1, 2] = torch.nan
    squares = []
    for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        assert head.change
        found = head.change(torch.cat([z[i], z[j]], dim=1)).detach().numpy()
        true = (state[j] - state[i]).numpy() / scale
        squares.append((found - true)[np.isfinite(true)] ** 2)
    wanted = np.concatenate(squares).mean()
    error = head.change_error(z, state)
    assert error.item() == pytest.approx(wanted, rel=1e-4)
    error.backward()
    grads = [part.grad for name, part in head.named_parameters() if name.startswith('change')]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    assert head.change_error(z, torch.full_like(state, torch.nan)).item() == 0.0


def test_the_change_counts_by_its_weight_and_shapes_the_latent() -> None:
    terms = []
    for weight in (0.5, 1.0):
        z, batch = window(2)
        z = tuple(frame.requires_grad_() for frame in z)
        torch.manual_seed(1)
        model = make_model(replace(ALIGNED, state_change_weight=weight), SIZE, ACTIONS, 2)
        terms.append(model.terms(z, batch)['state_change'])
    assert terms[1].item() == pytest.approx(2 * terms[0].item(), rel=1e-5)
    for gradient in torch.autograd.grad(terms[1], z):
        assert gradient.any()


def test_frames_far_apart_infer_the_actions_of_the_first_model_step_between_them() -> None:
    z, batch = window(3)
    weight = torch.rand(3, 5)
    model = make_model(replace(TINY, inverse_pairs=config.ALL, inverse_weight=3.0), SIZE, ACTIONS)
    assert model.far_inverse
    layers, share = model.far_inverse.layers, weight / weight.mean()
    errors = []
    for i, j in ((0, 2), (0, 3), (1, 3)):
        apart = torch.full((5, 1), 1 / (j - i))
        found = layers(torch.cat([z[i], z[j] - z[i], apart], dim=1))
        squares = (found - batch.action[i]).square().mean(dim=1)
        errors.append((squares * share[i]).mean().item())
    found = model.terms(z, batch._replace(weight=weight))['far_inverse'].item()
    assert found == pytest.approx(3 * np.mean(errors), rel=1e-5)
    assert 'far_inverse' not in make_model(TINY, SIZE, ACTIONS).terms(z, batch)


def test_a_head_reads_the_chosen_fields_alone() -> None:
    settings = replace(ALIGNED, state_fields=(Y,), state_change_weight=1.0)
    z, batch = window(2)
    head = head_of(settings)
    head.choose((1,), np.zeros(1, bool), np.ones(1))
    state = batch.obs.state.clone()
    state[..., 0] = torch.nan
    assert head(z[0], z[1]).shape == (5, 1)
    wanted = np.mean(
        [(read(head, z[t - 1], z[t])[:, 0] - state[t, :, 1].numpy()) ** 2 for t in (1, 2)]
    )
    assert head.window_error(z, state).item() == pytest.approx(wanted, rel=1e-5)
    assert head.change_error(z, state).item() > 0
    assert columns_of((Y,), settings, ROBOT) == [0], 'the numbers of what is read'
    with pytest.raises(ConfigError, match=r"planner\.focus: '.*x': not in the state.*y"):
        columns_of((X,), settings, ROBOT)


def test_a_velocity_is_the_change_in_the_raw_step_before(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    dots._states[7] = np.nan
    batches = Batches(dots, dots.action_scaler(), torch.device('cpu'), velocities=(1,))
    rows = np.array([0, 1, 2, 7, 8, 9, 30, 31])
    found = batches.states(rows)
    y = dots.states(np.arange(32))[:, 1]
    wanted = (y[rows] - y[np.maximum(rows - 1, 0)]) / dots.info.spec.dt
    wanted[[0, 6]] = np.nan  # begin drives
    assert np.isnan(wanted).tolist() == [True, False, False, True, True, False, True, False]
    np.testing.assert_allclose(found[:, 2], wanted, rtol=1e-5)
    np.testing.assert_array_equal(found[:, :2], dots.states(rows))
    assert batches.at(np.array([1])).obs.state.shape == (2, 1, 3)


def test_scales_are_those_of_what_is_read(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    settings = replace(ALIGNED, state_fields=(Y,), **{**EVERY, 'velocity_fields': (X,)})
    head = new_model(dots, settings, 0).state_head
    assert head is not None
    rows = np.concatenate(
        [np.arange(e.start, e.stop) for e in dots.episodes if e.split == 'train']
    )
    states = dots.states(rows).astype(np.float64)
    assert head.mean.tolist()[0] == pytest.approx(states[:, 1].mean(), rel=1e-4)
    speeds = [
        np.diff(dots.states(np.arange(*span[:2]))[:, 0].astype(np.float64)) / 0.1
        for span in dots.episodes
        if span.split == 'train'
    ]
    assert head.std.tolist()[1] == pytest.approx(np.concatenate(speeds).std(), rel=1e-3)
    assert head.moving.tolist() == [False, True]
    starts = dots.starts('train')
    changes = (dots.states(starts + BLOCK) - dots.states(starts))[:, 1]
    assert head.change_std.item() == pytest.approx(changes.std(), rel=1e-3)
    assert head.columns.tolist() == [1]


def measured_seldom(folder: Path) -> TransitionDataset:
    """Return drives of which three in twenty have measured states."""
    dots = dot_dataset(folder / 'dots')
    drives = [*dots.episodes]
    kept = {
        *[d for d in drives if d.split == 'train'][:2],
        next(d for d in drives if d[2] == 'val'),
    }
    for drive in drives:
        if drive not in kept:
            dots._states[drive.start : drive.stop] = np.nan
    return dots


def test_few_measured_drives_ground_a_model_which_loads_and_plans(tmp_path: Path) -> None:
    dots = measured_seldom(tmp_path)
    settings = replace(ALIGNED, **EVERY)
    found = train(dots, tmp_path / 'run', settings, TRAINING, config.Planner(focus=(Y,)))
    assert found.info.summary['state_r2'] > 0.5
    assert found.info.summary['state_change_r2'] > 0.5
    loaded = load(tmp_path / 'run')
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, found.model.state_dict()[name]), name
    pilot = Pilot(loaded)
    image = dots.pixels(np.array([0]))[0]
    pilot.set_goal(dots.pixels(np.array([20]))[0])
    assert np.isfinite(pilot.plan(image, 0).actions).all()


def test_a_checkpoint_from_before_these_knobs_loads(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    short = replace(TRAINING, steps=2)
    made = train(dots, tmp_path / 'run', ALIGNED, short, config.Planner())
    names = {name for name in made.model.state_dict() if name.startswith('state_head')}
    assert names == {
        'state_head.mean', 'state_head.std',
        *(f'state_head.layers.{n}.{kind}' for n in (0, 2, 4) for kind in ('weight', 'bias')),
    }  # fmt: skip
    path = tmp_path / 'run' / 'meta.json'
    meta = json.loads(path.read_text())
    for name in ('readout', 'inverse_pairs', *config.ALIGNS):
        del meta['model'][name], meta['info']['model'][name]
    path.write_text(json.dumps(meta))
    assert load(tmp_path / 'run').model_config == ALIGNED
    again = train(dots, tmp_path / 'run', ALIGNED, short, config.Planner())
    assert again.model_config == ALIGNED


def test_what_reads_two_latents_may_have_layer_normalisation() -> None:
    model = make_model(replace(ALIGNED, **EVERY), SIZE, ACTIONS, 2)
    assert model.state_head is not None
    assert model.far_inverse is not None
    for part in (model.state_head, model.inverse_model, model.far_inverse):
        assert any(isinstance(layer, torch.nn.LayerNorm) for layer in part.layers)
    z = torch.randn(6, WIDTH)
    assert model.infer(z, z).std(dim=0).max() < 1e-5, 'begins from the difference alone'


@pytest.mark.parametrize('knob', ['state_fields', 'velocity_fields'])
def test_fields_that_were_not_measured_are_refused(knob: str, tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    chosen: dict[str, Any] = {knob: ('pose.pose.position.z',)}
    settings = replace(ALIGNED, **chosen)
    reported = r"'.*position\.z': not in the state.*position\.y"
    with pytest.raises(ConfigError, match=rf'model\.{knob}: {reported}'):
        train(dots, tmp_path / 'run', settings, TRAINING, config.Planner())
    for words, reported in ('pose..x', 'not a field path'), (f'{X},{X}', 'more than once'):
        with pytest.raises(ConfigError, match=rf'model\.{knob}: .*{reported}'):
            load_config(None, [f'model.{knob}=[{words}]'])


def test_no_velocity_is_derived_from_a_velocity() -> None:
    fields = ('position[name=elbow]', 'velocity[name=elbow]', 'twist.twist.linear.x')
    for field in fields[1:]:
        with pytest.raises(ConfigError, match=r'model\.velocity_fields: .* is no position'):
            velocity_columns(replace(ALIGNED, velocity_fields=(field,)), fields)
    assert velocity_columns(replace(ALIGNED, velocity_fields=fields[:1]), fields) == [0]


@pytest.mark.parametrize(
    ('knobs', 'reported'),
    [
        ({'velocity_fields': (X,)}, r'velocity_fields.*no two successive ticks'),
        ({'state_change_weight': 1.0}, r'state_change_weight.*no training transition'),
    ],
)
def test_states_that_were_measured_too_seldom_are_reported(
    knobs: dict[str, Any], reported: str, tmp_path: Path
) -> None:
    dots = dot_dataset(tmp_path / 'dots', unmeasured=slice(0))
    odd = np.arange(len(dots)) % 3 > 0
    dots._states[odd] = np.nan
    with pytest.raises(DatasetError, match=reported):
        train(dots, tmp_path / 'run', replace(ALIGNED, **knobs), TRAINING, config.Planner())


def test_a_field_that_was_never_measured_may_be_left_out(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    dots._states[:, 0] = np.nan
    short = replace(TRAINING, steps=2)
    with pytest.raises(DatasetError, match=r"no training tick has a measured '.*x'.*state_fields"):
        train(dots, tmp_path / 'run', ALIGNED, short, config.Planner())
    settings = replace(ALIGNED, state_fields=(Y,))
    found = train(dots, tmp_path / 'run', settings, short, config.Planner())
    assert found.info.summary['val_state'] > 0


def test_what_was_not_trained_is_no_focus() -> None:
    settings = replace(ALIGNED, state_weight=0.0)
    with pytest.raises(ConfigError, match=r'planner\.focus: .* model\.state_weight=0'):
        columns_of((X,), settings, ROBOT)


def test_knobs_that_a_kind_does_not_have_are_refused_and_left_out_of_comparisons() -> None:
    settings = replace(ALIGNED, **EVERY, state_fields=(X,))
    for name in config.ALIGNS:
        mine = replace(TINY, **{name: getattr(settings, name)})
        with pytest.raises(ConfigError, match=rf'model\.{name}: kind smwm reads no state'):
            make_model(mine, SIZE, ACTIONS)
    with pytest.raises(ConfigError, match=r'model\.inverse_pairs: kind sigreg has no inverse'):
        make_model(replace(TINY, kind='sigreg', inverse_pairs=config.ALL), SIZE, ACTIONS)
    for kind in ('smwm', 'sigreg', 'forward_only'):
        make_model(other_kind(settings, kind), SIZE, ACTIONS)
    assert other_kind(settings, 'state_align+sigreg').state_fields == (X,)


def test_pairs_further_apart_than_a_window_is_long_are_refused(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    settings = replace(TINY, inverse_pairs=config.ALL)
    with pytest.raises(TrainingError, match=r'model\.inverse_pairs: all.*train\.unroll to 2'):
        train(dots, tmp_path / 'run', settings, replace(TRAINING, unroll=1), config.Planner())


def test_r2_counts_what_was_measured() -> None:
    true = torch.tensor([[0.0, 1.0], [2.0, torch.nan], [4.0, 3.0]])
    assert known_r2(true.nan_to_num(9.0), true) == 1.0
    means = torch.tensor([[2.0, 2.0]]).expand(3, 2)
    assert known_r2(means, true) == pytest.approx(0.0)
    assert known_r2(means, torch.full_like(true, torch.nan)) == 0.0
