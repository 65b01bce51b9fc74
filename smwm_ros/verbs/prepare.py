# SPDX-License-Identifier: Apache-2.0
"""
Build the roadmap, and train the policy and the time to go that some planners need.

They are made from latents of recorded drives: the dataset that RUN was trained on, or another one
of the same robot. They are saved in the run: roadmap.safetensors for planner.kind=roadmap,
proposals.safetensors for planner.kind=amortised and planner.proposals=true, time_to_go.safetensors
for planner.cost=time, drives.safetensors, the latents, actions and measured states themselves,
for planner.retrieval=true and for goals that are measured states, and frames.safetensors, small
images of these drives, for goals with a mask. Running it again replaces them and
album.safetensors, the frames that are displayed for the end of a plan.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.config import Planner
from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options

if TYPE_CHECKING:
    from smwm_ros.config import Config
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.model.checkpoint import Checkpoint
    from smwm_ros.planning.drives import RecordedDrives

EXAMPLE = 'smwm prepare runs/two_room --data data/two_room'
TORN = 0.9  # share of connected pairs of nodes below which a warning is due


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('run_folder', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument(
        '--data', type=Path, help='dataset of the drives (default: those RUN was trained on)'
    )
    options.add_config(parser, ('prepare',))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    cfg = options.config_of(args)
    from smwm_ros.lock import hold
    from smwm_ros.model.checkpoint import load

    folder: Path = args.run_folder
    checkpoint = load(folder)
    dataset = _dataset(args.data, folder, checkpoint)
    with hold(folder):
        _prepare(folder, checkpoint, dataset, cfg.prepare.steps, cfg.train.seed)
    return 0


def _prepare(
    folder: Path, checkpoint: Checkpoint, dataset: TransitionDataset, steps: int, seed: int
) -> None:
    """Build roadmap, policy, time to go and frame bank, and report their quality."""
    from smwm_ros.planning import frame_bank, masked_goals, retrieval, roadmap
    from smwm_ros.planning import policy as proposals
    from smwm_ros.planning.drives import limits
    from smwm_ros.progress import show_progress

    drives, held_out = _encode(checkpoint, dataset)
    road = roadmap.build(drives, roadmap.Mover(checkpoint.model, *limits(checkpoint)))
    joined = roadmap.joined(road)
    policy = proposals.learn(drives, steps, seed, show_progress)
    skill = proposals.skill(policy, held_out)
    origin = {'dataset': dataset.fingerprint}
    roadmap.save(folder, road, {**origin, 'joined': joined})
    proposals.save(folder, policy, {**origin, 'skill': skill})
    kept = retrieval.some_of(drives)
    retrieval.save(folder, kept, origin)
    masked_goals.make(checkpoint, dataset, kept)
    echo(
        f'Roadmap: {count_of(len(road.nodes), "node")} from '
        f'{count_of(len(drives.latents), "frame")}, {count_of(road.edges.shape[1], "edge")}; '
        f'{joined:.0%} of all pairs of nodes are connected.'
    )
    if joined < TORN:
        echo('warning: many nodes are not connected; record more drives between these places')
    echo(f'Policy: explains {max(skill, 0):.0%} of the variance of actions in held-out drives.')
    _learn_time(folder, checkpoint, drives, held_out, origin, steps, seed)
    frame_bank.add(checkpoint, dataset)
    echo(f'Saved in {folder}; try: smwm evaluate {folder} planner.kind=roadmap')


def add_missing(
    folder: Path, checkpoint: Checkpoint, dataset: TransitionDataset, cfg: Config
) -> None:
    """Add what goals as states and the planner settings need and have without a roadmap."""
    from smwm_ros.planning import retrieval
    from smwm_ros.planning.drives import encode_drives
    from smwm_ros.progress import show_progress

    wanted, origin = checkpoint.planner, {'dataset': dataset.fingerprint}
    drives = None
    if _lacks(checkpoint, replace(Planner(), cost=wanted.cost)):
        drives, held_out = _encode(checkpoint, dataset)
        how = (origin, cfg.prepare.steps, cfg.train.seed)
        _learn_time(folder, checkpoint, drives, held_out, *how)
    lacks_drives = _lacks(checkpoint, replace(Planner(), retrieval=wanted.retrieval))
    if lacks_drives or _lacks_states(checkpoint, dataset):
        if drives is None:
            most = retrieval.MOST
            drives = encode_drives(checkpoint, dataset, progress=show_progress, most=most)
        retrieval.save(folder, retrieval.some_of(drives), origin)


def _lacks(checkpoint: Checkpoint, planner: Planner) -> bool:
    """Return whether a file is missing that a planner needs."""
    from smwm_ros.errors import CheckpointError
    from smwm_ros.planning.guides import load_guides

    try:
        load_guides(checkpoint, planner)
    except CheckpointError:
        return True
    return False


def _lacks_states(checkpoint: Checkpoint, dataset: TransitionDataset) -> bool:
    """Return whether the run has no measured states to look goals up in, but the dataset has."""
    from smwm_ros.errors import CheckpointError
    from smwm_ros.planning.retrieval import load_drives

    if not dataset.info.state_size or not dataset.measured(dataset.starts('train')).any():
        return False
    try:
        return load_drives(checkpoint.folder, checkpoint.action_block, 'train').states is None
    except CheckpointError:
        return True


def _encode(
    checkpoint: Checkpoint, dataset: TransitionDataset
) -> tuple[RecordedDrives, RecordedDrives]:
    """Return the drives of the training, and those held out, or the same where none are."""
    from smwm_ros.planning.drives import encode_drives
    from smwm_ros.progress import show_progress

    drives = encode_drives(checkpoint, dataset, progress=show_progress)
    if not len(dataset.starts('val')):
        return drives, drives
    return drives, encode_drives(checkpoint, dataset, 'val', show_progress)


def _learn_time(
    folder: Path,
    checkpoint: Checkpoint,
    drives: RecordedDrives,
    held_out: RecordedDrives,
    origin: dict[str, str],
    steps: int,
    seed: int,
) -> None:
    """Train the time to go, and report whether it orders held-out frames."""
    from smwm_ros.planning import time_to_go
    from smwm_ros.progress import show_progress

    time = time_to_go.learn(drives, checkpoint.model, steps, seed, show_progress)
    ranks = time_to_go.judge(time, held_out)
    time_to_go.save(folder, time, ranks, origin)
    found = (
        f'Time to go: rank correlation of {ranks.time:.2f} with the time between held-out frames; '
        f'latent distance: {ranks.latent:.2f}'
    )
    echo(f'{found}.' if ranks.better else f'{found}, which planner.cost=time uses instead.')


def _dataset(named: Path | None, folder: Path, checkpoint: Checkpoint) -> TransitionDataset:
    """Open --data or the training dataset; refuse a dataset of another robot."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.data.joined import JoinedDataset
    from smwm_ros.model.checkpoint import recorded_data, require
    from smwm_ros.training.fine_tune import mixed_data, settings_of

    path = named or recorded_data(folder)
    if path is None:
        raise ConfigError(
            f'--data: missing, and the dataset that {folder} was trained on was moved or removed'
        )
    outcomes = settings_of(checkpoint).outcomes
    dataset = TransitionDataset.open(path, outcomes=outcomes)
    if named is None and (mixed := mixed_data(folder)):
        others = (TransitionDataset.open(one, outcomes=outcomes) for one in mixed)
        dataset = JoinedDataset([dataset, *others])
    info = dataset.info
    require(checkpoint, str(path), info.spec.size, info.spec.dt, info.image_size)
    if dataset.fingerprint != checkpoint.info.dataset:
        echo(f'note: {path} is not the dataset that {folder} was trained on')
    return dataset
