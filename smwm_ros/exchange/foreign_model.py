# SPDX-License-Identifier: Apache-2.0
"""
Read models that SMWM or LeWM trained, without executing anything in their files.

SMWM writes a folder with config.yaml and checkpoints/last.ckpt, LeWM and stable-worldmodel one
with config.json and weights.pt. Both weights are pickles, of which only the numbers are read.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any, NamedTuple

from smwm_ros.config import Model
from smwm_ros.errors import CheckpointError
from smwm_ros.exchange.pickled import read_tensors
from smwm_ros.exchange.tensor_names import mistakes, plain, theirs
from smwm_ros.load import read_yaml
from smwm_ros.model.any_model import make_model
from smwm_ros.model.vit import HIDDEN, LATENT, PATCH, SIDE
from smwm_ros.model.world_model import Smwm
import torch
from torch import Tensor

SHOWN = 20  # mismatched tensors listed in an error
_PREDICTOR = {'depth': 6, 'heads': 16, 'mlp_dim': 2048, 'dim_head': 64}
# Required configuration: no tensor shows the number of attention heads, for example.
_SMWM = {
    'encoder_scale': 'tiny',
    'patch_size': PATCH,
    'img_size': SIDE,
    'wm.embed_dim': LATENT,
    'inverse.hidden_dim': HIDDEN,
    **{f'predictor.{name}': value for name, value in _PREDICTOR.items()},
}
_LEWM = {
    'encoder.size': 'tiny',
    'encoder.patch_size': PATCH,
    'encoder.image_size': SIDE,
    'action_encoder.emb_dim': LATENT,
    **{f'predictor.{name}': value for name, value in _PREDICTOR.items()},
}


class ForeignModel(NamedTuple):
    """A model of another project."""

    maker: str  # 'SMWM' or 'LeWM'
    weights: Path
    tensors: Mapping[str, Tensor]  # by the names of SMWM
    config: Model
    action_size: int  # K*A
    action_block: int | None  # K, None if its configuration does not contain it

    @property
    def inverts(self) -> bool:
        """Return whether it has an inverse model."""
        return any(name.startswith('inverse_model.') for name in self.tensors)

    def build(self, image_size: int) -> Smwm:
        """Return our model with its weights; a missing inverse model gets weights of zero."""
        model = make_model(self.config, image_size, self.action_size)
        own = model.state_dict()
        absent = (
            set()
            if self.maker == 'SMWM' or self.inverts
            else {theirs(name) for name in own if name.startswith('inverse_model.')}
        )
        if found := mistakes(self.tensors, own, absent):
            more = f'; and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
            raise CheckpointError(
                f'{self.weights}: the tensors do not fit a {self.maker} model with a history of '
                f'{self.config.history} and {self.action_size} action numbers: '
                + '; '.join(found[:SHOWN])
                + more
            )
        with torch.no_grad():
            for name, tensor in own.items():
                known = self.tensors.get(theirs(name))
                tensor.zero_() if known is None else tensor.copy_(known)
        return model.eval().requires_grad_(False)


def read_original(path: Path) -> ForeignModel:
    """Read a run folder of SMWM, a model folder of LeWM, or the weights in one of them."""
    weights, configuration = _find(path)
    if configuration.suffix == '.yaml':
        return _smwm(weights, configuration)
    return _lewm(weights, configuration)


def _find(path: Path) -> tuple[Path, Path]:
    """Return the paths of the weights and of the configuration."""
    if path.is_dir():
        last = path / 'checkpoints' / 'last.ckpt'
        weights = [last] if last.is_file() else sorted(path.glob('*.pt'))
        if len(weights) != 1:
            held = ', '.join(sorted(item.name for item in path.iterdir())) or 'nothing'
            raise CheckpointError(
                f'{path}: found {held}, expected checkpoints/last.ckpt (SMWM) or one .pt file '
                '(LeWM); give the path of the weights'
            )
        path = weights[0]
    if not path.is_file():
        raise CheckpointError(f'{path}: no such file')
    folders = (path.parent, path.parent.parent)
    for name in ('config.yaml', 'config.json'):
        for folder in folders:
            if (folder / name).is_file():
                return path, folder / name
    raise CheckpointError(
        f'{path}: no configuration found, expected config.yaml or config.json in its folder or '
        'the folder above'
    )


def _smwm(weights: Path, path: Path) -> ForeignModel:
    """Read a run of SMWM."""
    given = _ForeignConfig(path, read_yaml(path), _SMWM)
    inverse, sigreg = given.number('loss.inverse.weight'), given.number('loss.sigreg.weight')
    block = given.count('data.dataset.frameskip')
    kinds = {(True, False): 'smwm', (False, True): 'sigreg', (True, True): 'smwm+sigreg'}
    config = Model(
        preset='tiny',
        kind=kinds.get((inverse > 0, sigreg > 0), 'forward_only'),
        history=given.count('wm.history_size'),
        inverse_weight=inverse,
        sigreg_weight=sigreg,
    )
    size = block * given.count('wm.action_dim')
    return ForeignModel('SMWM', weights, plain(read_tensors(weights)), config, size, block)


def _lewm(weights: Path, path: Path) -> ForeignModel:
    """Read a model that LeWM or stable-worldmodel saved."""
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: cannot be read as JSON: {error}') from None
    target = str(data.get('_target_', 'nothing')) if isinstance(data, dict) else 'nothing'
    if not target.endswith('LeWM'):
        raise CheckpointError(f'{path}: _target_ is {target}, expected one that ends in LeWM')
    given = _ForeignConfig(path, data, _LEWM)
    config = Model(preset='tiny', kind='sigreg', history=given.count('predictor.num_frames'))
    size = given.count('action_encoder.input_dim')
    return ForeignModel('LeWM', weights, plain(read_tensors(weights)), config, size, None)


class _ForeignConfig:
    """The configuration of a model of another project, with the sizes that we support."""

    def __init__(self, path: Path, data: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        self._path, self._data = path, data
        wrong = [
            f'{name} is {self._value(name)}, expected {value}'
            for name, value in expected.items()
            if self._value(name) != value
        ]
        if wrong:
            raise CheckpointError(
                f'{path}: only models of the sizes in the paper can be imported: '
                + '; '.join(wrong)
            )

    def count(self, name: str) -> int:
        """Return a whole number above 0."""
        value = self._value(name)
        if type(value) is not int or value < 1:
            raise CheckpointError(
                f'{self._path}: {name} is {value}, expected a whole number above 0'
            )
        return value

    def number(self, name: str) -> float:
        """Return a number that is not negative."""
        value = self._value(name)
        if type(value) not in (int, float) or not value >= 0:
            raise CheckpointError(f'{self._path}: {name} is {value}, expected a number')
        return float(value)

    def _value(self, name: str) -> Any:
        value: Any = self._data
        for word in name.split('.'):
            if not isinstance(value, Mapping) or word not in value:
                return 'missing'
            value = value[word]
        return value
