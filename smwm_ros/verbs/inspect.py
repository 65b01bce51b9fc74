# SPDX-License-Identifier: Apache-2.0
"""
Describe a rosbag, a video or a dataset, and judge whether a trained model is fit to plan with.

A bag or video: topics, types, rates, clocks, and a proposed robot configuration (--write saves
one for all of them). A dataset: episodes, actions, sources. A run: examines its model on held-out
episodes, prints a verdict, and writes a page with curves, latents, probes and rollouts
(RUN/inspect.html).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.text import count_of, echo, echo_raw, line
from smwm_ros.verbs.inspect_run import describe_checkpoint, examine_run, SAMPLES
from smwm_ros.verbs.options import add_msgs

if TYPE_CHECKING:
    from smwm_ros.bags.reading.find import Bag

_LONG = 20_000  # characters of a proposal that is not printed
_BURSTS = 20  # ratio of usual to mean rate from which a topic is called bursty
EXAMPLE = 'smwm inspect recordings/run_1 --thumbnails frames.png'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        'paths', nargs='+', type=Path, metavar='PATH', help='bags, videos, datasets, runs'
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object per line')
    parser.add_argument(
        '--thumbnails', type=Path, metavar='FILE', help='write sample frames of the bags as a PNG'
    )
    parser.add_argument(
        '--write',
        type=Path,
        metavar='FILE',
        help='write a proposed configuration for all bags',
    )
    add_msgs(parser)
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DATASET',
        help='dataset to examine runs on (default: that of the run)',
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='page of a run (default: RUN/inspect.html)'
    )
    parser.add_argument(
        '--samples', type=_count, default=SAMPLES, metavar='N',
        help=f'training frames to fit the probes of a run on (default: {SAMPLES})',
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Describe each path; report unreadable ones after all others."""
    from smwm_ros.errors import BagError
    from smwm_ros.files import require_new

    failed, total, surveys = list[BagError](), 0, list[dict[str, Any]]()
    if args.write:
        require_new(args.write)
    for path in args.paths:
        for describe in _describers(path, args):
            total += 1
            try:
                found, lines = describe()
            except BagError as error:
                failed.append(error)
            else:
                surveys += [found] * (found['kind'] in ('bag', 'video'))
                if args.json:
                    echo_raw(json.dumps(found))
                else:
                    echo(*lines)
    if args.write and surveys:
        _write_config(surveys, args.write)
    if failed:
        words = f'{len(failed)} of {total} cannot be read: ' if total > 1 else ''
        raise BagError(words + '; '.join(map(str, failed)))
    if args.thumbnails:
        _write_thumbnails(args)
    return 0


Describer = Callable[[], tuple[dict[str, Any], list[str]]]


def _describers(path: Path, args: argparse.Namespace) -> list[Describer]:
    """Return a function for each bag, dataset or run in a path: plain data, and lines to print."""
    if (path / 'dataset.json').is_file() or (path / 'shards').is_dir():
        return [partial(_dataset, path)]
    if (path / 'model.safetensors').is_file():
        return [partial(_run, path, args)]
    from smwm_ros.bags.reading.find import find_bags

    return [partial(_bag, bag) for bag in find_bags([path], args.msgs)]


def _bag(bag: Bag) -> tuple[dict[str, Any], list[str]]:
    """Describe a bag."""
    from smwm_ros.bags.survey.survey import survey

    found = survey(bag)
    return found, _bag_lines(found)


def _dataset(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Describe a dataset."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.data.describe import describe, origin_of_actions

    data = TransitionDataset.open(path)
    scaler = data.action_scaler()
    found = {
        'kind': 'dataset',
        'path': str(path),
        'fingerprint': data.fingerprint,
        'rows': len(data),
        'transitions': len(data.starts('all')),
        'episodes': [episode._asdict() for episode in data.episodes],
        'action': {
            'fields': data.info.spec.fields,
            'mean': scaler.mean.tolist(),
            'std': scaler.std.tolist(),
            **origin_of_actions(data),
        },
        'robot': data.info.robot,
        'dataset': data.info.dataset,
        'shards': data.metas,
    }
    return found, describe(data)


def _run(path: Path, args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Examine a run if its dataset is found, else print its metadata."""
    from smwm_ros.model.checkpoint import recorded_data

    data = args.data or recorded_data(path)
    if data is None:
        return describe_checkpoint(path)
    return examine_run(path, data, args.out or path / 'inspect.html', args.samples)


def _count(word: str) -> int:
    """Read a number of frames."""
    if not word.isdigit() or int(word) < 10:
        raise argparse.ArgumentTypeError(f"'{word}': expected a whole number, 10 or more")
    return int(word)


def _bag_lines(found: dict[str, Any]) -> list[str]:
    """Describe a bag or a video to a reader."""
    unit = 'frame' if found['kind'] == 'video' else 'message'
    lines = [
        f'{found["path"]}: {count_of(found["messages"], unit)} in {found["seconds"]} s, '
        f'{found["bytes"] / 1e6:.1f} MB'
    ]
    lines += [f'  {note}' for note in found['notes']]
    lines += [f'  {_topic_line(topic)}' for topic in found['topics']]
    if found['scanned'] < 1:
        share = f'{found["scanned"]:.0%}'
        lines.append(f'  rates, gaps and limits are measured on the first {share} of the messages')
    if found['clock']:
        clock = found['clock']
        lines.append(f'  clock: {clock["base"]}: {clock["why"]}')
    missing = [part for part in ('camera', 'command') if part not in found['robot']]
    if missing:
        lines.append(f'no {" and no ".join(missing)} topic found')
    if 'command' in missing and 'state' in found['robot']:
        lines.append(
            'dataset.action=next_state_delta makes actions of '
            f'{found["robot"]["state"]["topic"]}: set robot.command.topic to it too'
        )
    sections = {name: found[name] for name in ('robot', 'dataset') if found[name]}
    if sections:
        lines += ['', f'# proposed from this {found["kind"]}: check the fields, widen the limits']
        proposed = _config_lines(sections, found['remarks'])
        if sum(map(len, proposed)) > _LONG:
            proposed = ['# too long to print; use --write FILE']
        lines += proposed
    return lines


def _config_lines(sections: dict[str, Any], remarks: list[str]) -> list[str]:
    """Return a configuration as YAML, with remarks for the user on top."""
    import yaml

    text = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None)
    return [*(line(f'# {remark}') for remark in remarks), *text.splitlines()]


def _write_config(surveys: list[dict[str, Any]], out: Path) -> None:
    """Write one configuration for all bags."""
    from smwm_ros.bags.survey.merge import merge
    from smwm_ros.files import write_atomic

    sections, remarks = merge(surveys)
    head = f'# proposed from {count_of(len(surveys), "bag")}: check the fields and the limits'
    lines = [head, *_config_lines(sections, remarks)]
    write_atomic(out, '\n'.join([*lines, '']).encode())
    echo(
        f'{out}: configuration proposed from {count_of(len(surveys), "bag")}; check it, then run '
        f'smwm convert --config {out}'
    )


def _topic_line(topic: dict[str, Any]) -> str:
    """Describe one topic of a bag."""
    words = [f'{topic["name"]} ({topic["type"]}): {topic["messages"]}']
    if 'rate' in topic:
        usual = 1 / topic['period'] if topic['period'] > 0 else float('inf')
        uneven = f' (median {usual:.3g} Hz)' if abs(usual - topic['rate']) > 0.1 * usual else ''
        if usual > _BURSTS * topic['rate']:
            uneven = ' (in bursts)'
        words.append(f'{topic["rate"]:.4g} Hz{uneven}, longest gap {topic["longest_gap"]:g} s')
    if 'flaw' in topic:
        words.append(topic['flaw'])
    if 'image' in topic:
        image = topic['image']
        later = f' (later {image["later"]}: a new episode begins)' if 'later' in image else ''
        words.append(
            image.get('flaw')
            or f'{image["width"]}x{image["height"]}{later} {image["encoding"]}'.strip()
        )
    header = topic.get('header', {})
    if 'flaw' in header:
        words.append(f'header: {header["flaw"]}')
    elif header:
        # All digits: two clocks years from the receive time may still differ by seconds.
        offset = f'{header["offset"]:+.4f}'.rstrip('0').rstrip('.')
        late = f', up to {header["latest"]:g} s late' if header['latest'] > 0.1 else ''
        words.append(
            f'header stamps {offset} s from receive times, drift {header["drift"]:+g} s{late}'
        )
    return '; '.join(words)


def _write_thumbnails(args: argparse.Namespace) -> None:
    """Write one row of frames for each bag among the paths."""
    import cv2
    from smwm_ros.bags.reading.find import find_bags
    from smwm_ros.bags.survey.survey import thumbnails
    from smwm_ros.errors import SmwmError
    from smwm_ros.files import write_atomic

    out: Path = args.thumbnails
    strips = [thumbnails(bag) for bag in find_bags(args.paths, args.msgs)]
    whole, png = cv2.imencode('.png', cv2.cvtColor(cv2.vconcat(strips), cv2.COLOR_RGB2BGR))
    if not whole:
        raise SmwmError(f'{out}: the frames cannot be encoded as PNG')
    write_atomic(out, png.tobytes())
    echo(f'{out}: frames of {count_of(len(strips), "bag")}, one row each')
