# SPDX-License-Identifier: Apache-2.0
"""
Train a model further on new recordings, with old ones mixed in so that it does not forget.

The weights, the architecture and the scale of the actions are those of the earlier run. A part of
each batch comes from the old datasets, however small the new one is.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import asdict, replace
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import INDEX, TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.data.joined import JoinedDataset, require_same_robot
from smwm_ros.data.stored import differences, section
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, read_meta, relative_to_run
from smwm_ros.model.world_model import Smwm
from smwm_ros.training.batches import Batches, Shuffle


class Origin(NamedTuple):
    """What a fine-tuning begins with."""

    checkpoint: Checkpoint  # loaded from its run folder
    old: tuple[TransitionDataset, ...] = ()  # datasets that are mixed in

    @property
    def folder(self) -> Path:
        """Return the run folder that the weights come from."""
        assert self.checkpoint.folder is not None
        return self.checkpoint.folder

    def identity(self) -> dict[str, Any]:
        """Return what identifies a run that begins here."""
        weights = read_meta(self.folder).weights_sha256
        return {'weights': weights, 'mixed': [dataset.fingerprint for dataset in self.old]}

    def record(self, run: Path) -> dict[str, Any]:
        """Return what meta.json of a run holds of its origin; paths are relative to the run."""
        return {
            **self.identity(),
            'run': relative_to_run(self.folder, run),
            'data': [relative_to_run(dataset.folder, run) for dataset in self.old],
        }

    def model(self) -> Smwm:
        """Return a copy of the model that can be trained."""
        return copy.deepcopy(self.checkpoint.smwm).requires_grad_(True)

    def require_fit(self, dataset: TransitionDataset, model_config: config.Model) -> None:
        """Raise if the origin is another kind of model, or of another robot than a dataset."""
        checkpoint = self.checkpoint
        if checkpoint.model_config.kind == 'latent_action':
            raise CheckpointError(
                f'{self.folder}: latent-action models cannot be trained further, because their '
                'encoder and their code are fitted to one dataset; convert all recordings into '
                'one dataset and train on it'
            )
        wanted = asdict(checkpoint.model_config)
        if wrong := differences(wanted, asdict(model_config), wanted):
            words = (f'model.{name} is {a} there and {b} now' for name, (a, b) in wrong.items())
            raise ConfigError(
                f'--from: {self.folder}: has another model: {"; ".join(words)}; leave these out'
            )
        info = dataset.info._replace(
            spec=checkpoint.spec,
            action_block=checkpoint.action_block,
            image_size=checkpoint.image_size,
        )
        if checkpoint.model_config.aligns_state:
            info = info._replace(state_size=len(_states(checkpoint)))
        require_same_robot(dataset, info, str(self.folder))

    def joined(self, dataset: TransitionDataset) -> TransitionDataset:
        """Return a dataset with the old ones behind it."""
        return JoinedDataset([dataset, *self.old]) if self.old else dataset


class MixedShuffle:
    """Orders new and old rows anew in each of their epochs; a share of each batch is old."""

    def __init__(self, new: Array, old: Array, settings: config.Train) -> None:
        count = min(round(settings.old_share * settings.batch), settings.batch - 1)
        self._seed = settings.seed
        self._new = Shuffle(new, settings.batch - count, settings.seed)
        self._old = Shuffle(old, count, settings.seed + 1)

    def __call__(self, step: int) -> Array:
        """Return the rows of a step, mixed: processes share a batch by position."""
        rows = np.concatenate([self._new(step), self._old(step)])
        return np.random.default_rng([self._seed, step]).permutation(rows)


def sampler_of(batches: Batches, new: int, settings: config.Train) -> Shuffle | MixedShuffle:
    """Return what draws the rows of each step; the first `new` rows of the dataset are new."""
    starts = batches.starts('train')
    old = starts[starts >= new]
    if not len(old) or not settings.old_share:
        return Shuffle(starts[starts < new], settings.batch, settings.seed)
    return MixedShuffle(starts[starts < new], old, settings)


def held_out_rows(batches: Batches, new: int, count: int) -> Array:
    """Return rows of held-out windows: as many of the new dataset as of the old ones."""
    starts = batches.starts('val')
    old = starts[starts >= new]
    if not len(old):
        return evenly_spaced(starts, count)
    halves = (evenly_spaced(part, count // 2) for part in (starts[starts < new], old))
    return np.concatenate(list(halves))


def settings_of(checkpoint: Checkpoint) -> config.Train:
    """Return the training settings of a run; the defaults if another version wrote them."""
    try:
        return section(config.Train, checkpoint.info.train or {}, 'train')
    except ValueError:
        return config.Train()


def slower(settings: config.Train) -> config.Train:
    """Return the settings with the learning rate of fine-tuning."""
    return replace(settings, lr=settings.from_lr * settings.lr)


def mixed_data(run: Path) -> list[Path]:
    """Return the old datasets that were mixed into a run; raise if one is gone."""
    found = read_meta(run).info.tuned_from.get('data', [])
    paths = [Path(os.path.normpath(run / str(name))) for name in found]
    if missing := [str(path) for path in paths if not (path / INDEX).is_file()]:
        raise ConfigError(
            f'{run}: was trained on {", ".join(missing)} as well, and no dataset is there any more'
        )
    return paths


def _states(checkpoint: Checkpoint) -> Sequence[str]:
    """Return the fields of the measured state that a model was trained with."""
    state = checkpoint.robot.state
    return expand(state.fields) if state.topic else ()
