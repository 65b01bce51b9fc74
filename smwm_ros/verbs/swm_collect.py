# SPDX-License-Identifier: Apache-2.0
"""Record an environment of stable-worldmodel for `smwm collect --env`."""

from __future__ import annotations

import argparse

from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs import options


def collect_env(args: argparse.Namespace) -> int:
    """Write episodes to an HDF5 file."""
    from smwm_ros.files import require_new
    from smwm_ros.progress import show_progress
    from smwm_ros.swm.environments import environment_of, policy_of

    environment = environment_of(args.env)
    policy = policy_of(environment, args.policy)
    if args.out.suffix not in ('.h5', '.hdf5'):
        raise ConfigError(
            f'--out: {args.out}: with --env an HDF5 file is written; expected a name such as '
            f'{args.out.with_suffix(".h5")}'
        )
    args.config = args.config or environment.config
    if args.episodes:
        args.settings = [*args.settings, f'arena.episodes={args.episodes}']
    config = options.config_of(args)
    if args.fresh:
        args.out.unlink(missing_ok=True)
    require_new(args.out)
    from smwm_ros.swm.recorder import record

    args.out.parent.mkdir(parents=True, exist_ok=True)
    file = record(environment, args.out, config.arena, policy, show_progress)
    echo(
        f'{args.out}: {count_of(len(file.lengths), "episode")} with '
        f'{count_of(file.rows, "row")} of {environment.name}, driven by policy {policy}; next: '
        f'smwm import {args.out} --config {environment.config} '
        f'--state {",".join(environment.states)} --out {args.out.with_suffix("")}'
    )
    return 0
