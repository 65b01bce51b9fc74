# SPDX-License-Identifier: Apache-2.0
"""
Tell what is in a rosbag, a dataset or a checkpoint.

For a bag it ends with a robot configuration, made from what the bag holds, to paste and correct.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

EXAMPLE = 'smwm inspect recordings/run_1 --thumbnails frames.png'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        'paths', nargs='+', type=Path, metavar='PATH', help='bags, datasets, checkpoint folders'
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object a line')
    parser.add_argument(
        '--thumbnails', type=Path, metavar='FILE', help='write frames of the bags as a PNG'
    )
    parser.epilog = f'example: {parser.epilog}'


def run(args: argparse.Namespace) -> int:
    """Describe each path."""
    for path in args.paths:
        for found, lines in _look(path):
            print(json.dumps(found) if args.json else '\n'.join(lines))
    if args.thumbnails:
        _write_thumbnails(args.paths, args.thumbnails)
    return 0


def _look(path: Path) -> list[tuple[dict[str, Any], list[str]]]:
    """Return what a path holds: as plain data, and in lines for a reader."""
    if (path / 'dataset.json').is_file() or (path / 'shards').is_dir():
        return [_dataset(path)]
    if (path / 'model.safetensors').is_file():
        return [_checkpoint(path)]
    from smwm_ros.bags.find import find_bags
    from smwm_ros.bags.survey import survey

    found = [survey(bag) for bag in find_bags([path])]
    return [(item, _bag_lines(item)) for item in found]


def _dataset(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Describe a dataset."""
    from smwm_ros.bags.summary import describe
    from smwm_ros.core.dataset import TransitionDataset

    data = TransitionDataset.open(path)
    mean, std = data.action_statistics()
    found = {
        'kind': 'dataset',
        'path': str(path),
        'fingerprint': data.fingerprint,
        'rows': len(data),
        'transitions': len(data.starts('all')),
        'episodes': [episode._asdict() for episode in data.episodes],
        'action': {'fields': data.info.spec.fields, 'mean': mean.tolist(), 'std': std.tolist()},
        'robot': data.info.robot,
        'dataset': data.info.dataset,
        'shards': data.metas,
    }
    return found, describe(data)


def _checkpoint(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Tell what the meta.json of a checkpoint says."""
    from smwm_ros.errors import CheckpointError
    import yaml

    meta = path / 'meta.json'
    try:
        found = json.loads(meta.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{meta}: missing or damaged: {error}') from None
    size = (path / 'model.safetensors').stat().st_size
    text = yaml.safe_dump(found, sort_keys=False, default_flow_style=None)
    lines = [f'{path}: checkpoint, {size / 1e6:.1f} MB of weights', *text.splitlines()]
    return {'kind': 'checkpoint', 'path': str(path), 'bytes': size, 'meta': found}, lines


def _bag_lines(found: dict[str, Any]) -> list[str]:
    """Describe a bag to a reader."""
    import yaml

    lines = [
        f'{found["path"]}: {found["messages"]} messages in {found["seconds"]} s, '
        f'{found["bytes"] / 1e6:.1f} MB'
    ]
    lines += [f'  {note}' for note in found['notes']]
    for topic in found['topics']:
        words = [f'{topic["name"]} ({topic["type"]}): {topic["messages"]}']
        if 'rate' in topic:
            words.append(f'{topic["rate"]:g} Hz, longest gap {topic["longest_gap"]:g} s')
        if 'image' in topic:
            image = topic['image']
            words.append(
                image.get('flaw')
                or f'{image["width"]}x{image["height"]} {image["encoding"]}'.strip()
            )
        if 'header' in topic:
            header = topic['header']
            words.append(
                f'header: {header["flaw"]}'
                if 'flaw' in header
                else f'header {header["offset"]:+g} s from receive, drift {header["drift"]:+g} s'
            )
        lines.append('  ' + '; '.join(words))
    if found['scanned'] < 1:
        lines.append(f'  gaps and limits are of the first {found["scanned"]:.0%} of the messages')
    missing = [part for part in ('camera', 'command') if part not in found['robot']]
    if missing:
        lines.append(f'no {" and no ".join(missing)} topic that could be proposed')
    if 'command' in missing and 'state' in found['robot']:
        lines.append(
            f'with dataset.action=next_state_delta, changes of {found["robot"]["state"]["topic"]} '
            f'may stand for commands: name it as the command too'
        )
    if found['robot']:
        text = yaml.safe_dump({'robot': found['robot']}, sort_keys=False, default_flow_style=None)
        lines += [
            '',
            '# proposed from this bag: check the fields, widen the limits',
            *_constant_lines(found),
            *text.splitlines(),
        ]
    return lines


def _constant_lines(found: dict[str, Any]) -> list[str]:
    """Tell of command fields that never changed: a model could not learn what they do."""
    if not found['constant']:
        return []
    topic, proposed = found['robot']['command']['topic'], found['robot']['command']['fields']
    fields = ', '.join(f'{name} ({value:g})' for name, value in found['constant'].items())
    if set(found['constant']) <= set(proposed):
        return [f'# {topic} never changes, so nothing can be learned of it: {fields}']
    return [f'# left out of {topic}, for they never change: {fields}']


def _write_thumbnails(paths: list[Path], out: Path) -> None:
    """Write one strip of frames for each bag among the paths."""
    import cv2
    from smwm_ros.bags.find import find_bags
    from smwm_ros.bags.survey import thumbnails
    from smwm_ros.errors import SmwmError

    strips = [thumbnails(bag) for bag in find_bags(paths)]
    out.parent.mkdir(parents=True, exist_ok=True)
    whole, png = cv2.imencode('.png', cv2.cvtColor(cv2.vconcat(strips), cv2.COLOR_RGB2BGR))
    if not whole:
        raise SmwmError(f'{out}: the frames cannot be made a PNG')
    out.write_bytes(png.tobytes())
    print(f'{out}: frames of {len(strips)} bags, one row each')
