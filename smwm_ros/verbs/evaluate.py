# SPDX-License-Identifier: Apache-2.0
"""Measure how often a checkpoint reaches its goals in an arena."""

from __future__ import annotations

import argparse

EXAMPLE = 'smwm evaluate'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    raise NotImplementedError
