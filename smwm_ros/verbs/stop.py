# SPDX-License-Identifier: Apache-2.0
"""Stop the robot of a running plan node, until `smwm engage`."""

from __future__ import annotations

import argparse

from smwm_ros.text import echo
from smwm_ros.verbs.options import add_namespace, plan_node

EXAMPLE = 'smwm stop --namespace robot_1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    add_namespace(parser)


def run(args: argparse.Namespace) -> int:
    """Call ~/stop."""
    with plan_node(args) as client:
        echo(client.stop())
    return 0
