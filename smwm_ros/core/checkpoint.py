# SPDX-License-Identifier: Apache-2.0
"""
A checkpoint is a folder that holds all a robot needs: model.safetensors and meta.json.

meta.json carries the robot (topics, fields, limits, dt), how images were made, the architecture,
the planner's settings, and the mean and standard deviation of the actions. Nothing in the folder
is executed when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
import hashlib
import json
from pathlib import Path
import platform
from typing import Any, get_origin, get_type_hints, NamedTuple, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from smwm_ros import __version__, config
from smwm_ros.core.actions import action_spec
from smwm_ros.core.interfaces import ActionSpec, Array
from smwm_ros.core.model import make_model, Smwm
from smwm_ros.errors import CheckpointError
from smwm_ros.fieldpath import expand
from smwm_ros.files import write_together
import torch
from torch import Tensor

FORMAT = 1
WEIGHTS, META = 'model.safetensors', 'meta.json'
T = TypeVar('T')


class Checkpoint(NamedTuple):
    """A trained model, and everything that must travel with it."""

    model: Smwm
    robot: config.Robot
    dataset: config.Dataset
    model_config: config.Model
    planner: config.Planner
    mean: Array  # (A,) float64 of the raw actions, physical
    std: Array  # (A,)
    info: dict[str, Any]  # fingerprint of the dataset, summary of the training
    folder: Path | None = None  # where it was loaded from, and what smwm prepare made may lie

    @property
    def spec(self) -> ActionSpec:
        """Return what an action means."""
        return action_spec(self.robot)

    @property
    def action_block(self) -> int:
        """Return K, the raw actions in one model step."""
        return self.dataset.action_block

    @property
    def image_size(self) -> int:
        """Return S, the side of the square images [px]."""
        return self.dataset.image_size


def save(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; meta.json comes last, and without it there is no checkpoint."""
    folder = Path(folder)
    weights = format_tensors(checkpoint.model.state_dict())
    meta = {
        'format': FORMAT,
        'kind': 'smwm',
        'robot': asdict(checkpoint.robot),
        'dataset': asdict(checkpoint.dataset),
        'model': asdict(checkpoint.model_config),
        'planner': asdict(checkpoint.planner),
        'action': {'mean': checkpoint.mean.tolist(), 'std': checkpoint.std.tolist()},
        'weights_sha256': hashlib.sha256(weights).hexdigest(),
        'versions': {
            'smwm_ros': __version__,
            'torch': torch.__version__,
            'python': platform.python_version(),
        },
        'info': checkpoint.info,
    }
    text = json.dumps(meta, indent=1).encode()
    write_together({folder / WEIGHTS: weights, folder / META: text})


def load(folder: str | Path, device: str | torch.device = 'cpu') -> Checkpoint:
    """Read a checkpoint; the model comes ready to plan with."""
    folder = Path(folder)
    meta = read_meta(folder)
    path = folder / META
    try:
        robot = section(config.Robot, meta['robot'])
        dataset = section(config.Dataset, meta['dataset'])
        model_config = section(config.Model, meta['model'])
        planner = section(config.Planner, meta['planner'])
        mean, std = (np.asarray(meta['action'][name], np.float64) for name in ('mean', 'std'))
        digest, info = meta['weights_sha256'], meta['info']
    except (KeyError, TypeError, ValueError) as error:
        kind = type(error).__name__
        raise CheckpointError(f'{path}: damaged: {kind} {error}') from None
    size = action_spec(robot).size
    if not mean.shape == std.shape == (size,) or not (std > 0).all():
        raise CheckpointError(
            f'{path}: damaged: expected mean and positive std of {size} action fields, '
            f'found {mean.tolist()} and {std.tolist()}'
        )
    states = len(expand(robot.state.fields)) if robot.state.topic else 0
    model = make_model(model_config, dataset.image_size, size * dataset.action_block, states)
    model.load_state_dict(_read_weights(folder / WEIGHTS, digest, model.state_dict()))
    model.to(device).eval().requires_grad_(False)
    return Checkpoint(model, robot, dataset, model_config, planner, mean, std, info, folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check meta.json."""
    path = folder / META
    if not path.is_file():
        raise CheckpointError(f'{folder}: no checkpoint here; {_what_is_there(folder)}')
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        version = int(meta['format'])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{path}: damaged: {type(error).__name__} {error}') from None
    if version > FORMAT:
        raise CheckpointError(
            f'{path}: format {version} is newer than format {FORMAT}, the newest that '
            f'smwm_ros {__version__} reads; update smwm_ros'
        )
    return meta


def require(
    checkpoint: Checkpoint, where: str, action_size: int, dt: float, image_size: int
) -> None:
    """Refuse a robot, dataset or arena that the checkpoint was not made for."""
    mistakes = [
        f'{name} is {found} in {where}, and {wanted} in the checkpoint'
        for name, found, wanted in (
            ('action size', action_size, checkpoint.spec.size),
            ('control period [s]', dt, checkpoint.robot.dt),
            ('image size [px]', image_size, checkpoint.image_size),
        )
        if abs(found - wanted) > 1e-9
    ]
    if mistakes:
        raise CheckpointError('; '.join(mistakes))


def section(schema: type[T], data: Mapping[str, Any]) -> T:
    """Make a config section of the plain data it was stored as; ValueError where it is none."""
    hints = get_type_hints(schema)
    names = {item.name for item in fields(schema)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - names):
        raise ValueError(f'unknown {schema.__name__} knobs: {", ".join(unknown)}')
    values = {name: _typed(name, hints[name], value) for name, value in data.items()}
    return schema(**values)


def _typed(name: str, kind: Any, value: Any) -> Any:
    """Return a stored value as what a knob is declared to be."""
    if is_dataclass(kind):
        nested: Any = section(kind, value)  # type: ignore[arg-type]
        return nested
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f'{name}: expected {getattr(kind, "__name__", kind)}, found {value!r}')
    return value


def _read_weights(path: Path, digest: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the tensors, and say which are missing, too many or misshapen."""
    try:
        content = path.read_bytes()
        tensors: dict[str, Tensor] = parse_tensors(content)
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from None
    except SafetensorError as error:
        raise CheckpointError(f'{path}: not a safetensors file: {error}') from None
    mistakes = [f'missing {name}' for name in sorted(set(wanted) - set(tensors))]
    mistakes += [f'unexpected {name}' for name in sorted(set(tensors) - set(wanted))]
    mistakes += [
        f'{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}'
        for name in sorted(set(wanted) & set(tensors))
        if tensors[name].shape != wanted[name].shape
    ]
    if mistakes:
        raise CheckpointError(f'{path}: does not fit the model in {META}: ' + '; '.join(mistakes))
    if hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f'{path}: not the weights that {META} was written with')
    return tensors


def _what_is_there(folder: Path) -> str:
    """Tell what lies where a checkpoint was expected."""
    if folder.is_dir():
        names = sorted(item.name for item in folder.iterdir())
        return f'{META} is missing; found {", ".join(names) or "an empty folder"}'
    parent = folder.parent
    if not parent.is_dir():
        return f'{parent} does not exist either'
    names = sorted(item.parent.name for item in parent.glob(f'*/{META}'))
    return f'in {parent}: {", ".join(names) or "no checkpoints"}'
