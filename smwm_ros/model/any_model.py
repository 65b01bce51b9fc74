# SPDX-License-Identifier: Apache-2.0
"""Make a model of any kind from its config, and refuse configs that contradict themselves."""

from __future__ import annotations

from typing import TypeAlias

from smwm_ros.config import ALIGNS, ALL, Model, NEXT
from smwm_ros.errors import ConfigError
from smwm_ros.latent_actions.frozen import FrozenEncoder, ModuleFile, SmwmFeatures
from smwm_ros.latent_actions.model import LatentActionModel, require_possible
from smwm_ros.model.networks import Encoder
from smwm_ros.model.world_model import Smwm


def make_model(config: Model, image_size: int, action_size: int, state_size: int = 0) -> Smwm:
    """Return an untrained model of this config; action_size is K*A, state_size is P."""
    presets = {'latent': 'nano', 'hidden': 'nano', 'stem': 'nano'}
    for name, preset in presets.items():
        if config.preset != preset and getattr(config, name) != getattr(Model, name):
            raise ConfigError(
                f'model.{name}: only preset {preset} has this knob, not {config.preset}; remove it'
            )
    if config.preset == 'toy' and config.history > 1:
        raise ConfigError(
            f'model.history: {config.history}, but preset toy reads one image, as the '
            'demonstrations of the paper do; set it to 1'
        )
    if config.acts and config.preset == 'toy':
        raise ConfigError(
            f'model.actor: {config.actor}, but preset toy plans nothing; expected none'
        )
    if config.inverse_target and not config.inverts:
        raise ConfigError(
            f'model.inverse_target: kind {config.kind} has no inverse loss; set it to 0'
        )
    if config.inverse_pairs == ALL and not config.inverts:
        raise ConfigError(
            f'model.inverse_pairs: kind {config.kind} has no inverse loss; set it to {NEXT}'
        )
    for name in ALIGNS:
        if getattr(config, name) != getattr(Model, name) and not config.aligns_state:
            raise ConfigError(
                f'model.{name}: kind {config.kind} reads no state off its latents; remove it, or '
                'set model.kind to state_align'
            )
    if config.inverse_target and not config.inverse_weight:
        raise ConfigError('model.inverse_target: needs model.inverse_weight above 0 to start from')
    return Smwm(config, image_size, action_size, state_size)


AnyModel: TypeAlias = Smwm | LatentActionModel


def make_any(
    config: Model,
    image_size: int,
    action_size: int,
    state_size: int = 0,
    file: ModuleFile | None = None,  # of the encoder, where it runs one
) -> AnyModel:
    """Return an untrained model of any kind; action_size is K*A, state_size is P."""
    if config.kind != 'latent_action':
        return make_model(config, image_size, action_size, state_size)
    if config.acts:
        raise ConfigError(
            f'model.actor: {config.actor}, but kind latent_action learns its actions from images, '
            'so there are none to imitate; label the moments (smwm label) and train kind smwm, or '
            'set it to none'
        )
    if config.picture_weight:
        raise ConfigError(
            f'model.picture_weight: {config.picture_weight:g}, but kind latent_action has no head '
            'that reads pictures; set it to 0'
        )
    require_possible(config, image_size)
    frozen = _frozen_encoder(config, image_size, file)
    return LatentActionModel(config, image_size, action_size, frozen)


def _frozen_encoder(
    config: Model, image_size: int, file: ModuleFile | None
) -> FrozenEncoder | None:
    """Return the encoder that others trained, without its weights, if the config names one."""
    network: ModuleFile | SmwmFeatures | None = file
    if config.latent_action.encoder == 'smwm':
        network = SmwmFeatures(Encoder(image_size, 1, 1, config.stem).features[:-1])
    try:
        return FrozenEncoder(network, image_size) if network else None
    except ConfigError as error:
        where = f'model.latent_action.encoder_file: {config.latent_action.encoder_file}'
        raise ConfigError(f'{where}: {error}') from None
