# SPDX-License-Identifier: Apache-2.0
"""Engage a running plan node: let it move the robot, at first or after a stop."""

from __future__ import annotations

import argparse

from smwm_ros.text import echo
from smwm_ros.verbs.options import add_namespace, plan_node

EXAMPLE = 'smwm engage --namespace robot_1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    add_namespace(parser)


def run(args: argparse.Namespace) -> int:
    """Call ~/engage."""
    with plan_node(args) as client:
        echo(client.engage())
    return 0
