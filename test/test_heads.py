# SPDX-License-Identifier: Apache-2.0
"""Small heads beside the forward model: they only listen, and disagree where there was no data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from smwm_ros.config import Model
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import load, save
from smwm_ros.model.networks import Heads
from smwm_ros.planning.pilot import Pilot
import torch
from torch import Tensor
from worlds import SIZE, TINY, tiny_checkpoint

ACTION = 4
WITH_HEADS = replace(TINY, heads=3)


def window(steps: int = 2, batch: int = 5) -> Window:
    pixels = torch.randint(0, 256, (steps + 1, batch, 3, SIZE, SIZE), dtype=torch.uint8)
    return Window(Obs(pixels, torch.zeros(steps + 1, batch, 0)), torch.randn(steps, batch, ACTION))


@pytest.mark.parametrize('preset', ['nano', 'toy'])
def test_heads_shape_no_latent(preset: str) -> None:
    settings = WITH_HEADS if preset == 'nano' else Model(preset='toy', heads=3)
    model = make_model(settings, SIZE if preset == 'nano' else 64, ACTION)
    batch = window()
    if preset == 'toy':
        pixels = torch.randint(0, 256, (3, 5, 3, 64, 64), dtype=torch.uint8)
        batch = batch._replace(obs=batch.obs._replace(pixels=pixels))
    model.losses(batch)['heads'].backward()
    touched = {
        name.split('.')[0] for name, part in model.named_parameters() if part.grad is not None
    }
    assert touched == {'heads'}


def test_each_head_has_an_opinion_of_its_own_for_any_number_of_latents() -> None:
    heads = Heads(4, ACTION, 3)
    z, action = torch.randn(2, 7, 4), torch.randn(2, 7, ACTION)
    together = heads(z, action)
    assert together.shape == (3, 2, 7, 4)
    assert float(together.detach().var(dim=0).min()) > 0
    assert torch.allclose(heads(z[1, 3:4], action[1, 3:4])[:, 0], together[:, 1, 3], atol=1e-6)


def test_heads_agree_where_there_was_data_and_nowhere_else() -> None:
    torch.manual_seed(0)
    heads = Heads(2, 2, 5)
    optimiser = torch.optim.Adam(heads.parameters(), 3e-3)

    def drawn(middle: float) -> tuple[Tensor, Tensor, Tensor]:
        z, action = torch.randn(256, 2) * 0.5 + middle, torch.randn(256, 2) * 0.3
        return z, action, z + torch.sin(3 * action + z)

    for _ in range(200):
        z, action, z_next = drawn(0.0)
        loss = (heads(z, action) - z_next).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def doubt(middle: float) -> Tensor:
        z, action, _ = drawn(middle)
        with torch.no_grad():
            return heads(z, action).var(dim=0).sum(dim=-1)

    assert float(doubt(0.0).median()) < 0.1 * float(doubt(3.0).median())


def test_a_checkpoint_keeps_its_heads_and_plans_can_ask_them(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    doubtful = replace(checkpoint.planner, doubt_weight=1.0)
    with pytest.raises(ConfigError, match=r'model\.heads=5'):
        Pilot(checkpoint, doubtful)
    model = make_model(WITH_HEADS, SIZE, ACTION)
    save(tmp_path, checkpoint._replace(model=model, model_config=WITH_HEADS))
    pilot = Pilot(load(tmp_path), doubtful)
    image = torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8).numpy()
    pilot.set_goal(image[0])
    plan = pilot.plan(image[1], 0)
    assert set(plan.shares) == {'goal', 'doubt'}
    assert plan.shares['doubt'] > 0
    assert sum(plan.shares.values()) == pytest.approx(plan.cost, rel=1e-5)
