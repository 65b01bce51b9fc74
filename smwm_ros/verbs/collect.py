# SPDX-License-Identifier: Apache-2.0
"""Record rosbags in a simulated arena."""

from __future__ import annotations

import argparse

EXAMPLE = 'smwm collect'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    raise NotImplementedError
