# SPDX-License-Identifier: Apache-2.0
"""
The demo from camera-only bags: label them with what one labelled minute grounds, then plan.

Besides the run on labels, two others are trained for comparison: on the labelled minute alone, and
on the same drives with all their commands, which only a demo has.
"""

from __future__ import annotations

from pathlib import Path
import time

from smwm_ros.config import Config
from smwm_ros.text import echo
from smwm_ros.verbs.demo import step, verb

BALLS = 'arena.distractors=2'  # something else moves, too
MINUTE = 6  # labelled episodes, of 10 s each
STEPS = 7
MORE = 5  # as many pairs as over ROS 2 are compared without it, faster than real time
EPISODES = 120  # without commands
LATENT_STEPS = 1000  # optimiser steps of the latent-action model
MODEL_STEPS = 1000  # of each world model
MADE = ('bags', 'dataset', 'latent_actions', 'labels_only', 'all_labels', 'reference', 'minute')


def run_video_demo(arena: str, config: Config, out: Path, settings: list[str]) -> float:
    """Run the steps; return the share of goals that the robot reached over ROS 2."""
    from smwm_ros.verbs import rehearsal

    begun = time.monotonic()
    words = [BALLS, *settings]
    many = [word for word in words if word.startswith('arena.episodes=')]
    drives = words if many else [*words, f'arena.episodes={EPISODES}']
    folder = {name: str(out / name) for name in (*MADE, 'run')}
    bags = {name: str(out / 'bags' / name) for name in ('camera', 'labelled', 'commands')}
    minute = [f'arena.episodes={MINUTE}', 'arena.seed=1']
    step(1, 'Record bags with a camera alone, and one minute with commands.', STEPS)
    verb('collect', arena, '--out', bags['camera'], settings=[*drives, 'record.commands=false'])
    verb('collect', arena, '--out', bags['labelled'], settings=[*words, *minute])
    step(2, 'Convert all of them into one dataset; most of its actions are unknown.', STEPS)
    unknown = [*settings, 'dataset.after_hold=unknown']
    _convert(arena, folder['dataset'], [bags['camera'], bags['labelled']], unknown)
    step(3, 'Learn latent actions from the images; the labelled minute grounds them.', STEPS)
    learn = [*settings, 'model.kind=latent_action', 'train.batch=64']
    _train(arena, folder['dataset'], folder['latent_actions'], learn, LATENT_STEPS)
    step(4, 'Label: decode an action for each tick that has none.', STEPS)
    verb('label', folder['dataset'], folder['latent_actions'], settings=[])
    step(5, 'Train a Sensorimotor World Model on the labels.', STEPS)
    _train(arena, folder['dataset'], folder['run'], settings)
    step(6, 'For comparison: the labelled minute alone, and all drives with commands.', STEPS)
    _convert(arena, folder['minute'], [bags['labelled']], settings)
    _train(arena, folder['minute'], folder['labels_only'], settings)
    verb('collect', arena, '--out', bags['commands'], settings=drives)
    _convert(arena, folder['reference'], [bags['commands'], bags['labelled']], settings)
    _train(arena, folder['reference'], folder['all_labels'], settings)
    others = ','.join(folder[name] for name in ('labels_only', 'all_labels'))
    verb(
        *('evaluate', folder['run'], '--data', folder['dataset'], '--methods', others),
        *('--out', str(out / 'evaluate.json')),
        settings=[*words, f'evaluate.pairs={MORE * config.evaluate.pairs}'],
    )
    step(7, 'Plan: the arena node and the plan node run as two ROS 2 processes.', STEPS)
    outcome = rehearsal.rehearse(out, arena, config)
    rehearsal.write_report(out, arena, config.arena.engine, outcome)
    echo(*rehearsal.summary(outcome, time.monotonic() - begun).split('\n'))
    echo(f'labels only, labels and all commands beside each other: {out}/evaluate.html')
    return outcome.success


def _convert(arena: str, folder: str, bags: list[str], settings: list[str]) -> None:
    """Convert bags to a dataset."""
    verb('convert', *bags, '--out', folder, '--config', arena, settings=settings)


def _train(
    arena: str, dataset: str, folder: str, settings: list[str], steps: int = MODEL_STEPS
) -> None:
    """Train a run, for so many steps unless the settings name another number."""
    if not any(word.startswith('train.steps=') for word in settings):
        settings = [*settings, f'train.steps={steps}']
    verb('train', dataset, '--out', folder, '--config', arena, settings=settings)
