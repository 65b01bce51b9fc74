# SPDX-License-Identifier: Apache-2.0
"""The fields of the measured state that a model reads off its latents, and planner.focus names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import re

from smwm_ros import config
from smwm_ros.errors import ConfigError, did_you_mean
from smwm_ros.fieldpath import expand

_MOTION = re.compile(r'velocit|twist|accelerat|effort|wrench')  # what one image does not show


def columns_of(focus: tuple[str, ...], model: config.Model, robot: config.Robot) -> list[int]:
    """Return the numbers of the fields that planner.focus names, among those a model reads."""
    if not focus:
        return []
    if not model.aligns_state:
        raise ConfigError(
            f'planner.focus: a model of kind {model.kind} predicts no state from its latents; set '
            'planner.focus=[], or train with model.kind=state_align'
        )
    if not model.state_weight:
        raise ConfigError(
            'planner.focus: the model reads no state, because it was trained with '
            'model.state_weight=0; set planner.focus=[]'
        )
    return _columns('planner.focus', focus, expand(model.state_fields or robot.state.fields))


def read_columns(model: config.Model, fields: Sequence[str]) -> list[int]:
    """Return the columns of the measured state that a model reads off its latents."""
    return _columns('model.state_fields', model.state_fields or fields, fields)


def velocity_columns(model: config.Model, fields: Sequence[str]) -> list[int]:
    """Return the columns of the measured state whose velocity a model reads off its latents."""
    columns = _columns('model.velocity_fields', model.velocity_fields, fields)
    for column in columns:
        if shows_motion(fields[column]):
            raise ConfigError(
                f"model.velocity_fields: '{fields[column]}': is no position, so its change is no "
                'velocity; it is read off two latents as it is'
            )
    return columns


def shows_motion(field: str) -> bool:
    """Return whether a field is a velocity or a force, going by its path."""
    return bool(_MOTION.search(field))


def _columns(knob: str, names: Sequence[str], fields: Sequence[str]) -> list[int]:
    """Return which of some fields are named."""
    try:
        wanted = expand(names)
    except ValueError as error:
        raise ConfigError(f'{knob}: {error}') from None
    for name in wanted:
        if name not in fields:
            raise ConfigError(
                f"{knob}: '{name}': not in the state that the model is trained with; "
                f'{did_you_mean(name, fields)}'
            )
    return [fields.index(name) for name in wanted]


def settings_for(planner: config.Planner, model: config.Model) -> config.Planner:
    """Return the planner settings, without focus and space where a model lacks what they need."""
    if not model.aligns_state:
        planner = replace(planner, focus=())
    return planner if model.kind == 'latent_action' else replace(planner, space='actions')
