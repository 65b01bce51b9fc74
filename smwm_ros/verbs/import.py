# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N999 - named like its command, which is found by module name
"""
Import an HDF5 dataset or a model of SMWM, stable-worldmodel or LeWM.

A file of `smwm export` holds its configuration and becomes the same dataset again. Other files do
not: give the control period and the meaning of the action in --config or as key=value words. A
model (run folder of SMWM with config.yaml, folder of LeWM with config.json) also needs the mean
and the standard deviation of the actions; --data takes all of these from a dataset of the robot.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smwm_ros.text import echo
from smwm_ros.verbs.options import add_config, config_of

EXAMPLE = 'smwm import pusht_expert.h5 --out data/pusht --config pusht.yaml'
ASKED = ('robot.dt', 'robot.command.fields', 'robot.command.low', 'robot.command.high')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        'file', type=Path, metavar='PATH', help='HDF5 file, or folder or weights file of a model'
    )
    parser.add_argument(
        '--out',
        required=True,
        type=Path,
        metavar='DIR',
        help='dataset or run folder to write; must not exist',
    )
    parser.add_argument(
        '--state',
        default='state',
        metavar='COLUMN',
        help='column of the measured state that robot.state describes, or several, joined in this '
        'order: qpos,qvel (default: state)',
    )
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DATASET',
        help='dataset of the robot that a model is for',
    )
    for name, what in (('mean', 'mean'), ('std', 'standard deviation')):
        parser.add_argument(
            f'--{name}',
            metavar='A,B',
            help=f'{what} of the raw actions in the training data of a model, without --data',
        )
    add_config(parser, ['robot', 'dataset', 'planner'])


def run(args: argparse.Namespace) -> int:
    """Import, and describe the result."""
    from smwm_ros.data.describe import describe
    from smwm_ros.errors import ConfigError
    from smwm_ros.exchange.from_hdf5 import import_hdf5, known_settings
    from smwm_ros.files import require_new
    from smwm_ros.progress import show_progress
    from smwm_ros.verbs.import_model import import_model, is_model

    require_new(args.out)
    missing = [key for key in ASKED if not _has(_given(args), key)]
    if is_model(args.file):
        return import_model(args, missing)
    known = known_settings(args.file)
    if known is None and missing:
        raise ConfigError(
            f'{args.file}: does not define {", ".join(missing)}; give --config, or words '
            f'such as robot.dt=0.1'
        )
    data = import_hdf5(args.file, args.out, config_of(args, known), args.state, show_progress)
    echo(*describe(data))
    return 0


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the user gave, without defaults."""
    from smwm_ros.load import config_path, merge, parse_override, read_yaml

    given = read_yaml(config_path(args.config)) if args.config else {}
    for word in args.settings:
        given = merge(given, parse_override(word))
    return given


def _has(given: Any, key: str) -> bool:
    """Return whether a knob is in the given settings."""
    for name in key.split('.'):
        if not isinstance(given, Mapping) or name not in given:
            return False
        given = given[name]
    return True
