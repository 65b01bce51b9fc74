# SPDX-License-Identifier: Apache-2.0
"""Who takes part in an evaluation: the run itself, other runs, and other kinds of model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import time
from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.config import KINDS
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.stored import section
from smwm_ros.errors import CheckpointError, ConfigError, did_you_mean
from smwm_ros.evaluation.policies import PilotDriver
from smwm_ros.interfaces import Array
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.goal_fields import without_focus
from smwm_ros.planning.pilot import Pilot
from smwm_ros.text import tell
from smwm_ros.training.train import train

ALWAYS = ('random', 'expert')  # floor and ceiling: nobody has to ask for them
PAPER = 'paper'  # the run itself, planning as the paper does
# It scores the last step alone, and every plan begins from nothing.
PAPER_PLANNER = config.Planner(
    samples=300,
    iterations=30,
    elites=30,
    horizon=5,
    cost='last',
    init_std=1.0,
    min_std=0.0,
    warm_start=False,
)
WORDS = (*KINDS, PAPER, *ALWAYS)


class Method(NamedTuple):
    """A checkpoint, and how it is driven."""

    name: str
    run: Path
    checkpoint: Checkpoint
    planner: config.Planner
    execute: int  # raw steps of each plan

    def driver(self, protocol: config.Evaluate) -> PilotDriver:
        """Return who drives by this method, warmed up."""
        pilot = Pilot(self.checkpoint, self.planner)
        pilot.warm_up()
        return PilotDriver(pilot, self.execute, protocol.delay)


def read_words(text: str, folder: Path) -> list[str]:
    """Return the methods of a list with commas, or say which there are."""
    words = [word.strip() for word in text.split(',')]
    for word in words:
        if word not in WORDS and not (Path(word) / checkpoints.META).is_file():
            raise ConfigError(
                f"--methods: '{word}': neither a method nor a run folder; "
                f'{did_you_mean(word, WORDS)}'
            )
    return [word for word in dict.fromkeys(words) if word not in ALWAYS and word != str(folder)]


def gather(
    words: Sequence[str],
    folder: Path,
    checkpoint: Checkpoint,
    dataset: TransitionDataset | None,
    settings: config.Config,
) -> list[Method]:
    """Return the run and the methods beside it; what is not trained yet is trained."""
    execute = settings.evaluate.execute
    planner = settings.planner
    first = Method(checkpoint.model_config.kind, folder, checkpoint, planner, execute)
    methods = [first]
    for word in words:
        if word == PAPER:
            methods.append(Method(PAPER, folder, checkpoint, *as_in_the_paper(checkpoint)))
            continue
        if word == first.name:
            continue
        run = folder.with_name(f'{folder.name}_{word}') if word in KINDS else Path(word)
        if word in KINDS:
            other = _trained(word, run, folder, checkpoint, dataset)
        else:
            other = checkpoints.load(run)
            spec = other.spec
            where = f'{folder} beside {word}'
            checkpoints.require(checkpoint, where, spec.size, spec.dt, other.image_size)
        fitting = without_focus(planner, other.model_config)
        methods.append(Method(word, run, other, fitting, execute))
    return methods


def as_in_the_paper(checkpoint: Checkpoint) -> tuple[config.Planner, int]:
    """Return how the paper plans: a plan is executed to its end."""
    planner = replace(PAPER_PLANNER, seed=checkpoint.planner.seed)
    return planner, planner.horizon * checkpoint.action_block


def other_kind(model: config.Model, kind: str) -> config.Model:
    """Return the same architecture as another kind; lambda is searched only where there is one."""
    target = model.inverse_target if config.Model(kind=kind).inverts else 0.0
    return replace(model, kind=kind, inverse_target=target)


def _trained(
    kind: str, run: Path, folder: Path, checkpoint: Checkpoint, dataset: TransitionDataset | None
) -> Checkpoint:
    """Train another kind as the run was trained; an earlier training is reused."""
    if dataset is None:
        raise ConfigError(f'--methods {kind}: is trained from --data, which is missing')
    if dataset.fingerprint != checkpoint.info.get('dataset'):
        raise ConfigError(
            f'--methods {kind}: {dataset.folder} is not the dataset that {folder} was trained '
            'on, and only what learnt from the same data can be compared'
        )
    try:
        settings = section(config.Train, checkpoint.info.get('train'), 'train')
    except ValueError as error:
        raise CheckpointError(
            f'{folder}: does not tell how it was trained ({error}); train {kind} by hand, and '
            'give its run folder to --methods'
        ) from None
    tell(f'{kind}: {run}, trained as {folder} was.')
    model = other_kind(checkpoint.model_config, kind)
    planner = without_focus(checkpoint.planner, model)
    return train(dataset, run, model, settings, planner)._replace(folder=run)


def plan_times(pilot: Pilot, images: Sequence[Array]) -> dict[str, float]:
    """Time plans of one problem at a time, as on a robot [ms]."""
    pilot.set_goal(images[-1])
    pilot.plan(images[0], 0)
    times = []
    for image in images:
        began = time.perf_counter()
        pilot.plan(image, 1)
        times.append(1e3 * (time.perf_counter() - began))
    median, p99 = np.percentile(times, [50, 99])
    return {'median': float(median), 'p99': float(p99)}
