# SPDX-License-Identifier: Apache-2.0
"""Let a plan node that runs move its robot, after a stop or before the first motion."""

from __future__ import annotations

import argparse

from smwm_ros.text import tell
from smwm_ros.verbs.options import add_namespace, requires_ros

EXAMPLE = 'smwm engage --namespace robot_1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    add_namespace(parser)
    parser.epilog = f'example: {parser.epilog}'


def run(args: argparse.Namespace) -> int:
    """Call ~/engage."""
    requires_ros()
    from smwm_ros.nodes.client import Client

    with Client(args.namespace) as client:
        tell(client.engage())
    return 0
