# SPDX-License-Identifier: Apache-2.0
"""
Build the roadmap and train the policy that some planners need.

Both are built from latents of recorded drives: the dataset that RUN was trained on, or another one
of the same robot. They are saved in the run as roadmap.safetensors and proposals.safetensors, for
planner.kind=roadmap, planner.kind=amortised and planner.proposals=true. Running it again replaces
them and album.safetensors, the frames that are displayed for the end of a plan.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.model.checkpoint import Checkpoint

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
    """Build roadmap, policy and frame bank, and report their quality."""
    from smwm_ros.planning import frame_bank, roadmap
    from smwm_ros.planning import policy as proposals
    from smwm_ros.planning.drives import encode_drives, limits
    from smwm_ros.progress import show_progress

    drives = encode_drives(checkpoint, dataset, progress=show_progress)
    road = roadmap.build(drives, roadmap.Mover(checkpoint.model, *limits(checkpoint)))
    joined = roadmap.joined(road)
    policy = proposals.learn(drives, steps, seed, show_progress)
    held_out = drives
    if len(dataset.starts('val')):
        held_out = encode_drives(checkpoint, dataset, 'val', show_progress)
    skill = proposals.skill(policy, held_out)
    origin = {'dataset': dataset.fingerprint}
    roadmap.save(folder, road, {**origin, 'joined': joined})
    proposals.save(folder, policy, {**origin, 'skill': skill})
    frame_bank.add(checkpoint, dataset)
    echo(
        f'Roadmap: {count_of(len(road.nodes), "node")} from '
        f'{count_of(len(drives.latents), "frame")}, {count_of(road.edges.shape[1], "edge")}; '
        f'{joined:.0%} of all pairs of nodes are connected.'
    )
    if joined < TORN:
        echo('warning: many nodes are not connected; record more drives between these places')
    echo(f'Policy: explains {max(skill, 0):.0%} of the variance of actions in held-out drives.')
    echo(f'Saved in {folder}; try: smwm evaluate {folder} planner.kind=roadmap')


def _dataset(named: Path | None, folder: Path, checkpoint: Checkpoint) -> TransitionDataset:
    """Open --data or the training dataset; refuse a dataset of another robot."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.data.joined import JoinedDataset
    from smwm_ros.model.checkpoint import recorded_data, require
    from smwm_ros.training.fine_tune import mixed_data

    path = named or recorded_data(folder)
    if path is None:
        raise ConfigError(
            f'--data: missing, and the dataset that {folder} was trained on was moved or removed'
        )
    dataset = TransitionDataset.open(path)
    if named is None and (mixed := mixed_data(folder)):
        dataset = JoinedDataset([dataset, *map(TransitionDataset.open, mixed)])
    info = dataset.info
    require(checkpoint, str(path), info.spec.size, info.spec.dt, info.image_size)
    if dataset.fingerprint != checkpoint.info.dataset:
        echo(f'note: {path} is not the dataset that {folder} was trained on')
    return dataset
