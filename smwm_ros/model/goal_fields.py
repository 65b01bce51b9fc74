# SPDX-License-Identifier: Apache-2.0
"""The fields of the measured state that planner.focus names."""

from __future__ import annotations

from dataclasses import replace

from smwm_ros import config
from smwm_ros.errors import ConfigError, did_you_mean
from smwm_ros.fieldpath import expand


def columns_of(focus: tuple[str, ...], model: config.Model, robot: config.Robot) -> list[int]:
    """Return the columns of the measured state that planner.focus names."""
    if not focus:
        return []
    if not model.aligns_state:
        raise ConfigError(
            f'planner.focus: a model of kind {model.kind} predicts no state from its latents; set '
            'planner.focus=[], or train with model.kind=state_align'
        )
    fields = expand(robot.state.fields)
    try:
        wanted = expand(focus)
    except ValueError as error:
        raise ConfigError(f'planner.focus: {error}') from None
    for name in wanted:
        if name not in fields:
            raise ConfigError(
                f"planner.focus: '{name}': not in the state that the model is trained with; "
                f'{did_you_mean(name, fields)}'
            )
    return [fields.index(name) for name in wanted]


def settings_for(planner: config.Planner, model: config.Model) -> config.Planner:
    """Return the planner settings, without focus and space where a model lacks what they need."""
    if not model.aligns_state:
        planner = replace(planner, focus=())
    return planner if model.kind == 'latent_action' else replace(planner, space='actions')
