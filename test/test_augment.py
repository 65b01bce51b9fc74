# SPDX-License-Identifier: Apache-2.0
"""Augmentation changes looks and never motion, and a model tolerates what it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.interfaces import Obs, Window
from smwm_ros.training.augment import augment, EVERY, jittered, risen, Strength, warped
from smwm_ros.training.train import train
import torch
from torch import Tensor
from worlds import dot_dataset, SIZE, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
BOTH = Strength(1.0, 1.0)


def batch_of(pixels: Tensor, windows: int) -> Window:
    """Return a batch of so many windows, of which these images (T+1, share, ...) are here."""
    steps = len(pixels) - 1
    return Window(Obs(pixels, torch.zeros(steps + 1, windows, 0)), torch.zeros(steps, windows, 4))


def noise(windows: int = 8, side: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, windows, 3, side, side), generator=generator).byte()


@pytest.mark.parametrize(
    'strength', [Strength(1.0, 0.0), Strength(0.0, 1.0), BOTH, Strength(0.0, 0.0, 2)]
)
@pytest.mark.parametrize('cut', [3, 4])
def test_processes_that_share_a_batch_change_it_as_one_would(strength: Strength, cut: int) -> None:
    pixels, found = noise(), []
    for share in (slice(None), slice(0, cut), slice(cut, 8)):
        torch.manual_seed(3)
        found.append(augment(batch_of(pixels[:, share], 8), strength, share).obs.pixels)
    assert torch.equal(found[0], torch.cat(found[1:], dim=1))
    assert not torch.equal(found[0], pixels)


def test_without_strength_nothing_changes() -> None:
    batch = batch_of(noise(), 8)
    assert augment(batch, Strength(0.0, 0.0), slice(None)).obs.pixels is batch.obs.pixels


def test_most_windows_keep_their_images_and_the_batch_itself_is_not_changed() -> None:
    pixels = noise(64, side=16)
    before = pixels.clone()
    changed = augment(batch_of(pixels, 64), BOTH, slice(None)).obs.pixels
    same = (changed == pixels).flatten(2).all(dim=2)  # (T+1, B)
    assert not same[:, ::EVERY].any()
    assert same.float().mean() == 1 - len(range(0, 64, EVERY)) / 64
    assert same.float().mean() > 0.5
    assert torch.equal(pixels, before)


def test_a_scene_at_rest_stays_at_rest_and_windows_are_warped_differently() -> None:
    still = noise(16, side=16)[:1].expand(3, -1, -1, -1, -1)
    moved = augment(batch_of(still, 16), Strength(1.0, 0.0), slice(None)).obs.pixels
    assert (moved == moved[0]).all()
    one = noise(1, side=16)[:1].expand(3, 16, -1, -1, -1)
    moved = augment(batch_of(one, 16), Strength(1.0, 0.0), slice(None)).obs.pixels
    assert len(moved[0].flatten(1).unique(dim=0)) == 1 + len(range(0, 16, EVERY))


def test_a_warped_image_has_no_measured_state() -> None:
    batch = batch_of(noise(), 8)
    batch = batch._replace(obs=batch.obs._replace(state=torch.ones(2, 8, 3)))
    jittered_only = augment(batch, Strength(0.0, 1.0), slice(None)).obs.state
    assert torch.equal(jittered_only, batch.obs.state)
    for share in (slice(None), slice(4, 8)):  # the states of the whole batch are in each process
        mine = batch._replace(obs=batch.obs._replace(pixels=batch.obs.pixels[:, share]))
        states = augment(mine, BOTH, share).obs.state
        assert states[:, ::EVERY].isnan().all()
        assert int(states.isnan().sum()) == 2 * 3 * len(range(0, 8, EVERY))
    assert batch.obs.state.isfinite().all()


def test_colours_of_each_frame_change_on_their_own() -> None:
    grey = torch.full((3, 16, 3, 8, 8), 100, dtype=torch.uint8)
    changed = augment(batch_of(grey, 16), Strength(0.0, 1.0), slice(None)).obs.pixels
    changed = changed[:, ::EVERY]
    means = changed.float().mean(dim=(-1, -2))  # (T+1, B, 3)
    assert (means[0] - means[1]).abs().mean() > 5, 'g could predict the light'
    assert means.flatten(0, 1).std(dim=0).min() > 5
    assert (means - means.mean(dim=-1, keepdim=True)).abs().mean() > 2, 'hues differ'


def test_a_warp_moves_the_content_by_its_homography() -> None:
    images = noise(1, side=8).float()
    same = torch.eye(3)[None]
    assert torch.allclose(warped(images, same), images, atol=1e-3)
    right = same.clone()
    right[0, 0, 2] = 2 * 2 / 8  # the source lies two pixels to the right
    assert torch.allclose(warped(images, right)[..., :6], images[..., 2:], atol=1e-3)
    turned = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    assert torch.allclose(warped(images, turned), images.rot90(1, (-2, -1)), atol=1e-3)
    tilted = same.clone()
    tilted[0, 2, 0] = 1.0  # magnified towards the right edge
    column = warped(torch.arange(8.0).expand(1, 1, 1, 8, 8), tilted)[0, 0, 0, 4]
    steps = column.diff()
    assert (steps[3:].diff() < 0).all(), 'what is magnified changes more slowly'


def test_a_jitter_mixes_brightens_lights_and_adds_noise() -> None:
    images = noise(2, side=8).float()[:, :1]
    neutral = {
        'mixing': torch.eye(3).expand(2, 1, 3, 3),
        'offset': torch.zeros(2, 1, 3),
        'light': torch.ones(2, 1, 3, 3),
        'noise': torch.zeros(2, 1),
        'which': torch.zeros(2, 1, dtype=torch.int64),
    }
    assert torch.allclose(jittered(images, **neutral), images, atol=1e-3)
    swapped = torch.eye(3)[[2, 1, 0]].expand(2, 1, 3, 3)
    found = jittered(images, **{**neutral, 'mixing': swapped})
    assert torch.allclose(found, images.flip(2), atol=1e-3), 'red for blue'
    half = 0.5 * torch.eye(3).expand(2, 1, 3, 3)
    found = jittered(images, **{**neutral, 'mixing': half})
    assert torch.allclose(found, 127.5 + (images - 127.5) / 2, atol=1e-3), 'less contrast'
    found = jittered(images, **{**neutral, 'offset': torch.tensor([9.0, 0, 0]).expand(2, 1, 3)})
    assert torch.allclose(found[:, :, 0], images[:, :, 0] + 9, atol=1e-3)
    assert torch.allclose(found[:, :, 1:], images[:, :, 1:], atol=1e-3)
    light = torch.tensor([0.0, 1.0, 2.0]).expand(2, 1, 3, 3)  # from dark on the left to bright
    found = jittered(images, **{**neutral, 'light': light}) / images.clamp(min=1)
    assert torch.allclose(found[..., 0], torch.zeros(()), atol=1e-3)
    assert torch.allclose(found[images[..., 7] > 0][..., 7], torch.full((), 2.0), atol=1e-3)
    flat = torch.full((2, 400, 3, 8, 8), 100.0)
    many = {name: part[:, :1].expand(2, 400, *part.shape[2:]) for name, part in neutral.items()}
    many |= {'noise': torch.full((2, 400), 4.0), 'which': torch.randint(16, (2, 400))}
    torch.manual_seed(0)
    grain = jittered(flat, **many) - flat
    assert float(grain.std()) == pytest.approx(4, rel=0.1)
    assert float(grain.mean(dim=(0, 1)).abs().max()) < 4, 'not the same grain in all images'


def test_augmentation_rises_from_nothing_to_all_of_it() -> None:
    settings = config.Train(steps=100)
    grown = [risen(step, settings) for step in range(1, 101)]
    assert set(grown[:45]) == {0.0}, 'first the robot has to be seen'
    assert (np.diff(grown) >= 0).all()
    assert set(grown[85:]) == {1.0}


@pytest.mark.parametrize(('kind', 'seen'), [('smwm', 38), ('smwm', 42), ('state_align', 42)])
def test_windows_that_a_training_shows_often_are_shifted_unless_states_are_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, seen: int
) -> None:
    dots, used = dot_dataset(tmp_path / 'dots', episodes=3), []

    def spy(batch: Window, strength: Strength, share: slice) -> Window:
        used.append(strength)
        return augment(batch, strength, share)

    monkeypatch.setattr('smwm_ros.training.learner.augment', spy)
    count = len(dots.starts('train', dots.info.action_block))
    settings = config.Train(
        steps=seen, batch=count, eval_every=seen, device='cpu', warp=1.0, colour_jitter=0.5
    )
    train(dots, tmp_path / 'run', replace(TINY, kind=kind), settings, config.Planner())
    often = seen > 40
    shift = round(0.1 * SIZE) if often and kind == 'smwm' else 0
    assert used[seen // 2] == Strength(0.0, 0.0, shift), 'shifts come before images are memorised'
    assert used[-1] == Strength(1.0, 0.5, shift)
    assert used[0] == Strength(0.0, 0.0, 0)


@pytest.mark.parametrize('seed', [0, 1])
def test_another_light_moves_the_latents_less(tmp_path: Path, seed: int) -> None:
    dots = dot_dataset(tmp_path / 'dots', episodes=40)
    pixels = torch.from_numpy(dots.pixels(dots.starts('val'))).permute(0, 3, 1, 2)
    away = {}
    for strength in (0.0, 1.0):
        settings = config.Train(
            steps=400, batch=64, lr=1e-2, eval_every=400, device='cpu', seed=seed,
            warp=strength, colour_jitter=strength,
        )  # fmt: skip
        found = train(dots, tmp_path / f'{strength}', TINY, settings, config.Planner())
        assert found.info.summary['inverse_r2'] > 0.35
        with torch.inference_mode():
            z = found.model.encode(pixels)
            other = found.model.encode((30 + 0.8 * pixels.float()).byte())
        usual = (z - z.roll(1, dims=0)).norm(dim=1).median()  # of two places
        away[strength] = float((other - z).norm(dim=1).median() / usual)
    assert away[1.0] < 0.8
    assert away[0.0] > 1.5, 'the model without augmentation tolerates it, too'


@pytest.mark.parametrize('strength', [BOTH, Strength(0.0, 0.0, 2)])
def test_the_images_of_an_observation_change_alike(strength: Strength) -> None:
    alone, found = noise(), []
    for pixels in (alone, torch.cat([alone, alone], dim=2)):
        torch.manual_seed(3)
        found.append(augment(batch_of(pixels, 8), strength, slice(None)).obs.pixels)
    assert not torch.equal(found[0], alone)
    assert torch.equal(found[1], torch.cat([found[0], found[0]], dim=2))
    torch.manual_seed(3)
    mixed = torch.cat([alone, 255 - alone], dim=2)
    assert torch.equal(
        augment(batch_of(mixed, 8), Strength(1e-9, 0.0), slice(None)).obs.pixels, mixed
    ), 'in their order'
