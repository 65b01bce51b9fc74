# SPDX-License-Identifier: Apache-2.0
"""The methods of an evaluation: the run itself, other runs, and other kinds of model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import logging
from pathlib import Path
import time
from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.config import KINDS
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.stored import section
from smwm_ros.errors import CheckpointError, ConfigError, did_you_mean
from smwm_ros.evaluation.agents import PlannerAgent
from smwm_ros.interfaces import Array
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.goal_fields import settings_for
from smwm_ros.planning import masked_goals
from smwm_ros.planning.masked_goals import MaskedGoals, require_distance
from smwm_ros.planning.pilot import Pilot
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.latent_scale import distance_of
from smwm_ros.training.train import train

_log = logging.getLogger(__name__)

ALWAYS = ('random', 'expert')  # lower and upper reference, part of each evaluation
PAPER = 'paper'  # the run itself, with the planner of the paper
WHOLE = 'whole picture'  # the run itself, without the masks of the goals
# Cost of the last model step alone, and no warm start.
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
ALL = 'all'  # every kind that the dataset allows
WORDS = (ALL, *KINDS, PAPER, *ALWAYS)
# Learns its actions from images alone, with settings of its own: it is no variant of another run.
APART = 'latent_action'


class Method(NamedTuple):
    """A checkpoint, and the settings to plan with."""

    name: str
    run: Path
    checkpoint: Checkpoint
    planner: config.Planner
    execute: int  # raw steps of each plan to execute
    masks: MaskedGoals | None = None  # None: the whole picture of a goal counts

    @property
    def state_trained(self) -> bool:
        """Return whether the training used the measured state."""
        return self.checkpoint.model_config.aligns_state

    def agent(self, protocol: config.Evaluate) -> PlannerAgent:
        """Return an agent that plans by this method, warmed up."""
        pilot = Pilot(self.checkpoint, self.planner)
        pilot.warm_up()
        return PlannerAgent(pilot, self.execute, protocol.delay, masks=self.masks)


def read_words(
    text: str, folder: Path, checkpoint: Checkpoint, dataset: TransitionDataset | None
) -> list[str]:
    """
    Return the methods of a comma-separated list beside the run, each once.

    Raises ConfigError for an unknown one, and for one that cannot be trained from the dataset.
    """
    words = [word.strip() for word in text.split(',')]
    for word in words:
        if word not in WORDS and not (Path(word) / checkpoints.META).is_file():
            raise ConfigError(
                f"--methods: '{word}': neither a method nor a run folder; "
                f'{did_you_mean(word, WORDS)}'
            )
    own = checkpoint.model_config.kind
    for word in {*words} & {ALL, *KINDS} - {own}:
        if dataset is None:
            raise ConfigError(f'--methods {word}: is trained from --data, which is missing')
        if dataset.fingerprint != checkpoint.info.dataset:
            raise ConfigError(
                f'--methods {word}: {dataset.folder} is not the dataset that {folder} was trained '
                'on; methods are compared on one dataset: pass that one as --data'
            )
    if ALL in words:
        at = words.index(ALL)
        words[at : at + 1] = possible_kinds(dataset) if dataset else []
    return [
        word for word in dict.fromkeys(words) if word not in (*ALWAYS, own) and word != str(folder)
    ]


def possible_kinds(dataset: TransitionDataset) -> list[str]:
    """Return the kinds that can be trained from a dataset; state_align needs measured states."""
    measured = dataset.info.state_size > 0 and all(
        np.isfinite(dataset.states(dataset.starts(split, 0, unlabelled=True))).any()
        for split in ('train', 'val')
    )
    return [
        kind
        for kind in KINDS
        if kind != APART and (measured or not config.Model(kind=kind).aligns_state)
    ]


def gather(
    words: Sequence[str],
    folder: Path,
    checkpoint: Checkpoint,
    dataset: TransitionDataset | None,
    settings: config.Config,
    progress: ShowProgress = NoProgress,
) -> list[Method]:
    """Return the run and the other methods; train those that are not trained yet."""
    execute = settings.evaluate.execute
    planner = settings.planner
    first = Method(checkpoint.model_config.kind, folder, checkpoint, planner, execute)
    methods = [first]
    for word in words:
        if word == PAPER:
            methods.append(Method(PAPER, folder, checkpoint, *as_in_the_paper(checkpoint)))
            continue
        run = folder.with_name(f'{folder.name}_{word}') if word in KINDS else Path(word)
        if word in KINDS:
            other = _trained(word, run, folder, checkpoint, dataset, progress)
        else:
            other = checkpoints.load(run)
            spec = other.spec
            where = f'{folder} beside {word}'
            checkpoints.require(checkpoint, where, spec.size, spec.dt, other.image_size)
        fitting = settings_for(planner, other.model_config)
        methods.append(Method(word, run, other, fitting, execute))
    return methods


def load_masks(checkpoint: Checkpoint, planner: config.Planner) -> MaskedGoals:
    """Return what makes metrics of the masks of goals, or raise where masks are not possible."""
    require_distance(planner)
    near = distance_of(checkpoint.info, masked_goals.NEAR)
    return masked_goals.load(checkpoint, near, 'a goal with a mask')


def masked(methods: Sequence[Method]) -> list[Method]:
    """Return methods for goals with masks, and the first one for the whole pictures, too."""
    found = [one._replace(masks=load_masks(one.checkpoint, one.planner)) for one in methods]
    return [*found, methods[0]._replace(name=WHOLE)]


def as_in_the_paper(checkpoint: Checkpoint) -> tuple[config.Planner, int]:
    """Return the planner of the paper, and the raw steps of a whole plan, which it executes."""
    planner = replace(PAPER_PLANNER, seed=checkpoint.planner.seed)
    return planner, planner.horizon * checkpoint.action_block


def other_kind(model: config.Model, kind: str) -> config.Model:
    """Return the model settings with another kind, without what that kind does not have."""
    other, defaults = replace(model, kind=kind), config.Model()
    missing = [] if other.inverts else ['inverse_target', 'inverse_pairs']
    missing += [] if other.aligns_state else config.ALIGNS
    return replace(other, **{name: getattr(defaults, name) for name in missing})


def _trained(
    kind: str,
    run: Path,
    folder: Path,
    checkpoint: Checkpoint,
    dataset: TransitionDataset | None,
    progress: ShowProgress,
) -> Checkpoint:
    """Train another kind with the settings of the run, or reuse an earlier training."""
    assert dataset is not None  # checked by read_words
    try:
        settings = section(config.Train, checkpoint.info.train, 'train')
    except ValueError as error:
        raise CheckpointError(
            f'{folder}: meta.json lacks the training settings ({error}); train {kind} with smwm '
            'train, and pass its run folder to --methods'
        ) from None
    _log.info('%s: %s, trained as %s was.', kind, run, folder)
    model = other_kind(checkpoint.model_config, kind)
    planner = settings_for(checkpoint.planner, model)
    made = train(dataset, run, model, settings, planner, progress=progress)
    return made._replace(folder=run)


def plan_times(pilot: Pilot, images: Sequence[Array]) -> dict[str, float]:
    """Return median and 99th percentile of the time of single plans [ms]."""
    pilot.set_goal(images[-1])
    pilot.plan(images[0], 0)
    times = []
    for image in images:
        began = time.perf_counter()
        pilot.plan(image, 1)
        times.append(1e3 * (time.perf_counter() - began))
    median, p99 = np.percentile(times, [50, 99])
    return {'median': float(median), 'p99': float(p99)}
