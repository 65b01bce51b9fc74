# SPDX-License-Identifier: Apache-2.0
"""
Read models that SMWM or LeWM trained; nothing that their files hold is executed.

SMWM leaves a folder with config.yaml and checkpoints/last.ckpt, LeWM and stable-worldmodel one
with config.json and weights.pt. Both are pickles, of which the numbers are read and nothing else.
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
from smwm_ros.model.vit import HIDDEN, LATENT, PATCH, SIDE
from smwm_ros.model.world_model import make_model, Smwm
import torch
from torch import Tensor

SHOWN = 20  # mistakes told one by one
_PREDICTOR = {'depth': 6, 'heads': 16, 'mlp_dim': 2048, 'dim_head': 64}
# What a configuration must say for the networks to be ours: no tensor shows the number of heads.
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
    """A model of others, as it was found."""

    maker: str  # 'SMWM' or 'LeWM'
    weights: Path
    tensors: Mapping[str, Tensor]  # by the names of SMWM
    config: Model
    action_size: int  # K*A
    action_block: int | None  # K, where it is told

    @property
    def inverts(self) -> bool:
        """Return whether it has an inverse model."""
        return any(name.startswith('inverse_model.') for name in self.tensors)

    def build(self, image_size: int) -> Smwm:
        """Return our model with its weights; an inverse model that it has not answers zero."""
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
                f'{self.weights}: does not fit a model of {self.maker} with a history of '
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
    """Read the run folder of SMWM, the model folder of LeWM, or the weights in one of them."""
    weights, configuration = _find(path)
    if configuration.suffix == '.yaml':
        return _smwm(weights, configuration)
    return _lewm(weights, configuration)


def _find(path: Path) -> tuple[Path, Path]:
    """Return the file of weights and that of the configuration."""
    if path.is_dir():
        last = path / 'checkpoints' / 'last.ckpt'
        weights = [last] if last.is_file() else sorted(path.glob('*.pt'))
        if len(weights) != 1:
            held = ', '.join(sorted(item.name for item in path.iterdir())) or 'nothing'
            raise CheckpointError(
                f'{path}: expected checkpoints/last.ckpt (SMWM) or one .pt file (LeWM), found '
                f'{held}; name the file'
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
        f'{path}: neither config.yaml nor config.json lies beside it or a folder above; one of '
        'them tells the sizes that tensors do not show'
    )


def _smwm(weights: Path, path: Path) -> ForeignModel:
    """Read a run of SMWM."""
    told = _Told(path, read_yaml(path), _SMWM)
    inverse, sigreg = told.number('loss.inverse.weight'), told.number('loss.sigreg.weight')
    block = told.count('data.dataset.frameskip')
    kinds = {(True, False): 'smwm', (False, True): 'sigreg', (True, True): 'smwm+sigreg'}
    config = Model(
        preset='tiny',
        kind=kinds.get((inverse > 0, sigreg > 0), 'forward_only'),
        history=told.count('wm.history_size'),
        inverse_weight=inverse,
        sigreg_weight=sigreg,
    )
    size = block * told.count('wm.action_dim')
    return ForeignModel('SMWM', weights, plain(read_tensors(weights)), config, size, block)


def _lewm(weights: Path, path: Path) -> ForeignModel:
    """Read a model that LeWM or stable-worldmodel saved."""
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: cannot be read as JSON: {error}') from None
    target = str(data.get('_target_', 'nothing')) if isinstance(data, dict) else 'nothing'
    if not target.endswith('LeWM'):
        raise CheckpointError(f'{path}: tells of {target}, expected a _target_ that ends in LeWM')
    told = _Told(path, data, _LEWM)
    config = Model(preset='tiny', kind='sigreg', history=told.count('predictor.num_frames'))
    size = told.count('action_encoder.input_dim')
    return ForeignModel('LeWM', weights, plain(read_tensors(weights)), config, size, None)


class _Told:
    """The configuration of a model, of which the sizes are those that we have."""

    def __init__(self, path: Path, data: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        self._path, self._data = path, data
        wrong = [
            f'{name} is {self._value(name)}, expected {value}'
            for name, value in expected.items()
            if self._value(name) != value
        ]
        if wrong:
            raise CheckpointError(
                f'{path}: not a model of the sizes of the paper, which alone can be imported: '
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
                return 'not told'
            value = value[word]
        return value
