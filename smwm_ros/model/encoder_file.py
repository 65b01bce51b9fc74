# SPDX-License-Identifier: Apache-2.0
"""Find what a frozen encoder is made from: where the user has it, or in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
from pathlib import Path

from smwm_ros.config import Model
from smwm_ros.data.stored import Kind
from smwm_ros.errors import ConfigError
from smwm_ros.latent_actions.frozen import ModuleFile, MODULES

KNOB = 'model.latent_action.encoder_file'


def runs_file(config: Model) -> bool:
    """Return whether the encoder runs a file."""
    return config.kind == 'latent_action' and config.latent_action.encoder in MODULES


def read(config: Model) -> ModuleFile | None:
    """Read the file that the knob names, if the encoder runs one."""
    if not runs_file(config):
        return None
    path, kind = Path(config.latent_action.encoder_file), config.latent_action.encoder
    try:
        return ModuleFile(kind, path.read_bytes())
    except OSError as error:
        found = f'{path}: cannot be read: {error.strerror}'
        raise ConfigError(f'{KNOB}: {found}; expected an exported module ({kind})') from None
    except ConfigError as error:
        raise ConfigError(f'{KNOB}: {path}: {error}') from None


def reload(
    folder: Path, config: Model, recorded: Mapping[str, str] | None, kind: Kind
) -> ModuleFile | None:
    """Read the file in a run folder, if the encoder runs one; `recorded` has its SHA-256."""
    if not runs_file(config):
        return None
    path = folder / MODULES[config.latent_action.encoder]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise kind.error(f'{path}: cannot be read: {error.strerror}; {kind.remedy}') from None
    if recorded is None or hashlib.sha256(content).hexdigest() != recorded['sha256']:
        raise kind.damaged(path, 'its SHA-256 is not the one in meta.json')
    return ModuleFile(config.latent_action.encoder, content)
