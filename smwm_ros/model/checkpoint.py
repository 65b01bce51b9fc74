# SPDX-License-Identifier: Apache-2.0
"""
Save and load checkpoints: a folder with model.safetensors and meta.json.

meta.json holds the robot (topics, fields, limits, dt), the image settings, the architecture, the
planner settings, and the mean and standard deviation of the actions. Loading executes no code from
the folder.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
import hashlib
import json
import os
from pathlib import Path
import platform
from typing import Any, NamedTuple

import numpy as np
from safetensors.torch import save as format_tensors
from smwm_ros import __version__, config
from smwm_ros.codec.fields import action_spec
from smwm_ros.data import stored
from smwm_ros.data.stored import Kind, read_json, section
from smwm_ros.errors import CheckpointError, ConfigError, one_line
from smwm_ros.fieldpath import expand
from smwm_ros.files import write_atomic, write_together
from smwm_ros.interfaces import ActionScaler, ActionSpec
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model import encoder_file
from smwm_ros.model.any_model import AnyModel, make_any
from smwm_ros.model.info import Info, NO_INFO
from smwm_ros.model.tensors import read_tensors
from smwm_ros.model.world_model import Smwm
from smwm_ros.text import brief
import torch
from torch import Tensor

FORMAT = 1
WEIGHTS, META = 'model.safetensors', 'meta.json'
CHECKPOINT = Kind(CheckpointError, 'copy the run again from an intact source, or train it again')
_NAMED = 10  # mistakes or files that an error lists one by one
_META = {
    'format': int,
    'robot': {str: Any},
    'dataset': {str: Any},
    'model': {str: Any},
    'planner': {str: Any},
    'action': {'mean': [float], 'std': [float]},
    'weights_sha256': str,
    'encoder?': {'file': str, 'sha256': str},
    'info': {
        'dataset?': str,
        'data?': str,
        'model?': {str: Any},
        'train?': {str: Any},
        'warnings?': [str],
        'actions?': {str: Any},
        'tuned_from?': {'data?': [str]},
        'summary?': {str: float},
        'distances?': {'ticks': [float], 'median': [float]},
    },
}


class Meta(NamedTuple):
    """A meta.json that was checked."""

    robot: dict[str, Any]
    dataset: dict[str, Any]
    model: dict[str, Any]
    planner: dict[str, Any]
    action: dict[str, list[float]]  # mean and std
    weights_sha256: str
    info: Info
    encoder: dict[str, str] | None = None  # name and SHA-256 of the file that the encoder runs


class Checkpoint(NamedTuple):
    """A trained model and all that belongs to it; users change none of it in place."""

    model: AnyModel  # in eval mode, without gradients
    robot: config.Robot
    dataset: config.Dataset
    model_config: config.Model
    planner: config.Planner
    scaler: ActionScaler
    info: Info = NO_INFO
    folder: Path | None = None  # that it was loaded from; smwm prepare writes there

    @property
    def spec(self) -> ActionSpec:
        """Return the fields, limits and period of an action."""
        return action_spec(self.robot)

    @property
    def action_block(self) -> int:
        """Return K, the number of raw actions in a model step."""
        return self.dataset.action_block

    @property
    def image_size(self) -> int:
        """Return S, the side of the images [px]."""
        return self.dataset.image_size

    @property
    def smwm(self) -> Smwm:
        """Return the model, or raise if it is a latent-action model."""
        if not isinstance(self.model, Smwm):
            raise CheckpointError(
                f'{self.folder or "the checkpoint"}: has a model of kind '
                f'{self.model_config.kind}, expected one of kind smwm or its baselines'
            )
        return self.model

    def on(self, device: torch.device) -> Checkpoint:
        """Return this checkpoint with its model on a device, copied where it is on another one."""
        if next(self.model.parameters()).device == device:
            return self
        return self._replace(model=copy.deepcopy(self.model).to(device))


def save(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; meta.json is written last and marks it as complete."""
    folder = Path(folder)
    weights = format_tensors(checkpoint.model.state_dict())
    meta = {
        'format': FORMAT,
        'kind': 'smwm',
        'robot': asdict(checkpoint.robot),
        'dataset': asdict(checkpoint.dataset),
        'model': asdict(checkpoint.model_config),
        'planner': asdict(checkpoint.planner),
        'action': {'mean': checkpoint.scaler.mean.tolist(), 'std': checkpoint.scaler.std.tolist()},
        'weights_sha256': hashlib.sha256(weights).hexdigest(),
        'versions': {
            'smwm_ros': __version__,
            'torch': torch.__version__,
            'python': platform.python_version(),
        },
        'info': checkpoint.info.as_json(),
    }
    files = {folder / WEIGHTS: weights}
    model = checkpoint.model
    if isinstance(model, LatentActionModel) and (file := model.module_file):
        files[folder / file.name] = file.content
        meta['encoder'] = {'file': file.name, 'sha256': file.sha256}
    write_together({**files, folder / META: json.dumps(meta, indent=1).encode()})


def add_info(folder: Path, **found: Any) -> None:
    """Add keys to the info of a checkpoint on disk, without touching its weights."""
    change(folder, 'info', **found)


def change(folder: Path, part: str, **found: Any) -> None:
    """Change keys in a part of meta.json, such as info or planner."""
    meta = _read_meta(folder)
    meta[part] = {**meta[part], **found}
    write_atomic(folder / META, json.dumps(meta, indent=1).encode())


def load(folder: str | Path, device: str | torch.device = 'cpu') -> Checkpoint:
    """Read a checkpoint; its model is in eval mode, without gradients, on a device."""
    folder = Path(folder)
    meta = read_meta(folder)
    path = folder / META
    try:
        robot = section(config.Robot, meta.robot, 'robot')
        dataset = section(config.Dataset, meta.dataset, 'dataset')
        model_config = section(config.Model, meta.model, 'model')
        planner = section(config.Planner, meta.planner, 'planner')
    except ValueError as error:
        raise CHECKPOINT.damaged(path, str(error)) from None
    mean, std = (np.asarray(meta.action[name], np.float64) for name in ('mean', 'std'))
    scaler, size = ActionScaler(mean, std), action_spec(robot).size
    usable = np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()
    if not mean.shape == std.shape == (size,) or not usable:
        found = f'{brief(mean.tolist())} and {brief(std.tolist())}'
        raise CHECKPOINT.damaged(
            path, f'expected mean and positive std of {size} action fields, found {found}'
        )
    states = len(expand(robot.state.fields)) if robot.state.topic else 0
    file = encoder_file.reload(folder, model_config, meta.encoder, CHECKPOINT)
    shape = (model_config, dataset.image_size, size * dataset.action_block, states, file)
    weights = _read_weights(folder / WEIGHTS, meta.weights_sha256, shape)
    model = make_any(*shape)
    model.load_state_dict(weights)
    model.to(device).eval().requires_grad_(False)
    return Checkpoint(model, robot, dataset, model_config, planner, scaler, meta.info, folder)


def read_meta(folder: Path) -> Meta:
    """Read and check meta.json."""
    meta = _read_meta(folder)
    meta['info'] = Info.parse(meta['info'])
    return Meta(**{name: meta[name] for name in Meta._fields if name in meta})


def _read_meta(folder: Path) -> dict[str, Any]:
    """Read and check meta.json, with the keys that this version does not know."""
    path = folder / META
    if not path.is_file():
        raise CheckpointError(f'{folder}: no checkpoint here; {_what_is_there(folder)}')
    meta = read_json(path, CHECKPOINT, FORMAT)
    stored.require(meta, _META, path, CHECKPOINT)
    if apart := meta['info'].get('distances'):
        ticks, median = apart['ticks'], apart['median']
        if len(ticks) != len(median) or not np.isfinite([*ticks, *median]).all():
            raise CHECKPOINT.damaged(
                path, 'info.distances: expected as many numbers in median as in ticks, all finite'
            )
    return meta


def require(
    checkpoint: Checkpoint, where: str, action_size: int, dt: float, image_size: int
) -> None:
    """Raise a CheckpointError if action size, period or image size differ from the checkpoint."""
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


def _read_weights(path: Path, digest: str, shape: tuple[Any, ...]) -> dict[str, Tensor]:
    """Read the weights, or raise an error that names missing, surplus and misshapen tensors."""
    tensors, found = read_tensors(path, CHECKPOINT)
    try:
        with torch.device(
            'meta'
        ):  # allocates nothing, however large the sizes in a damaged meta.json
            wanted = make_any(*shape).state_dict()
    except (ConfigError, RuntimeError) as error:
        raise CHECKPOINT.damaged(path.with_name(META), one_line(error)) from None
    mistakes = [f'missing {name}' for name in sorted(set(wanted) - set(tensors))]
    mistakes += [f'unexpected {name}' for name in sorted(set(tensors) - set(wanted))]
    mistakes += [
        f'{name} is {_form(tensors[name])}, expected {_form(wanted[name])}'
        for name in sorted(set(wanted) & set(tensors))
        if _form(tensors[name]) != _form(wanted[name])
    ]
    if mistakes:
        more = f'; and {len(mistakes) - _NAMED} more' if len(mistakes) > _NAMED else ''
        raise CheckpointError(
            f'{path}: does not fit the model in {META}: {"; ".join(mistakes[:_NAMED])}{more}'
        )
    if found != digest:
        raise CheckpointError(
            f'{path}: the SHA-256 differs from weights_sha256 in {META}; {CHECKPOINT.remedy}'
        )
    return tensors


def _form(tensor: Tensor) -> str:
    """Return the shape of a tensor as text, with its dtype if that is not float32."""
    kind = '' if tensor.dtype == torch.float32 else f' {tensor.dtype}'
    return f'{tuple(tensor.shape)}{kind}'


def _what_is_there(folder: Path) -> str:
    """Return what was found where a checkpoint was expected, as text."""
    if folder.is_dir():
        names = sorted(item.name for item in folder.iterdir())
        more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
        return f'{META} is missing; found {", ".join(names[:_NAMED]) or "an empty folder"}{more}'
    parent = folder.parent
    if not parent.is_dir():
        return f'{parent} does not exist either'
    names = sorted(item.parent.name for item in parent.glob(f'*/{META}'))
    return f'in {parent}: {", ".join(names) or "no checkpoints"}'


def relative_to_run(path: Path, run: Path) -> str:
    """Return a path relative to a run folder, so that both can be moved together."""
    return os.path.relpath(path.resolve(), run.resolve())


def recorded_data(path: Path) -> Path | None:
    """Return the path of the dataset that a run was trained on, or None if it moved."""
    info = read_json(path / 'meta.json', CHECKPOINT).get('info')
    name = info.get('data') if isinstance(info, dict) else None
    if not isinstance(name, str):
        return None
    # The path is relative to the run; best/ is a checkpoint inside a run.
    for place in (path / name, path.parent / name):
        if os.path.isfile(
            place / 'dataset.json'
        ):  # unlike Path.is_file, it raises nothing on any text
            return Path(os.path.normpath(place))
    return None
