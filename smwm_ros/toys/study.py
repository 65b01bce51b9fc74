# SPDX-License-Identifier: Apache-2.0
"""Train the model of the paper's toy experiments on a toy world, and measure it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from smwm_ros import config
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.toys.judge import Found, judge
from smwm_ros.toys.worlds import record, Toy
from smwm_ros.training.train import train

TRANSITIONS = 8000


def study(
    toy: Toy,
    folder: Path,
    cfg: config.Config,
    transitions: int = TRANSITIONS,
    progress: ShowProgress = NoProgress,
) -> Found:
    """Train in a run folder (a finished run is kept), and measure the model."""
    seed = cfg.train.seed
    settings = replace(cfg.train, steps=max(round(toy.effort * cfg.train.steps), 1))
    model = cfg.model if toy.inverse else replace(cfg.model, kind='forward_only')
    with TemporaryDirectory() as name:
        dataset = record(toy, Path(name) / 'data', seed, transitions, cfg.dataset.image_size)
        checkpoint = train(dataset, folder, model, settings, cfg.planner, progress=progress)
    return judge(toy, checkpoint, seed)
