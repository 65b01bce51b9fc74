# SPDX-License-Identifier: Apache-2.0
"""Show what a plan node that runs is doing, why, and how well it keeps its time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from smwm_ros.text import tell
from smwm_ros.verbs.options import add_namespace, plan_node

EXAMPLE = 'smwm status --namespace robot_1'
# What is shown: key of the diagnostics, name, unit.
_SHOWN = (
    ('rate_hz', 'commands', 'Hz'),
    ('plan_ms_p50', 'a plan takes', 'ms (median)'),
    ('image_age_ms_p99', 'age of the image behind a command', 'ms (99th percentile)'),
    ('camera_hz', 'images in the last second', ''),
    ('frames_bad', 'images that could not be used', ''),
    ('goals', 'goals so far', ''),
    ('goal_distance', 'latent distance to the goal', ''),
    ('near_distance', 'it is reached below', ''),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    add_namespace(parser)


def run(args: argparse.Namespace) -> int:
    """Show the next diagnostics."""
    with plan_node(args) as client:
        health = client.health()
        tell(f'{client.target}: {health["reason"]}: {health["message"]}')
        for line in _lines(health):
            tell(line)
    return 0


def _lines(health: Mapping[str, str]) -> list[str]:
    """Return the numbers that are known, one a line."""
    return [
        f'  {name}: {health[key]} {unit}'.rstrip()
        for key, name, unit in _SHOWN
        if key in health and health[key] != 'nan'
    ]
