# SPDX-License-Identifier: Apache-2.0
"""Choose the planner of a new run with an actor, where its settings name none."""

from __future__ import annotations

import argparse
from contextlib import closing, ExitStack
from dataclasses import replace
from typing import Any, TYPE_CHECKING

from smwm_ros.config import Config
from smwm_ros.errors import DatasetError, SmwmError
from smwm_ros.text import count_of, echo

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.planner_choice import Choice
    from smwm_ros.model.checkpoint import Checkpoint

KEY = 'planner_choice'  # in the info of a run


def choose_planner(
    args: argparse.Namespace, cfg: Config, checkpoint: Checkpoint, dataset: TransitionDataset
) -> Checkpoint:
    """Choose the planner of a run by held-out episodes, store it and print why."""
    from smwm_ros.model.checkpoint import add_info, change, META

    known: Any = checkpoint.info.others.get(KEY)
    if known is None:
        choice = _measured(args, cfg, checkpoint, dataset)
        if choice is None:
            return checkpoint
        known = choice._asdict()
        add_info(args.out, **{KEY: known})
    planner = replace(checkpoint.planner, kind=known['kind'])
    for folder in (args.out, args.out / 'best'):
        if (folder / META).is_file():
            change(folder, 'planner', kind=planner.kind)
    tried = ', '.join(f'{kind} {value:.2f}' for kind, value in known['figures'].items())
    echo(
        f'Planner: {known["kind"]}, chosen by the {known["measure"]} for '
        f'{count_of(known["pairs"], "held-out pair")} of start and goal: {tried}; planner.kind '
        'sets another.'
    )
    return checkpoint._replace(planner=planner)


def _measured(
    args: argparse.Namespace, cfg: Config, checkpoint: Checkpoint, dataset: TransitionDataset
) -> Choice | None:
    """Measure in the arena of the robot, if there is one; return None if nothing is held out."""
    from smwm_ros.arenas import arena_of
    from smwm_ros.arenas.choose import arenas_of
    from smwm_ros.evaluation.planner_choice import by_agreement, by_driving
    from smwm_ros.load import load_config
    from smwm_ros.progress import show_progress

    names = arenas_of(checkpoint.robot)
    try:
        if names:
            name = cfg.arena.name if args.config and cfg.arena.name in names else names[0]
            cfg = cfg if args.config else load_config(name, args.settings)
            arena = replace(cfg.arena, name=name, image_size=checkpoint.image_size)
            settings = replace(cfg, arena=arena)
            with ExitStack() as stack:
                lanes = range(cfg.evaluate.lanes)
                arenas = [stack.enter_context(closing(arena_of(settings))) for _ in lanes]
                return by_driving(checkpoint, dataset, arenas, cfg.evaluate, show_progress)
    except SmwmError as error:  # no simulator here, or no measured state to start from
        echo(f'note: planners are compared without driving: {error}')
    try:
        return by_agreement(checkpoint, dataset)
    except DatasetError as error:
        echo(f'warning: the planner stays {checkpoint.planner.kind}: {error}')
        return None
