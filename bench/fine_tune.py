# SPDX-License-Identifier: Apache-2.0
"""
Measure what a trained model adds for a new robot with few recordings, in two rooms.

The model of PyBullet is trained further (smwm train --from) on one and on five minutes of another
robot: MuJoCo renders it, the camera and the colours differ, and commands take effect one raw step
later. A model trained from scratch on the same minutes is the peer, by the same recipe. Both drive
the new robot between the same pairs; the forward error and the inverse R2 are those of other
episodes. The fine-tuned models then drive the old robot, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common import main, Row
import numpy as np
from parts.success import Found, note, prepared, QUICK, record, row, Seed, workplace
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import Episode
from smwm_ros.evaluation.fit_to_images import CommandFit, measure_commands
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.progress import show_progress
from smwm_ros.training.fine_tune import Origin
from smwm_ros.training.train import train
import torch

STEPS = 1500  # of every training: less than a minute of one core
MINUTES = {1: 6, 5: 30}  # episodes of 100 raw steps of 0.1 s
JUDGES = 12  # episodes that no model was trained on
SEEDS = 3
FOREIGN = [
    'arena.engine=mujoco',
    'randomise.once=true',
    'randomise.camera_eye=[-0.05,0.05]',
    'randomise.colour=[-0.15,0.15]',
    'randomise.latency=[1,1]',
]
Fits = dict[str, list[CommandFit]]  # of each model, one for each seed


def measure(quick: bool, seeds: int) -> Iterator[Row]:
    """Train and evaluate with every seed, then yield all rows."""
    torch.set_num_threads(1)
    found: Found = {}
    fits: Fits = {}
    with workplace('fine_tune', quick) as folder:
        for number in range(1 if quick else seeds):
            one_seed(folder, number, quick, found, fits)
    yield from rows(found, fits)


def one_seed(folder: Path, number: int, quick: bool, found: Found, fits: Fits) -> None:
    """Train all models of one seed, and note what they achieve."""
    knobs = QUICK if quick else []
    foreign = [*FOREIGN, f'arena.seed={number}']  # the looks are drawn by this seed
    place = folder / str(number)
    with (
        prepared('two_room', place / 'home', number, knobs) as home,
        prepared('two_room', place / 'away', number, [*knobs, *foreign]) as away,
    ):
        old = record('two_room', folder, quick, seed=number)
        before = home.trained(old, home.config.model.kind, 'old', STEPS)
        judges = held_out(folder / 'away', quick, number)
        note(found, 'home', home.plan(before, home.pairs()))
        note(found, 'away', away.plan(before, away.pairs()))
        for minutes, episodes in list(MINUTES.items())[: 1 if quick else None]:
            new = record('two_room', folder / 'away', quick, episodes, number, FOREIGN)
            kind, name = away.config.model.kind, f'{minutes} minutes'
            scratch = away.trained(new, kind, f'scratch {name}', STEPS)
            tuned = fine_tuned(away, before, old, new, f'tuned {name}')
            for how, model in (('scratch', scratch), ('tuned', tuned)):
                note(found, f'{how} {minutes}', away.plan(model, away.pairs()))
                fits.setdefault(f'{how} {minutes}', []).append(measure_commands(model, judges))
            note(found, f'home {minutes}', home.plan(tuned, home.pairs()))


def held_out(folder: Path, quick: bool, number: int) -> TransitionDataset:
    """Record episodes of the new robot that all count as held out."""
    # Of the same arena.seed, which draws the looks: a longer recording begins with the episodes of
    # a shorter one.
    judges = record('two_room', folder, quick, max(MINUTES.values()) + JUDGES, number, FOREIGN)
    drives = judges.drives[-JUDGES:]
    judges.episodes = tuple(Episode(drive.start, drive.stop, 'val') for drive in drives)
    return judges


def fine_tuned(
    away: Seed, before: Checkpoint, old: TransitionDataset, new: TransitionDataset, name: str
) -> Checkpoint:
    """Train a model further, old recordings mixed in."""
    settings = replace(away.config.train, steps=min(STEPS, away.config.train.steps))
    how = (before.model_config, settings, away.config.planner)
    origin = Origin(before, (old,))
    return train(new, away.folder / name, *how, progress=show_progress, origin=origin)


def rows(found: Found, fits: Fits) -> Iterator[Row]:
    """Return the rows of the new robot, each beside training from scratch, then of the old one."""
    yield row('fine_tune.success_before', found, 'away', 'home')._replace(peer='at home')
    for minutes in MINUTES:
        tuned, scratch = f'tuned {minutes}', f'scratch {minutes}'
        if tuned not in found:  # with --quick
            continue
        beside = row(f'fine_tune.success_{minutes}_min', found, tuned, scratch)
        yield beside._replace(peer='from scratch')
        yield fit_row(f'fine_tune.inverse_r2_{minutes}_min', fits, tuned, scratch, 'inverse_r2')
        yield fit_row(f'fine_tune.forward_{minutes}_min', fits, tuned, scratch, 'forward')
        at_home = row(f'fine_tune.success_home_{minutes}_min', found, f'home {minutes}', 'home')
        yield at_home._replace(peer='before')


def fit_row(measure_name: str, fits: Fits, key: str, peer: str, figure: str) -> Row:
    """Return the mean of a figure over seeds, beside that of training from scratch."""
    value, beside = (
        float(np.mean([getattr(fit, figure) for fit in fits[name]])) for name in (key, peer)
    )
    unit = 'R2' if figure == 'inverse_r2' else 'of the copy baseline'
    ratio = beside / value if figure == 'forward' and value else None
    return Row(measure_name, value, unit, peer='from scratch', peer_value=beside, ratio=ratio)


if __name__ == '__main__':
    main(measure, __doc__, seeds=(SEEDS, 'seeds that are measured'))
