# SPDX-License-Identifier: Apache-2.0
"""Tell what is in a rosbag, a dataset or a checkpoint."""

from __future__ import annotations

import argparse

EXAMPLE = 'smwm inspect'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    raise NotImplementedError
