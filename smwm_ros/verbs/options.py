# SPDX-License-Identifier: Apache-2.0
"""Options that commands share: the configuration, the list of knobs in --help, namespaces."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import Any, TYPE_CHECKING

from smwm_ros.config import Config, Dataset, Robot
from smwm_ros.errors import missing_extra
from smwm_ros.load import config_path, Knob, knobs, load_config, parse_override, read_yaml
import yaml

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.interfaces import Array
    from smwm_ros.nodes.client import Client

_COLUMN, _WIDTH = 36, 99


def add_config(parser: argparse.ArgumentParser, sections: Sequence[str]) -> None:
    """Add --config, and list the knobs of the named sections under --help."""
    parser.add_argument(
        '--config', metavar='FILE', help='YAML file, or the name of a shipped one (two_room)'
    )
    parser.set_defaults(settings=[])
    listed = [knob for knob in knobs(Config) if knob.path.partition('.')[0] in sections]
    lines = [parser.epilog or '', '', 'knobs, as key=value words with their defaults']
    for heading, basic in (('basic knobs:', True), ('advanced knobs:', False)):
        group = [line for knob in listed if knob.basic is basic for line in _help_lines(knob)]
        lines += ['', heading, *group] if group else []
    parser.epilog = '\n'.join(lines)


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """Add --namespace, the namespace of the plan node."""
    parser.add_argument(
        '--namespace', default='', metavar='NS', help='namespace of the plan node (default: none)'
    )


def require_ros(what: str) -> None:
    """Raise if rclpy is not installed, which something needs."""
    if find_spec('rclpy') is None:
        raise missing_extra(what, 'ros', "'.[ros]' in its folder")


@contextmanager
def plan_node(args: argparse.Namespace) -> Iterator[Client]:
    """Connect to the plan node in the given namespace."""
    require_ros('calling a node')
    from smwm_ros.nodes.client import Client

    with Client(args.namespace) as client:
        yield client


def add_msgs(parser: argparse.ArgumentParser) -> None:
    """Add --msgs, for bags without message definitions."""
    parser.add_argument(
        '--msgs',
        nargs='+',
        type=Path,
        default=[],
        metavar='FOLDER',
        help='folders of message definitions (PACKAGE/msg/NAME.msg), for bags that hold none',
    )


def add_viewer(parser: argparse.ArgumentParser) -> None:
    """Add --to, the program that shows the result."""
    parser.add_argument(
        '--to',
        choices=('html', 'rrd'),
        default='html',
        help='a page for browsers, or a recording for the Rerun viewer (default: html)',
    )


def add_mask(parser: argparse.ArgumentParser) -> None:
    """Add --mask and --box, the part of a goal picture that counts."""
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        '--mask',
        type=Path,
        metavar='FILE',
        help='image of the size of the picture; only where it is not black, the picture counts',
    )
    part.add_argument(
        '--box',
        type=_box,
        metavar='X,Y,W,H',
        help='left, top, width and height of the part of the picture that counts [px]',
    )


def masked(picture: Array, args: argparse.Namespace, file: Path | None = None) -> Array:
    """Return a picture (H, W, 3) with the mask of --mask, --box or its file: (H, W, 3 or 4)."""
    from smwm_ros.codec.goal_masks import alpha_of_file, box_mask, read_mask, with_mask

    if args.mask:
        return with_mask(picture, read_mask(args.mask, picture))
    if args.box:
        return with_mask(picture, box_mask(args.box, picture))
    return with_mask(picture, alpha_of_file(file) if file else None)


def _box(word: str) -> tuple[int, int, int, int]:
    """Read X,Y,W,H."""
    parts = word.split(',')
    if len(parts) != 4 or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"'{word}': expected X,Y,W,H in pixels: 10,20,40,50")
    x, y, width, height = map(int, parts)
    return x, y, width, height


def _help_lines(knob: Knob) -> list[str]:
    """Return the help of one knob: key=default on the left, its meaning on the right."""
    default = list(knob.default) if isinstance(knob.default, tuple) else knob.default
    text = yaml.safe_dump(default, default_flow_style=True, width=200).removesuffix('...\n')
    about = knob.help
    if knob.choices:
        about += f'; one of {", ".join(knob.choices)}'
    if knob.low is not None:
        about += f'; {knob.low} to {knob.high}'
    head = f'  {knob.path}={text.strip().replace(", ", ",")}'  # no spaces: one argument in a shell
    lines = [f'{"":{_COLUMN}}{line}' for line in wrap(about, _WIDTH - _COLUMN)]
    if len(head) <= _COLUMN - 2:
        return [head.ljust(_COLUMN) + lines[0].lstrip(), *lines[1:]]
    return [head, *lines]


def config_of(args: argparse.Namespace, base: Mapping[str, Any] | None = None) -> Config:
    """Build the configuration: base, overridden by --config, overridden by key=value words."""
    return load_config(args.config, args.settings, base)


def sets(
    args: argparse.Namespace, base: Mapping[str, Any] | None, section: str, knob: str
) -> bool:
    """Return whether the base, --config or a key=value word sets a knob."""
    files = [read_yaml(config_path(args.config))] if args.config else []
    found = [base or {}, *files, *map(parse_override, args.settings)]
    return any(knob in (part.get(section) or {}) for part in found)


def converted(
    bags: Sequence[Path],
    folder: Path,
    robot: Robot,
    settings: Dataset,
    msgs: Sequence[Path],
) -> TransitionDataset:
    """Convert recordings of a robot into a folder, to measure a model on them."""
    from smwm_ros.bags.converting.convert import convert
    from smwm_ros.progress import show_progress

    config = replace(Config(), robot=robot, dataset=settings)
    return convert(bags, folder, config, jobs=1, msgs=msgs, progress=show_progress).dataset


def json_file(word: str) -> Path:
    """Read the name of a file of figures; a page or a film of the same name stands beside it."""
    path = Path(word)
    if path.suffix in ('.html', '.gif'):
        raise argparse.ArgumentTypeError(
            f"'{word}': expected a JSON file, such as {path.with_suffix('.json')}; the page is "
            'written beside it'
        )
    return path


def positive(word: str) -> int:
    """Read a whole number of at least 1."""
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"'{word}': expected a whole number of at least 1")
    return int(word)
