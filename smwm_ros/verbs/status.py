# SPDX-License-Identifier: Apache-2.0
"""Show the state of a running plan node, the reason for it, and its timing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from smwm_ros.text import echo
from smwm_ros.verbs.options import add_namespace, plan_node

EXAMPLE = 'smwm status --namespace robot_1'
# Key of the diagnostics, label, unit.
_SHOWN = (
    ('rate_hz', 'command rate', 'Hz'),
    ('plan_ms_p50', 'planning time', 'ms (median)'),
    ('image_age_ms_p99', 'age of the image at the command', 'ms (p99)'),
    ('camera_hz', 'images in the last second', ''),
    ('frames_bad', 'unusable images', ''),
    ('goals', 'goals accepted', ''),
    ('goal_distance', 'latent distance to the goal', ''),
    ('near_distance', 'reached below', ''),
    ('novelty', 'novelty of the images', '(about 1: as in training)'),
    ('novelty_limit', 'novelty that stops the robot', ''),
    ('progress', 'executed share of the predicted motion', '(about 1: as predicted)'),
    ('slowed', 'slowed down', ''),
    ('shadow_compared', 'commands compared with those of the driver', ''),
    ('shadow_close', 'share of them that are close', ''),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    add_namespace(parser)


def run(args: argparse.Namespace) -> int:
    """Show the next diagnostics."""
    with plan_node(args) as client:
        health = client.health()
        echo(f'{client.target}: {health["reason"]}: {health["message"]}')
        for line in _lines(health):
            echo(line)
    return 0


def _lines(health: Mapping[str, str]) -> list[str]:
    """Return the numbers that are known, one a line."""
    return [
        f'  {name}: {health[key]} {unit}'.rstrip()
        for key, name, unit in _SHOWN
        if key in health and health[key] != 'nan'
    ]
