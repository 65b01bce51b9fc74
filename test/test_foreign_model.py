# SPDX-License-Identifier: Apache-2.0
"""Models of SMWM and LeWM come in, and do what they did at home."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from official import (
    ACTIONS,
    draw,
    numbers,
    pixels,
    shapes,
    signs,
    state_dict,
    VECTORS,
    version_4,
    write_lewm,
    write_smwm,
)
import pytest
from smwm_ros import config
from smwm_ros.exchange.foreign_model import read_original
from smwm_ros.exchange.tensor_names import plain, theirs
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.past import joined, Recent
from smwm_ros.model.vit import Predictor, PredictorBlock
from smwm_ros.model.world_model import Smwm
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.training.learner import Learner
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('one_thread')
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Smwm]:
    folder = tmp_path_factory.mktemp('official')
    wrapped = 'model._orig_mod.{}'.format  # as torch.compile leaves it
    return {
        'smwm_1': read_original(write_smwm(folder / 'one')).build(224),
        'smwm_3': read_original(write_smwm(folder / 'three', 3, wrapped)).build(224),
        'lewm_3': read_original(write_lewm(folder / 'lewm')).build(224),
    }


def same(found: Tensor, name: str, what: str) -> bool:
    """Compare every 12th number of latents, or all of something smaller."""
    found = found[..., ::12] if found.shape[-1] == 192 else found
    return found.flatten().tolist() == pytest.approx(VECTORS[name][what], abs=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize('name', ['smwm_1', 'smwm_3', 'lewm_3'])
def test_a_model_that_came_in_does_what_the_original_does(
    models: dict[str, Smwm], name: str
) -> None:
    model, history = models[name], int(name[-1])
    z = model.encode(pixels(1, 2, 3, 224, 224))
    assert same(z, name, 'encode')
    assert isinstance(model.forward_model, Predictor)
    latents, actions = numbers(6, 2, history, 192), numbers(5, 2, history, ACTIONS)
    assert same(model.forward_model.predict_sequence(latents, actions), name, 'predict')
    if 'inverse' in VECTORS[name]:
        assert same(model.infer(z[:1], z[1:]), name, 'inverse')
        assert same(model.encode(pixels(2, 1, 3, 64, 64)), name, 'encode_64')
    if 'rollout' in VECTORS[name]:
        plans, goal = numbers(4, 1, 4, 5, ACTIONS), model.encode(pixels(3, 1, 3, 224, 224))
        assert same(model.rollout(z[:1].expand(4, -1), plans[0]), name, 'rollout')
        limit = torch.full((ACTIONS,), 9.0)
        cost = Costs(model, config.Planner(cost='last'), Bounds(-limit, limit, 5))
        found = cost(z[:1], goal, plans).flatten().tolist()
        assert found == pytest.approx(VECTORS[name]['cost'], rel=1e-5)


@torch.inference_mode()
def test_a_rollout_begins_from_three_frames_as_that_of_smwm_does(
    models: dict[str, Smwm],
) -> None:
    model, plans = models['smwm_3'], numbers(4, 4, 5, ACTIONS)
    g, seen, past = model.forward_model, numbers(6, 4, 3, 192), numbers(5, 4, 2, ACTIONS)
    assert isinstance(g, Predictor)

    def original(known: Tensor, sent: Tensor) -> Tensor:
        begun, actions = known.shape[1], torch.cat([sent, plans], dim=1)
        for end in range(begun, begun + plans.shape[1]):
            recent = slice(max(end - 3, 0), end)
            latest = g.predict_sequence(known[:, recent], actions[:, recent])[:, -1:]
            known = torch.cat([known, latest], dim=1)
        return known[:, begun:]

    ours = model.rollout(seen[:, -1], plans)
    assert (ours - original(seen[:, -1:], past[:, :0])).abs().max() < 1e-5
    assert (ours - original(seen, past)).abs().max() > 0.1
    ours = model.rollout(joined(Recent(seen, past)), plans)
    assert (ours - original(seen, past)).abs().max() < 1e-5


def undropped(model: Smwm) -> Smwm:
    """Take chance out of training."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(part, PredictorBlock):
            part.drop = 0.0
    return model


def test_a_step_of_training_equals_that_of_the_original_in_float64(tmp_path: Path) -> None:
    model = undropped(read_original(write_smwm(tmp_path / 'run')).build(224)).requires_grad_(True)
    settings = config.Train(batch=4, lr=1e-4, weight_decay=1e-3, warmup=0.0, device='cpu')
    frames = pixels(7, 4, 2, 3, 224, 224).transpose(0, 1)
    batch = Window(Obs(frames, torch.zeros(2, 4, 0)), numbers(8, 4, 1, ACTIONS).transpose(0, 1))
    before = {name: x.detach().double().numpy().copy() for name, x in model.named_parameters()}
    expected = VECTORS['step']
    terms = Learner(model, settings, CPU).step(1, batch)
    assert float(terms['forward']) == pytest.approx(expected['forward'], rel=1e-5)
    assert float(terms['inverse']) == pytest.approx(0.1 * expected['inverse'], rel=1e-5)
    for name, weight in model.named_parameters():
        official = theirs(name)
        sign, slope = signs(official, tuple(weight.shape)), weight.grad
        assert slope is not None
        size, along, moved = expected['tensors'][official]
        gradient = slope.double().numpy()
        assert np.linalg.norm(gradient) == pytest.approx(size, rel=1e-3, abs=1e-7), name
        assert (gradient * sign).sum() == pytest.approx(along, rel=1e-3, abs=3e-3 * size + 1e-6)
        # A gradient of nearly nothing is all rounding, and Adam makes it as large as any other.
        change = weight.detach().double().numpy() - before[name]
        if size > 1e-5:
            near = 0.01 * settings.lr * sign.size
            assert (change * sign).sum() == pytest.approx(moved, abs=near), name
    for name, buffer in model.named_buffers():
        if 'running' in name:
            assert buffer[::512].tolist() == pytest.approx(
                expected['buffers'][theirs(name)], rel=1e-4, abs=1e-6
            )


def test_every_name_of_others_is_known() -> None:
    names = shapes(history=1)
    assert len(names) == 309
    for wrap in ('{}', 'model.{}', 'module.{}', '_orig_mod.{}', 'model._orig_mod.{}'):
        for rename in (str, version_4):
            given = {wrap.format(rename(name)): torch.zeros(1) for name in names}
            assert set(plain(given)) == set(names)
    inner = {'model.encoder._orig_mod.layers.0.mlp.fc1.bias': torch.zeros(1)}
    assert list(plain(inner)) == ['encoder.layers.0.mlp.fc1.bias']


def test_weights_that_are_drawn_again_are_the_same() -> None:
    # By which the weights here are known to be those that the vectors were made with.
    name = 'encoder.layers.3.mlp.fc1.weight'
    assert draw(name, (768, 192))[5, 7].item() == pytest.approx(-0.0464781113, abs=1e-9)
    assert set(state_dict()) == set(shapes(1))
