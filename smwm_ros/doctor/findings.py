# SPDX-License-Identifier: Apache-2.0
"""A finding, and the machine that the checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import sys
from typing import NamedTuple

OK, REMARK, PROBLEM = 'ok', 'remark', 'problem'


class Finding(NamedTuple):
    """What a check found, and what to do about it."""

    name: str
    state: str  # OK, REMARK or PROBLEM
    found: str
    remedy: str = ''


class Machine(NamedTuple):
    """Environment variables, and where the checks look for files."""

    variables: Mapping[str, str]
    root: Path = Path('/')  # of /dev, /proc, /sys, /etc
    folder: Path = Path()  # the working folder
    python: Path = Path(sys.executable)
    version: tuple[int, int] = sys.version_info[:2]

    def paths(self, variable: str) -> list[Path]:
        """Return the folders that a variable lists."""
        return [Path(word) for word in self.variables.get(variable, '').split(':') if word]

    def text(self, path: str) -> str:
        """Return the text of a file below the root, '' if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding='utf-8', errors='replace').strip()
        except OSError:
            return ''
