# SPDX-License-Identifier: Apache-2.0
"""Latent-action models on encoders that others trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import io
import json
from pathlib import Path
import warnings

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.latent_actions.frozen import as_map, FrozenEncoder, ModuleFile
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.any_model import make_any
from smwm_ros.model.checkpoint import Checkpoint, load, WEIGHTS
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.train import train
import torch
from torch import nn, Tensor
from worlds import BLOCK, dot_dataset, draw_dot, SIZE, TINY, tiny_checkpoint

TRAIN = config.Train(steps=4, batch=16, threads=1, eval_every=2)
PLANNER = config.Planner(horizon=2, iterations=1, samples=8, elites=2)
KINDS = ('onnx', 'torch')


class Cells(nn.Module):
    """Averages patches: (B, 3, S, S) -> (B, 3, S / 4, S / 4)."""

    def forward(self, images: Tensor) -> Tensor:
        """Average."""
        return nn.functional.avg_pool2d(images, 4)


class Tokens(nn.Module):
    """A learnt patch embedding, as tokens (B, N, C)."""

    def __init__(self, extra: int = 0, size: int = SIZE) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 5, 4, stride=4)
        self.extra, self.size = extra, size

    def forward(self, images: Tensor) -> Tensor:
        """Embed; a class token comes first if there is one."""
        tokens = self.embed(images.reshape(-1, 3, self.size, self.size)).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, : self.extra], tokens], dim=1)


class Vector(nn.Module):
    """One vector for each image."""

    def forward(self, images: Tensor) -> Tensor:
        """Average over all pixels."""
        return images.mean(dim=(2, 3))


def export(module: nn.Module, kind: str, path: Path, size: int = SIZE) -> Path:
    """Write a module as users do."""
    images = torch.rand(2, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if kind == 'torch':
            torch.jit.save(torch.jit.trace(module.eval(), images), path)
        else:
            free = {0: torch.export.Dim('batch', min=1, max=4096)}
            torch.onnx.export(
                module.eval(), (images,), path, dynamic_shapes=(free,), verbose=False,
                external_data=False, dynamo=True,
            )  # fmt: skip
    return path


def settings(encoder: str, path: Path | str, **knobs: object) -> config.Model:
    lam = config.LatentAction(
        width=4, hidden=8, encoder=encoder, encoder_file=str(path), **knobs  # type: ignore[arg-type]
    )  # fmt: skip
    return config.Model(kind='latent_action', latent=4, hidden=16, latent_action=lam)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TransitionDataset:
    return dot_dataset(tmp_path_factory.mktemp('data'), episodes=8)


@pytest.fixture
def fit(dataset: TransitionDataset, tmp_path: Path) -> Callable[..., Checkpoint]:
    """Train for a few steps on an encoder."""

    def run(encoder: str, path: Path | str, **knobs: object) -> Checkpoint:
        made = settings(encoder, path, **knobs)
        return train(dataset, tmp_path / 'run', made, TRAIN, PLANNER)

    return run


def images(count: int = 8) -> Tensor:
    places = np.random.default_rng(0).uniform(-1, 1, (count, 2))
    return torch.from_numpy(np.stack([draw_dot(at) for at in places])).permute(0, 3, 1, 2)


def lam_of(run: Checkpoint) -> LatentActionModel:
    assert isinstance(run.model, LatentActionModel)
    return run.model


def test_maps_have_mean_0_and_std_1_in_each_channel_and_dead_channels_stay_still() -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.trace(Cells(), torch.rand(2, 3, SIZE, SIZE)), buffer)
    encoder = FrozenEncoder(ModuleFile('torch', buffer.getvalue()), SIZE)
    pixels = images(100)
    pixels[:, 2] = 77
    encoder.fit(pixels)
    s = encoder(pixels)
    assert s.shape == (100, 3, 4, 4) == (100, *encoder.shape)
    assert torch.allclose(s.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(s.std(dim=(0, 2, 3))[:2], torch.ones(2), atol=1e-3)
    assert s[:, 2].abs().max() < 1e-3
    assert torch.allclose(encoder(pixels[:1]), s[:1], atol=1e-5)  # the images do not mix


def test_tokens_become_a_map_row_by_row() -> None:
    tokens = torch.arange(16.0).reshape(1, 16, 1)
    assert as_map(tokens)[0, 0, 1].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('module', [Cells(), Tokens()], ids=['map', 'tokens'])
def test_a_run_on_a_module_is_complete_without_the_file_of_the_user(
    fit: Callable[..., Checkpoint], tmp_path: Path, kind: str, module: nn.Module
) -> None:
    path = export(module, kind, tmp_path / f'mine.{kind}')
    made = fit(kind, path)
    path.unlink()
    assert made.folder
    for folder in (made.folder, made.folder / 'best'):
        again = load(folder)
        with torch.no_grad():
            expected = as_map(module(images().float() / 255))
        encoder = lam_of(again).encoder
        assert isinstance(encoder, FrozenEncoder)
        assert torch.allclose(encoder(images()) * encoder.std + encoder.mean, expected, atol=1e-5)
        assert encoder.std.max() != 1
    meta = json.loads((made.folder / 'meta.json').read_text())['encoder']
    assert meta['file'] == {'onnx': 'encoder.onnx', 'torch': 'encoder.pt'}[kind]
    pilot = Pilot(load(made.folder))
    pilot.set_goal(draw_dot(np.ones(2)))
    assert pilot.plan(draw_dot(np.zeros(2)), 0).actions.shape == (2 * BLOCK, 2)


def test_a_run_whose_module_was_changed_or_lost_is_refused(
    fit: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    made = fit('torch', export(Cells(), 'torch', tmp_path / 'mine.pt'))
    assert made.folder
    export(Tokens(), 'torch', made.folder / 'encoder.pt')
    with pytest.raises(CheckpointError, match=r'encoder\.pt: damaged: its SHA-256 is not the one'):
        load(made.folder)
    (made.folder / 'encoder.pt').unlink()
    with pytest.raises(CheckpointError, match=r'encoder\.pt: cannot be read: No such file'):
        load(made.folder)


def test_a_run_goes_on_with_the_same_module_in_another_place_and_not_with_another_one(
    fit: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    path = export(Cells(), 'torch', tmp_path / 'mine.pt')
    first = fit('torch', path)
    moved = path.rename(tmp_path / 'moved.pt')
    assert fit('torch', moved).info == first.info
    with pytest.raises(CheckpointError, match=r'encoder_file is .* there and .* now'):
        fit('torch', export(Tokens(), 'torch', path))


def test_the_convolutions_of_an_smwm_are_copied_into_the_run(
    fit: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    source = tiny_checkpoint(3)
    checkpoints.save(tmp_path / 'smwm', source)
    made = fit('smwm', tmp_path / 'smwm')
    (tmp_path / 'smwm' / WEIGHTS).unlink()
    assert made.folder
    encoder = lam_of(load(made.folder)).encoder
    assert isinstance(encoder, FrozenEncoder)
    with torch.no_grad():
        expected = source.smwm.encoder.forward_features(images())
    found = encoder(images()) * encoder.std + encoder.mean
    assert torch.allclose(found.flatten(1), expected, atol=1e-5)


def test_an_smwm_that_does_not_fit_is_refused(
    fit: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    source = tiny_checkpoint()
    larger = source.dataset.__class__(image_size=2 * SIZE, action_block=BLOCK)
    model = make_any(TINY, 2 * SIZE, 2 * BLOCK)
    checkpoints.save(tmp_path / 'larger', source._replace(model=model, dataset=larger))
    with pytest.raises(ConfigError, match='its images have 32 px, those of the dataset 16 px'):
        fit('smwm', tmp_path / 'larger')
    toy = config.Model(preset='toy')
    model = make_any(toy, SIZE, 2 * BLOCK)
    checkpoints.save(tmp_path / 'toy', source._replace(model=model, model_config=toy))
    with pytest.raises(ConfigError, match='preset toy, expected a run of preset nano'):
        fit('smwm', tmp_path / 'toy')
    fine = replace(TINY, stem='convolutions')
    model = make_any(fine, SIZE, 2 * BLOCK)
    checkpoints.save(tmp_path / 'fine', source._replace(model=model, model_config=fine))
    with pytest.raises(ConfigError, match=r'model\.stem: patches, but .*fine has convolutions'):
        fit('smwm', tmp_path / 'fine')


@pytest.mark.parametrize('encoder', ['smwm', *KINDS])
def test_a_missing_file_is_named(fit: Callable[..., Checkpoint], encoder: str) -> None:
    with pytest.raises(ConfigError, match=r'encoder_file: nowhere.*: cannot be read: No such'):
        fit(encoder, 'nowhere')


def test_an_encoder_of_others_needs_a_path(fit: Callable[..., Checkpoint]) -> None:
    with pytest.raises(ConfigError, match='encoder_file: empty, but encoder=smwm needs a path'):
        fit('smwm', '')


@pytest.mark.parametrize(
    ('module', 'match'),
    [
        (Vector(), r'returns \(2, 3\), expected a map .* or tokens'),
        (
            Tokens(extra=1),
            'returns 17 tokens, expected a square number; leave out the class',
        ),
        (nn.AvgPool2d(8), r'returns \(2, 3, 2, 2\) for 2 images, expected a square map .* 4 x 4'),
        (nn.AvgPool2d((2, 4)), r'returns \(2, 3, 8, 4\) for 2 images, expected a square map'),
    ],
)
def test_a_module_that_makes_no_map_is_refused_with_the_reason(
    fit: Callable[..., Checkpoint], tmp_path: Path, module: nn.Module, match: str
) -> None:
    path = export(module, 'torch', tmp_path / 'mine.pt')
    with pytest.raises(ConfigError, match=f'encoder_file: .*mine.pt: {match}'):
        fit('torch', path)


@pytest.mark.parametrize('kind', KINDS)
def test_a_module_for_images_of_another_size_is_refused(
    fit: Callable[..., Checkpoint], tmp_path: Path, kind: str
) -> None:
    path = export(Tokens(size=24), kind, tmp_path / 'mine', size=24)
    with pytest.raises(ConfigError, match=r'fails on images \(2, 3, 16, 16\)'):
        fit(kind, path)


@pytest.mark.parametrize(('kind', 'format_'), [('onnx', 'an ONNX'), ('torch', 'a TorchScript')])
def test_a_file_of_another_format_is_refused(
    fit: Callable[..., Checkpoint], tmp_path: Path, kind: str, format_: str
) -> None:
    (tmp_path / 'mine').write_bytes(b'no module')
    with pytest.raises(ConfigError, match=f'encoder_file: .*mine: not {format_} file'):
        fit(kind, tmp_path / 'mine')


def test_a_pickled_module_is_not_executed(fit: Callable[..., Checkpoint], tmp_path: Path) -> None:
    torch.save(Cells(), tmp_path / 'mine.pt')
    with pytest.raises(ConfigError, match='not a TorchScript file'):
        fit('torch', tmp_path / 'mine.pt')


def test_the_patch_of_our_own_encoders_does_not_limit_a_module(
    fit: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    path = export(Cells(), 'torch', tmp_path / 'mine.pt')
    assert lam_of(fit('torch', path, patch=7)).shape == (3, 4, 4)
    own = replace(settings('patch_pca', ''), latent_action=config.LatentAction(patch=7))
    with pytest.raises(ConfigError, match='patch: 7, expected a divisor'):
        make_any(own, SIZE, 4)
