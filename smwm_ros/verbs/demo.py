# SPDX-License-Identifier: Apache-2.0
"""Run the whole pipeline in miniature: collect, convert, train, and plan over ROS 2."""

from __future__ import annotations

import argparse

EXAMPLE = 'smwm demo'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    raise NotImplementedError
