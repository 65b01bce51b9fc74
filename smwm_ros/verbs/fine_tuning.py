# SPDX-License-Identifier: Apache-2.0
"""Parts of `smwm train --from RUN`: settings of RUN, old datasets, figures before and after."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.errors import ConfigError
from smwm_ros.text import echo

if TYPE_CHECKING:
    from smwm_ros.config import Train
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.fit_to_images import CommandFit
    from smwm_ros.model.checkpoint import Checkpoint
    from smwm_ros.training.fine_tune import Origin

NONE = 'none'
OF_THE_MACHINE = ('device', 'threads', 'precision', 'compile')  # not taken over from a run
FORGETS = 'warning: no old recordings are mixed in; the model may forget what it learnt from them'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of fine-tuning."""
    parser.add_argument(
        '--from',
        dest='origin',
        type=Path,
        metavar='RUN',
        help='begin with the weights and the settings of a trained run, of the same robot',
    )
    parser.add_argument(
        '--mix',
        nargs='+',
        metavar='OLD',
        help='old datasets that are mixed in, so that the model does not forget, or none '
        '(default: those that RUN was trained on)',
    )


def base_of(run: Path, out: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """Load a run; return it with its settings, which key=value words may override."""
    from smwm_ros.load import to_dict
    from smwm_ros.model.checkpoint import load
    from smwm_ros.training.fine_tune import settings_of

    if out.resolve() == run.resolve():
        raise ConfigError(f'--out: {out} is the run to begin with; choose another folder')
    checkpoint = load(run)
    model, train, planner = map(
        to_dict, (checkpoint.model_config, settings_of(checkpoint), checkpoint.planner)
    )
    for name in OF_THE_MACHINE:
        del train[name]
    return checkpoint, {'model': model, 'train': train, 'planner': planner}


def origin_of(
    checkpoint: Checkpoint, mix: Sequence[str] | None, dataset: TransitionDataset
) -> Origin:
    """Return what a fine-tuning begins with; open the datasets that are mixed in."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.training.fine_tune import Origin, settings_of

    run = checkpoint.folder
    assert run is not None
    if mix and NONE in mix:
        if len(mix) > 1:
            raise ConfigError(f'--mix: {" ".join(mix)}, expected datasets, or {NONE} alone')
        return Origin(checkpoint)
    paths = [Path(word) for word in mix] if mix else _datasets_of(run)
    # Bags that smwm convert added to the old dataset lie beside the old ones already.
    others = [path for path in paths if path.resolve() != dataset.folder.resolve()]
    outcomes = settings_of(checkpoint).outcomes
    opened = (TransitionDataset.open(path, outcomes=outcomes) for path in others)
    return Origin(checkpoint, tuple(opened))


def _datasets_of(run: Path) -> list[Path]:
    """Return the datasets that a run was trained on: its own, then those mixed in."""
    from smwm_ros.model.checkpoint import recorded_data
    from smwm_ros.training.fine_tune import mixed_data

    words = 'name all old datasets (--mix OLD ...), or leave them out (--mix none)'
    own = recorded_data(run)
    if own is None:
        raise ConfigError(
            f'--mix: missing, and the dataset that {run} was trained on was moved or removed; '
            f'{words}'
        )
    try:
        return [own, *mixed_data(run)]
    except ConfigError as error:
        raise ConfigError(f'--mix: {error}; {words}') from None


def announce(origin: Origin, dataset: TransitionDataset, settings: Train, mixed: bool) -> None:
    """Print what is mixed in, and at which share."""
    names = ', '.join(str(old.folder) for old in origin.old)
    if names and settings.old_share:
        echo(
            f'Beginning with {origin.folder}; {settings.old_share:.0%} of each batch from {names}.'
        )
    elif not mixed or names:
        echo(f'Beginning with {origin.folder}.')
        echo(FORGETS)
    else:
        echo(f'Beginning with {origin.folder}, whose recordings are part of {dataset.folder}.')


def compare(origin: Origin, tuned: Checkpoint, dataset: TransitionDataset) -> dict[str, Any]:
    """Measure both models on held-out episodes of each dataset, and print the figures."""
    from smwm_ros.evaluation.fit_to_images import measure_commands
    from smwm_ros.verbs.adapt import print_commands

    found: dict[str, Any] = {}
    for data, name in ((dataset, 'new'), *((old, 'old') for old in origin.old)):
        before, after = (measure_commands(one, data) for one in (origin.checkpoint, tuned))
        echo(f'Held-out episodes of {data.folder} ({name}):')
        print_commands(before, after)
        _judge(before, after, name)
        found[str(data.folder)] = {'before': before._asdict(), 'after': after._asdict()}
    return found


def _judge(before: CommandFit, after: CommandFit, name: str) -> None:
    """Warn if the model became worse."""
    if after.worse_than(before):
        remedy = 'raise train.old_share' if name == 'old' else 'lower train.old_share'
        echo(
            f'warning: the model is worse than before on the {name} recordings; {remedy}, or '
            'change train.from_lr and train.steps'
        )
