# SPDX-License-Identifier: Apache-2.0
"""A head that reads a coarse picture keeps in the latent what no action moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.alignment import PictureHead
from smwm_ros.model.any_model import make_any
from smwm_ros.model.encoding import encode_rows
from smwm_ros.training.train import train
import torch
from worlds import dot_dataset, draw_dot, SIZE, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
SETTINGS = config.Train(steps=400, batch=64, lr=1e-2, eval_every=400, device='cpu', unroll=2)


@pytest.fixture
def beside(tmp_path: Path) -> tuple[TransitionDataset, np.ndarray]:
    """Record dots beside a blue one, which walks about by chance; return its places."""
    data = dot_dataset(tmp_path / 'dots', episodes=120)
    rng = np.random.default_rng(1)
    walks = np.zeros((120, 30, 2))
    walks[:, 0] = rng.uniform(-1, 1, (120, 2))
    for t in range(1, 30):
        moved = walks[:, t - 1] + 0.2 * rng.standard_normal((120, 2))
        walks[:, t] = np.clip(moved, -1, 1)
    places = walks.reshape(-1, 2)
    file = data.folder / 'shards' / 'dots' / 'pixels.npy'
    pixels = np.load(file)
    pixels[..., 2] = np.stack([draw_dot(place)[..., 2] for place in places])
    np.save(file, pixels)
    return TransitionDataset.open(data.folder), places


def known(folder: Path, weight: float, data: TransitionDataset, places: np.ndarray) -> float:
    """Return how well a linear probe reads the places of the blue dot in held-out episodes, R2."""
    model = replace(TINY, latent=8, picture_weight=weight)
    made = train(data, folder, model, SETTINGS, config.Planner())
    z = encode_rows(made.model, data, np.arange(len(data))).numpy()
    inputs = np.column_stack([z, np.ones(len(z))])
    seen, unseen = data.starts('train'), data.starts('val')
    weights = np.linalg.lstsq(inputs[seen], places[seen], rcond=None)[0]
    missed = (inputs[unseen] @ weights - places[unseen]).var(axis=0).sum()
    return float(1 - missed / places[unseen].var(axis=0).sum())


def test_the_latent_keeps_what_no_action_moves_with_the_head_and_not_without(
    beside: tuple[TransitionDataset, np.ndarray], tmp_path: Path
) -> None:
    assert known(tmp_path / 'without', 0.0, *beside) < 0.2
    assert known(tmp_path / 'with', 10.0, *beside) > 0.4


def error(head: PictureHead, pixels: torch.Tensor) -> float:
    """Return the error of a head that reads the mean of each cell off every latent."""
    shown = Obs(pixels.unsqueeze(0), torch.zeros(1, len(pixels), 0))
    return float(head.error([torch.zeros(len(pixels), 4)], shown).detach())


def blind() -> PictureHead:
    head = PictureHead(4, 8)
    for part in head.parameters():
        torch.nn.init.zeros_(part)
    return head


def test_cells_that_change_count_alike_and_still_ones_little() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (64, 1, 1, 1), generator=generator).expand(-1, 3, 32, 32)
    assert error(blind(), noise) == pytest.approx(1, abs=0.01), 'all of the variance is missed'
    dim = 100 + noise // 8
    assert error(blind(), dim) == pytest.approx(1, abs=0.2), 'however little they change'
    half = noise.clone()
    half[..., 16:] = 7
    assert error(blind(), half) == pytest.approx(0.5, abs=0.01)
    still = torch.randint(100, 103, noise.shape, generator=generator)
    assert error(blind(), still) < 0.01, 'the noise of a camera'


def test_the_newest_of_several_images_is_read() -> None:
    generator = torch.Generator().manual_seed(0)
    still = torch.full((16, 3, 32, 32), 9)
    lively = torch.randint(0, 256, (16, 3, 1, 1), generator=generator).expand_as(still)
    assert error(blind(), torch.cat([still, lively], dim=1)) > 0.9
    assert error(blind(), torch.cat([lively, still], dim=1)) < 0.01


def test_the_loss_has_its_weight_and_shapes_the_encoder() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 8, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    batch = Window(Obs(pixels, torch.zeros(2, 8, 0)), torch.zeros(1, 8, 4))
    found = []
    for weight in (1.0, 2.5):
        torch.manual_seed(0)
        model = make_any(replace(TINY, picture_weight=weight), SIZE, 4)
        found.append(model.losses(batch)['picture'])
    assert float(found[1].detach()) == pytest.approx(2.5 * float(found[0].detach()))
    found[1].backward()
    gradients = [part.grad for part in model.encoder.parameters()]
    assert any(one is not None and one.abs().sum() > 0 for one in gradients)
    assert 'picture' not in make_any(TINY, SIZE, 4).losses(batch)


def test_a_kind_that_cannot_have_the_head_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'model\.picture_weight: 0\.5, but kind latent_action'):
        make_any(config.Model(kind='latent_action', picture_weight=0.5), 64, 2)
