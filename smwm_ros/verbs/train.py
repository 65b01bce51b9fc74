# SPDX-License-Identifier: Apache-2.0
"""Train a world model on a transition dataset."""

from __future__ import annotations

import argparse

EXAMPLE = 'smwm train'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    raise NotImplementedError
