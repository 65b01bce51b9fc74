# SPDX-License-Identifier: Apache-2.0
"""The folder of a training run: curves, state to resume from, and identity of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
import io
import json
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.stored import differences, flatten, Kind, require
from smwm_ros.errors import CheckpointError, one_line, writing
from smwm_ros.files import write_atomic
from smwm_ros.interfaces import Array, Window
from smwm_ros.latent_actions.frozen import MODULES
from smwm_ros.model import fastest
from smwm_ros.model.checkpoint import META, WEIGHTS
from smwm_ros.model.tensors import require_finite
from smwm_ros.text import brief
import torch
from torch import nn, Tensor
from torch.optim import Optimizer

CURVES = 'train.csv'
STATES, LAST = 'state', 'last.pt'
STATE = Kind(CheckpointError, 'start over with --fresh')
_STATE = {
    'identity': {str: Any},
    'model': dict,
    'optimiser': {'state': {int: dict}, 'param_groups': list},
    'step': int,
    'forms?': {str: str},
    'curves': [{'step': float, 'seconds': float, 'misfit': float}],
}
SCRATCH: dict[str, Any] = {'weights': '', 'mixed': []}  # identity of a run that begins anew
DEFAULTS = {
    'model': asdict(config.Model()),
    'train': asdict(config.Train()),
    'tuned_from': SCRATCH,
}


class RunProgress(NamedTuple):
    """Last step of a run, and its curves."""

    step: int
    curves: list[dict[str, float]]  # one row for each validation


class Run:
    """A run folder, and the settings and dataset that identify its run."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        # As read back from JSON, where tuples are lists.
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.best = folder / 'best'  # checkpoint of the step with the lowest misfit so far
        self.scalars = folder / 'tensorboard'
        self._states = folder / STATES
        self._last = self._states / LAST

    def clear(self) -> None:
        """Remove the files of the run, and no others in the folder."""
        with writing(self.folder):
            for name in (META, WEIGHTS, CURVES, *MODULES.values()):
                (self.folder / name).unlink(missing_ok=True)
        for part in (self.best, self.scalars):
            shutil.rmtree(part, ignore_errors=True)
        self.forget_state()

    def forget_state(self) -> None:
        """Remove the state that only an unfinished run needs."""
        shutil.rmtree(self._states, ignore_errors=True)

    def save_state(self, model: nn.Module, optimiser: Optimizer, progress: RunProgress) -> None:
        """Write the curves so far, and the state to resume from."""
        header = ','.join(progress.curves[0])
        lines = [','.join(f'{value:.6g}' for value in row.values()) for row in progress.curves]
        write_atomic(self.folder / CURVES, '\n'.join([header, *lines, '']).encode())
        buffer = io.BytesIO()
        state = {
            'identity': self.identity,
            'model': model.state_dict(),
            'optimiser': optimiser.state_dict(),
            'forms': fastest.chosen(),  # other forms round differently
            **progress._asdict(),
        }
        torch.save(state, buffer)
        write_atomic(self._last, buffer.getvalue())

    def resume(self, model: nn.Module, optimiser: Optimizer) -> RunProgress:
        """Load the state of an interrupted run, if there is one, and return its progress."""
        if not self._last.is_file():
            return RunProgress(0, [])
        state = self._read_state()
        self.require_same(state['identity'])
        try:
            model.load_state_dict(state['model'])
            optimiser.load_state_dict(state['optimiser'])
            _require_fit(optimiser)
        except Exception as error:  # torch checks little, and raises errors of many types
            raise STATE.damaged(self._last, f'does not fit the model: {one_line(error)}') from None
        fastest.choose(state.get('forms', {}))
        return RunProgress(state['step'], state['curves'])

    def _read_state(self) -> dict[str, Any]:
        """Read the file of save_state; no code in it is executed."""
        try:
            state = torch.load(self._last, 'cpu', weights_only=True)
        except Exception as error:  # torch does not document their types
            raise STATE.damaged(self._last, f'not the state of a run: {one_line(error)}') from None
        if not isinstance(state, dict):
            raise STATE.damaged(self._last, f'not the state of a run, but {brief(state)}')
        require(state, _STATE, self._last, STATE)
        if not state['curves'] or state['step'] < 1:
            raise STATE.damaged(self._last, 'not the state of a run: it holds no completed step')
        parts = {**state['model'], **_tensors(state['optimiser'])}
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        require_finite(tensors, self._last, STATE)
        return state

    def require_same(self, found: Mapping[str, Any]) -> None:
        """Refuse to mix two different runs in one folder."""
        known = flatten(self.identity)  # what else is stored with a run does not identify it
        mistakes = [
            f'{name} is {before} there and {now} now'
            for name, (before, now) in differences(found, self.identity, DEFAULTS).items()
            if name in known
        ]
        if mistakes:
            raise CheckpointError(
                f'{self.folder}: holds another run: {"; ".join(mistakes)}; choose another folder, '
                'or start over with --fresh'
            )

    def save_batch(self, rows: Array, batch: Window) -> Path:
        """Write the batch at which a loss was not finite, for inspection; return its path."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            rows=rows,
            pixels=batch.obs.pixels.cpu().numpy(),
            action=batch.action.cpu().numpy(),
        )
        path = self._states / 'bad_batch.npz'
        write_atomic(path, buffer.getvalue())
        return path


def _tensors(optimiser: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of an optimiser, one entry for each parameter and name."""
    return {
        f'optimiser {number} {name}': part
        for number, parts in optimiser['state'].items()
        for name, part in parts.items()
    }


def _require_fit(optimiser: Optimizer) -> None:
    """Raise a ValueError if a state has another shape than its parameter."""
    for parameter, parts in optimiser.state.items():
        for name, part in parts.items():
            if part.ndim and part.shape != parameter.shape:
                raise ValueError(f'{name} is {tuple(part.shape)} of {tuple(parameter.shape)}')


def require_begun(folder: Path) -> None:
    """Raise a CheckpointError if a folder holds no run to resume."""
    if not any(path.is_file() for path in (folder / META, folder / STATES / LAST)):
        raise CheckpointError(
            f'{folder}: holds no run to resume (a run is saved at its first validation, after '
            'train.eval_every steps); leave --resume out to begin'
        )


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return every knob under its key path, such as train.lr."""
    flat: dict[str, Any] = {}
    for part, value in identity.items():
        if isinstance(value, Mapping):
            flat |= {f'{part}.{name}': knob for name, knob in value.items()}
        else:
            flat[part] = value
    return flat
