# SPDX-License-Identifier: Apache-2.0
"""
Adapt a model to another camera, light or renderer, from a minute of its images.

BAG holds camera images of the robot in motion; commands are not needed. The statistics by which
the encoder normalises images are measured anew, and the adapted model becomes a run of its own.
--steps adds gradient steps on the recorded commands. Held-out images are measured before and
after. A model that fits them already, or that fits them worse afterwards, is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.errors import ConfigError, NotAdaptedError
from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_msgs, converted, positive

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.fit_to_images import CommandFit, ImageFit
    from smwm_ros.model.checkpoint import Checkpoint
    from smwm_ros.planning.frame_bank import FrameBank

EXAMPLE = 'smwm adapt runs/mine --bag my_bags/new_camera'
GOALS = 'Record goal images anew: those of the old camera do not show the new look.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('run_folder', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument(
        '--bag', type=Path, nargs='+', required=True, help='bags or videos of the new images'
    )
    parser.add_argument(
        '--out', type=Path, metavar='NEW', help='run folder to write (default: RUN_adapted)'
    )
    parser.add_argument(
        '--steps', type=positive, metavar='N', help='gradient steps on recorded commands'
    )
    add_msgs(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    folder: Path = args.run_folder
    out = args.out or folder.with_name(f'{folder.resolve().name}_adapted')
    adapt(folder, args.bag, out, args.steps or 0, args.msgs)
    echo(f'next: ros2 launch smwm_ros plan.launch.py checkpoint:={out}')
    return 0


def adapt(
    folder: Path, bags: Sequence[Path], out: Path, steps: int = 0, msgs: Sequence[Path] = ()
) -> None:
    """Adapt the model in a folder to bags; measure it before and after, and write it to `out`."""
    from tempfile import TemporaryDirectory

    from smwm_ros.evaluation.fit_to_images import frame_latents, measure_fit, Novelty
    from smwm_ros.files import require_new
    from smwm_ros.model.checkpoint import load
    from smwm_ros.progress import show_progress
    from smwm_ros.training.adapt import batch_norms, measure_statistics, take_steps
    from smwm_ros.training.batches import with_held_out

    require_new(out)
    checkpoint = load(folder)
    batch_norms(checkpoint)  # raises now rather than after the conversion
    novelty = Novelty(checkpoint)
    with TemporaryDirectory(prefix='smwm-adapt-') as short:
        settings = replace(checkpoint.dataset, after_hold='unknown')
        made = converted(bags, Path(short), checkpoint.robot, settings, msgs)
        data, _ = with_held_out(made, unlabelled=True)
        if steps and not len(data.starts('train')):
            raise ConfigError('--steps: no commands were recorded to learn from; leave it out')
        adapted = measure_statistics(checkpoint, data)
        if steps:
            adapted = take_steps(adapted, data, steps, show_progress)
        before, after = (measure_fit(model, data, novelty) for model in (checkpoint, adapted))
        _print(before, after, data)
        if why := novelty.objection(before, after, steps):
            raise NotAdaptedError(f'{out}: not written, because {why}')
        album = novelty.album.calibrated(frame_latents(adapted, data))
    about = {'from': str(folder), 'bags': list(map(str, bags)), 'steps': steps}
    _write(folder, out, adapted, album, before, after, about)


def _print(before: ImageFit, after: ImageFit, data: TransitionDataset) -> None:
    """Print both fits."""
    count = len(data.starts('val', unlabelled=True))
    echo(f'On {count_of(count, "held-out frame")}:{"":9}before  after')
    echo(f'  novelty, median (about 1: as in training) {before.novelty:8.2f} {after.novelty:6.2f}')
    if len(data.starts('val')):
        print_commands(before.commands, after.commands)
    else:
        echo('  no commands were recorded, so nothing else is measured')


def print_commands(before: CommandFit, after: CommandFit) -> None:
    """Print how well commands and images explain each other, before and after."""
    echo(f'  forward error, share of copy baseline {before.forward:12.2f} {after.forward:6.2f}')
    echo(f'  inverse R2 {before.inverse_r2:39.2f} {after.inverse_r2:6.2f}')


def _write(
    folder: Path,
    out: Path,
    adapted: Checkpoint,
    album: FrameBank,
    before: ImageFit,
    after: ImageFit,
    about: Mapping[str, Any],
) -> None:
    """Write the adapted model and what belongs to it."""
    from smwm_ros.files import appearing
    from smwm_ros.model import checkpoint as checkpoints
    from smwm_ros.model.sidecar import carry_over
    from smwm_ros.planning import frame_bank

    data = checkpoints.recorded_data(folder)
    info = adapted.info._replace(
        verdict='',
        data=checkpoints.relative_to_run(data, out) if data else adapted.info.data,
        others={
            **adapted.info.others,
            'adapted': {**about, 'before': before.as_json(), 'after': after.as_json()},
        },
    )
    with appearing(out) as part:
        checkpoints.save(part, adapted._replace(info=info))
        names = carry_over(folder, part)
        # The album is that of the training, but now images of the new look are the usual ones.
        frame_bank.save(part, album, adapted.info.dataset)
    echo(f'Saved in {out}, with {", ".join(names)} of {folder}. {GOALS}')
    if about['steps']:
        echo('Gradient steps moved the latent a little; smwm prepare adapts roadmap and policy.')
