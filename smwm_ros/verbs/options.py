# SPDX-License-Identifier: Apache-2.0
"""Options that verbs share: where the configuration comes from, and how --help lists its knobs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from smwm_ros.config import Config
from smwm_ros.load import knobs, load_config


def add_config(parser: argparse.ArgumentParser, sections: Sequence[str]) -> None:
    """Add --config, and list the knobs of the named sections under --help."""
    parser.add_argument(
        '--config', metavar='FILE', help='YAML file, or the name of a shipped config (two_room)'
    )
    lines = []
    for knob in knobs(Config):
        if knob.path.split('.')[0] in sections:
            choices = f'; one of {", ".join(knob.choices)}' if knob.choices else ''
            default = list(knob.default) if isinstance(knob.default, tuple) else knob.default
            lines.append(f'  {knob.path}={default}'.ljust(36) + f'  {knob.help}{choices}')
    parser.epilog = '\n'.join(
        [
            f'example: {parser.epilog}',
            '',
            'knobs, given as key=value words and shown with their defaults:',
            *lines,
        ]
    )


def config_of(args: argparse.Namespace, base: Mapping[str, Any] | None = None) -> Config:
    """Build the configuration: base, then the --config file, then the key=value words."""
    return load_config(args.config, args.settings, base)
