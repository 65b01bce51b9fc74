# SPDX-License-Identifier: Apache-2.0
"""Import a model of SMWM or LeWM as a run folder; part of `smwm import`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.errors import ConfigError
from smwm_ros.text import echo
from smwm_ros.verbs.options import config_of

if TYPE_CHECKING:
    from smwm_ros.interfaces import ActionScaler

SUFFIXES = ('.ckpt', '.pt', '.pth')
SIDE = 224  # of the images that these models were trained on [px]
MIN_INVERSE_R2 = 0.5  # of a model on data like its training data


def is_model(path: Path) -> bool:
    """Return whether a path holds a model rather than a dataset."""
    return path.is_dir() or path.suffix in SUFFIXES


def import_model(args: argparse.Namespace, undefined: Sequence[str]) -> int:
    """Import a model, and check it on the dataset if there is one."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.exchange.foreign_model import read_original
    from smwm_ros.exchange.from_foreign_model import make_checkpoint, statistics, try_on
    from smwm_ros.files import appearing
    from smwm_ros.model import checkpoint as checkpoints

    original = read_original(args.file)
    data = TransitionDataset.open(args.data) if args.data else None
    given = _statistics(args)
    if data is None:
        _require(
            args, [*undefined, *([] if given else ['mean and standard deviation of the actions'])]
        )
    config = config_of(args, _base(original.action_block, data))
    scaler = given or statistics(data)  # type: ignore[arg-type]
    checkpoint = make_checkpoint(original, config, scaler)
    lines = [f'{args.out}: the {original.maker} model of {original.weights}']
    info = checkpoint.info
    if data:
        summary = try_on(checkpoint, data)
        verdict, *doubts = _check(summary, original.inverts, data.info.image_size, args.data)
        lines.append(verdict)
        warnings = (*info.warnings, *doubts)
        info = info._replace(dataset=data.fingerprint, summary=summary, warnings=warnings)
        checkpoint = checkpoint._replace(info=info)
    with appearing(args.out) as part:
        checkpoints.save(part, checkpoint)
    echo(*lines, *(f'warning: {text}' for text in info.warnings))
    return 0


def _statistics(args: argparse.Namespace) -> ActionScaler | None:
    """Return mean and standard deviation (A,) from --mean and --std."""
    import numpy as np
    from smwm_ros.interfaces import ActionScaler

    if args.mean is None and args.std is None:
        return None
    if args.mean is None or args.std is None or args.data:
        raise ConfigError('expected --mean and --std together, or --data, which has both')
    try:
        mean, std = (
            np.array([float(word) for word in text.split(',')]) for text in (args.mean, args.std)
        )
    except ValueError as error:
        raise ConfigError(
            f'--mean and --std: expected numbers separated by commas: {error}'
        ) from None
    return ActionScaler(mean, std)


def _require(args: argparse.Namespace, undefined: Sequence[str]) -> None:
    """Raise when settings are missing: a guess would be wrong."""
    if undefined:
        raise ConfigError(
            f'{args.file}: does not define {", ".join(undefined)}; give --data with a dataset of '
            'this robot (smwm convert, or smwm import of its HDF5 file), or set each one: '
            'robot.dt=0.1 --mean 0,0 --std 1,1'
        )


def _base(block: int | None, data: Any) -> dict[str, Any]:
    """Return the configuration that follows from model and dataset."""
    if data:
        return {'robot': data.index['robot'], 'dataset': data.index['dataset']}
    return {'dataset': {'image_size': SIDE, **({'action_block': block} if block else {})}}


def _check(summary: dict[str, float], inverts: bool, side: int, data: Any) -> list[str]:
    """Return how well the model fits the dataset, and warnings."""
    inverse = f'its inverse model recovers the actions with R2 {summary["inverse_r2"]:.2f}'
    lines = [
        f'On {data} its forward error is {summary["forward_over_copy"]:.2f} of the copy baseline; '
        + (inverse if inverts else 'it has no inverse model')
    ]
    if side != SIDE:
        lines.append(f'the dataset has images of {side} px; the model was trained on {SIDE} px')
    if summary['forward_over_copy'] >= 1 or (inverts and summary['inverse_r2'] < MIN_INVERSE_R2):
        lines.append(
            'this is poor for training data: check robot.command.fields, dataset.action_block, '
            'and the mean and standard deviation of the actions'
        )
    return lines
