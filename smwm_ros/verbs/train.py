# SPDX-License-Identifier: Apache-2.0
"""
Train a world model on a transition dataset.

A run that was interrupted goes on when the same command is given again; one that is finished is
kept. torchrun --no-python smwm train ... shares the work between GPUs or machines, which see one
run folder. It is the checkpoint: model.safetensors and meta.json, with train.csv beside. In best/
is another, of the step that did best on held-out episodes; curves for TensorBoard are in
tensorboard/, where that is installed. album.safetensors holds frames that show people where a
plan ends.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.text import count_of, tell
from smwm_ros.verbs import options

if TYPE_CHECKING:
    from smwm_ros.config import Robot
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.model.checkpoint import Checkpoint

CLEARLY = 0.9  # of the misfit of the last step: less is worth a second look
EXAMPLE = 'smwm train data/two_room --out runs/two_room train.steps=1500'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, help='dataset folder, made by smwm convert')
    parser.add_argument('--out', type=Path, required=True, metavar='RUN', help='run folder')
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument('--fresh', action='store_true', help='start over, replacing the run')
    begin.add_argument(
        '--resume',
        action='store_true',
        help='go on with a run that was interrupted, as without this word, but never begin one',
    )
    options.add_config(parser, ('model', 'train', 'planner'))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    cfg = options.config_of(args)
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.lock import hold
    from smwm_ros.model.distributed import is_leader
    from smwm_ros.training.run_folder import require_begun
    from smwm_ros.training.train import train

    if args.resume:
        require_begun(args.out)
    dataset = TransitionDataset.open(args.dataset)
    leads = is_leader()
    count = len(dataset.starts('train'))
    if leads:
        tell(
            f'Learning from {count_of(count, "transition")} of {args.dataset} '
            f'({count_of(len(dataset.drives), "episode")}).'
        )
    with hold(args.out) if leads else nullcontext():
        checkpoint = train(dataset, args.out, cfg.model, cfg.train, cfg.planner, args.fresh)
        if leads:
            _fill_album(args.out, checkpoint, dataset)
    if leads:
        _tell(args, cfg.model.inverse_target, checkpoint)
        _tell_verdict(args, dataset, cfg.train.device)
        tell(f'The checkpoint is {args.out}; {_next(args, checkpoint.robot)}')
    return 0


def _tell(args: argparse.Namespace, target: float, checkpoint: Checkpoint) -> None:
    """Say what was learnt, and what to try next."""
    info = checkpoint.info
    summary = info['summary']
    tell(
        f'On held-out episodes the forward model errs by {summary["forward_over_copy"]:.2f} of '
        f'what moves, actions are read back with R2 {summary["inverse_r2"]:.2f}, and the latent '
        f'uses about {summary["effective_rank"]:.1f} dimensions.'
    )
    if target:
        tell(
            f'Lambda, which was left to the training, ended at {summary["inverse_weight"]:.3g}; '
            f'{1 - summary["inverse_r2"]:.2f} of the actions are not read back, where the target '
            f'was {target:.2f}.'
        )
    _tell_of_better(args.out / 'best', summary)
    for warning in info['warnings']:
        tell(f'warning: {warning}')


def _tell_verdict(args: argparse.Namespace, dataset: TransitionDataset, device: str) -> None:
    """Judge the model and the best one before it, as the plan node wants to know, and say it."""
    from smwm_ros.pages.run import in_a_word
    from smwm_ros.verbs.inspect_run import give_verdicts

    try:
        verdict = give_verdicts(args.out, dataset, device)
    except DatasetError as error:
        tell(f'warning: nothing says whether it is fit to plan with: {error}')
        return
    tell(f'{in_a_word(verdict)} {verdict.why[0].upper()}{verdict.why[1:]}.')
    for words in verdict.advice:
        tell(f'  - {words}')


def _next(args: argparse.Namespace, robot: Robot) -> str:
    """Say what to do with a checkpoint: an arena has few robots, and all others are real."""
    from smwm_ros.arenas.choose import arenas_of

    if arenas_of(robot):
        return f'try it: smwm evaluate {args.out} --data {args.dataset}'
    return (
        f'is it fit to plan with: smwm inspect {args.out}; what it would have done: '
        f'smwm replay BAG {args.out}; then on the robot with node.dry_run, as docs/your_robot.md '
        'says'
    )


def _fill_album(folder: Path, checkpoint: Checkpoint, dataset: TransitionDataset) -> None:
    """Lay frames beside the checkpoint for people to look at plans, unless they are there."""
    from smwm_ros.planning import frame_bank

    try:
        frame_bank.load(folder, 'train')
    except CheckpointError:
        frame_bank.save(folder, frame_bank.make(checkpoint, dataset), dataset.fingerprint)


def _tell_of_better(folder: Path, last: dict[str, float]) -> None:
    """Say where a checkpoint is that is clearly better than the last."""
    from smwm_ros.model import checkpoint as checkpoints

    if not (folder / checkpoints.META).is_file():  # a run of an older version
        return
    best = checkpoints.read_meta(folder)['info']['summary']
    if best['misfit'] < CLEARLY * last['misfit']:
        tell(
            f'The model did better at step {best["step"]:.0f} than at the end; that one is in '
            f'{folder}'
        )
