# SPDX-License-Identifier: Apache-2.0
"""
Train a world model on a transition dataset.

Run the same command again to resume an interrupted run; a finished one is kept. For several GPUs
or machines with one shared run folder: torchrun --no-python smwm train ... The run folder is the
checkpoint: model.safetensors, meta.json and train.csv. best/ is a second checkpoint, of the step
with the lowest held-out error. tensorboard/ has curves, where tensorboard is installed.
album.safetensors holds the frames that are displayed for the end of a plan, and drives.safetensors
the measured states that goals are looked up in. planner.cost=time also trains the time to go (see
smwm prepare).

--from RUN trains a copy of RUN further, on new recordings of the same robot, with its settings.
The datasets of RUN are mixed in, so that it does not forget: train.old_share of each batch. The
forward error and the inverse R2 on held-out episodes of each are printed before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.config import Model
from smwm_ros.errors import CheckpointError, ConfigError, DatasetError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import fine_tuning, options

if TYPE_CHECKING:
    from smwm_ros.config import Robot
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.model.checkpoint import Checkpoint
    from smwm_ros.training.fine_tune import Origin

HOLDS = 'which was measured in several arenas (docs/training.md)'
CLEARLY = 0.9  # share of the last step's misfit below which best/ is announced
EXAMPLE = 'smwm train data/two_room --out runs/two_room train.steps=1500'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('dataset', type=Path, help='dataset folder of smwm convert')
    parser.add_argument('--out', type=Path, required=True, metavar='RUN', help='run folder')
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument('--fresh', action='store_true', help='start over: replace the run')
    begin.add_argument(
        '--resume',
        action='store_true',
        help='resume an interrupted run; fail if there is none',
    )
    fine_tuning.add_arguments(parser)
    options.add_config(parser, ('model', 'train', 'planner', 'prepare'))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.mix and not args.origin:
        raise ConfigError('--mix: needs --from RUN; several bags make one dataset: smwm convert')
    known, base = fine_tuning.base_of(args.origin, args.out) if args.origin else (None, None)
    cfg = options.config_of(args, base)
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.lock import hold
    from smwm_ros.model.distributed import is_leader
    from smwm_ros.progress import show_progress
    from smwm_ros.training.run_folder import require_begun
    from smwm_ros.training.train import train
    from smwm_ros.verbs.planner_choice import choose_planner
    from smwm_ros.verbs.prepare import add_missing

    if args.resume:
        require_begun(args.out)
    # A latent-action model learns from all images, and from no inferred label.
    latent = cfg.model.kind == 'latent_action'
    dataset = TransitionDataset.open(args.dataset, latent, cfg.train.outcomes)
    origin = fine_tuning.origin_of(known, args.mix, dataset) if known else None
    leads = is_leader()
    if leads:
        _announce(dataset, latent, cfg.train.outcomes)
        if origin:
            origin.require_fit(dataset, cfg.model)
            fine_tuning.announce(origin, dataset, cfg.train, args.mix != [fine_tuning.NONE])
    model = cfg.model if origin else _with_history(cfg.model, dataset, leads)
    if leads and model.inverts and model.inverse_weight == Model.inverse_weight:
        echo(f'model.inverse_weight={model.inverse_weight:g}: the default, {HOLDS}.')
    with hold(args.out) if leads else nullcontext():
        settings = (model, cfg.train, cfg.planner)
        checkpoint = train(dataset, args.out, *settings, args.fresh, show_progress, origin)
        if leads:
            every = origin.joined(dataset) if origin else dataset
            _save_frame_bank(args.out, checkpoint, every)
            add_missing(args.out, checkpoint, every, cfg)
            if cfg.model.acts and not options.sets(args, base, 'planner', 'kind'):
                checkpoint = choose_planner(args, cfg, checkpoint, every)
            if origin:
                _report_change(args.out, origin, checkpoint, dataset)
    if leads:
        _print_summary(args, cfg.model.inverse_target, checkpoint)
        _print_verdict(args, dataset, cfg.train.device)
        echo(f'Checkpoint: {args.out}; {_next(args, checkpoint.robot)}')
    return 0


def _announce(dataset: TransitionDataset, latent: bool, outcomes: str) -> None:
    """Print on how much is trained, and what is left out."""
    count = len(dataset.starts('train', unlabelled=latent))
    episodes = count_of(len(dataset.drives), 'episode')
    echo(f'Training on {count_of(count, "transition")} of {dataset.folder} ({episodes}).')
    if dataset.left_out:
        echo(f'train.outcomes={outcomes} leaves out the episodes that are {dataset.left_out}.')


def _with_history(model: Model, dataset: TransitionDataset, leads: bool) -> Model:
    """Return the settings of the model with a history, and print why it was chosen."""
    from smwm_ros.training.velocity import choose_history

    if model.history:
        return model
    chosen = choose_history(dataset, model)
    if leads:
        echo(f'model.history={chosen.images}: {chosen.why}.')
    return replace(model, history=chosen.images)


def _report_change(
    folder: Path, origin: Origin, checkpoint: Checkpoint, dataset: TransitionDataset
) -> None:
    """Print what the fine-tuning changed, and store it in the run."""
    from smwm_ros.model.checkpoint import add_info

    change = fine_tuning.compare(origin, checkpoint, dataset)
    add_info(folder, tuned_from={**checkpoint.info.tuned_from, 'change': change})


def _print_summary(args: argparse.Namespace, target: float, checkpoint: Checkpoint) -> None:
    """Print held-out figures and warnings."""
    info = checkpoint.info
    summary = info.summary
    echo(
        f'On held-out episodes: forward error {summary["forward_over_copy"]:.2f} of the copy '
        f'baseline, inverse model R2 {summary["inverse_r2"]:.2f}, effective rank of the latent '
        f'{summary["effective_rank"]:.1f}.'
    )
    if 'actor_r2' in summary:
        echo(
            f'Actor: R2 {summary["actor_r2"]:.2f} of the first action to goals ahead; the inverse '
            f'model: {summary["goal_inverse_r2"]:.2f}.'
        )
    if target:
        echo(
            f'Adaptive lambda ended at {summary["inverse_weight"]:.3g}; the inverse model '
            f'leaves {1 - summary["inverse_r2"]:.2f} of the actions open (target {target:.2f}).'
        )
    _print_best(args.out / 'best', summary)
    for warning in info.warnings:
        echo(f'warning: {warning}')


def _print_verdict(args: argparse.Namespace, dataset: TransitionDataset, device: str) -> None:
    """Judge the last and the best model, store the verdicts for the plan node, and print one."""
    from smwm_ros.pages.run import in_a_word
    from smwm_ros.verbs.inspect_run import give_verdicts

    try:
        verdict = give_verdicts(args.out, dataset, device)
    except DatasetError as error:
        echo(f'warning: no verdict on whether it is fit to plan with: {error}')
        return
    echo(f'{in_a_word(verdict)} {verdict.why[0].upper()}{verdict.why[1:]}.')
    for words in verdict.advice:
        echo(f'  - {words}')


def _next(args: argparse.Namespace, robot: Robot) -> str:
    """Return the next command to run, for a robot of an arena or for a real one."""
    from smwm_ros.arenas.choose import arenas_of
    from smwm_ros.load import load_config
    from smwm_ros.swm.environments import ENVIRONMENTS

    if arenas_of(robot):
        return f'next: smwm evaluate {args.out} --data {args.dataset}'
    for name, environment in ENVIRONMENTS.items():
        if load_config(environment.config).robot == robot:
            return (
                f'next: smwm evaluate {args.out} --env {name} --data FILE.h5 (of smwm collect, '
                'with another arena.seed)'
            )
    return (
        f'next: smwm inspect {args.out} (fit to plan with?), smwm replay BAG {args.out} (compare '
        f'plans with a recording), then the robot with node.dry_run: see docs/your_robot.md'
    )


def _save_frame_bank(folder: Path, checkpoint: Checkpoint, dataset: TransitionDataset) -> None:
    """Save frames to display plans with, unless they are there."""
    from smwm_ros.planning import frame_bank

    try:
        made = len(frame_bank.load(folder, 'train').held_out) > 0  # older versions stored none
    except CheckpointError:
        made = False
    if not made:
        frame_bank.add(checkpoint, dataset)


def _print_best(folder: Path, last: Mapping[str, float]) -> None:
    """Print where a checkpoint is that is clearly better than the last."""
    from smwm_ros.model import checkpoint as checkpoints

    if not (folder / checkpoints.META).is_file():  # a run of an older version
        return
    best = checkpoints.read_meta(folder).info.summary
    if best['misfit'] < CLEARLY * last['misfit']:
        echo(f'The model was better at step {best["step"]:.0f} than at the end: see {folder}')
