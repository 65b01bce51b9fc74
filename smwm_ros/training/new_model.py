# SPDX-License-Identifier: Apache-2.0
"""An untrained model for a dataset, with what is known before training: statistics, encoders."""

from __future__ import annotations

from dataclasses import asdict, replace
import hashlib
from pathlib import Path
from typing import Any

from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.latent_actions.frozen import FrozenEncoder, SmwmFeatures
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model import encoder_file
from smwm_ros.model.any_model import AnyModel, make_any
from smwm_ros.model.device import seeded
from smwm_ros.model.encoder_file import KNOB
from smwm_ros.model.networks import Encoder
from smwm_ros.training import state_scale


def new_model(dataset: TransitionDataset, model_config: config.Model, seed: int) -> AnyModel:
    """Return an untrained model, with the scale of the measured state set."""
    info, file = dataset.info, encoder_file.read(model_config)
    sizes = (info.image_size, info.spec.size * info.action_block, info.state_size)
    with seeded(seed):
        model = make_any(model_config, *sizes, file)
    if model.state_head:
        state_scale.fit(model.state_head, model_config, dataset)
    if isinstance(model, LatentActionModel) and isinstance(model.encoder, FrozenEncoder):
        network = model.encoder.network
        if isinstance(network, SmwmFeatures):
            source = Path(model_config.latent_action.encoder_file)
            network.layers.load_state_dict(_features(source, info.image_size, model_config.stem))
    return model


def knobs_of(model_config: config.Model) -> dict[str, Any]:
    """Return the knobs that identify a model; a file by its content, not by its place."""
    knobs = asdict(replace(model_config, history=max(model_config.history, 1)))
    lam = knobs['latent_action']
    path = Path(lam['encoder_file'])
    if model_config.kind == 'latent_action' and lam['encoder_file']:
        if lam['encoder'] == 'smwm':
            path = path / checkpoints.WEIGHTS
        try:
            lam['encoder_file'] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f'{KNOB}: {path}: cannot be read: {error.strerror}') from None
    return knobs


def _features(folder: Path, image_size: int, stem: str) -> dict[str, Any]:
    """Return the weights of the convolutions of an SMWM."""
    try:
        source = checkpoints.load(folder)
        encoder = source.smwm.encoder
    except CheckpointError as error:
        raise ConfigError(f'{KNOB}: {error}') from None
    if not isinstance(encoder, Encoder):
        raise ConfigError(
            f'{KNOB}: {folder}: preset {source.model_config.preset}, expected a run of preset nano'
        )
    if source.image_size != image_size:
        raise ConfigError(
            f'{KNOB}: {folder}: its images have {source.image_size} px, those of the dataset '
            f'{image_size} px; train it on images of the same size'
        )
    if source.model_config.stack > 1:
        raise ConfigError(
            f'{KNOB}: {folder}: it reads {source.model_config.stack} images at once, expected a '
            'run with model.history=1'
        )
    if source.model_config.stem != stem:
        raise ConfigError(
            f'model.stem: {stem}, but {folder} has {source.model_config.stem}; set it to that'
        )
    return encoder.features.state_dict()
