# SPDX-License-Identifier: Apache-2.0
"""Where files lie: what comes with the package, and what a node keeps between two runs."""

from __future__ import annotations

import os
from pathlib import Path
import sys


def share_folders() -> list[Path]:
    """Return where this package's files may lie: the source tree, pip's and colcon's share."""
    here = Path(__file__).resolve().parent
    folders = [here.parent]
    folders += [up / 'share' / 'smwm_ros' for up in here.parents]  # beside lib/python3.x
    folders.append(Path(sys.prefix) / 'share' / 'smwm_ros')
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            folders.append(Path(prefix) / 'share' / 'smwm_ros')
    return [folder for folder in folders if (folder / 'package.xml').is_file()]


def shipped(*parts: str) -> Path | None:
    """Find a file or folder that comes with the package."""
    for folder in share_folders():
        path = folder.joinpath(*parts)
        if path.exists():
            return path
    return None


def state_folder() -> Path:
    """Return where programs of this package keep what they may change."""
    home = os.environ.get('XDG_STATE_HOME') or Path.home() / '.local' / 'state'
    return Path(home) / 'smwm_ros'


def goals_folder(run: Path) -> Path:
    """Return where the named goals of a run lie: in it, unless it came with the package."""
    models = [(folder / 'models').resolve() for folder in share_folders()]
    if run.resolve().parent in models:
        return state_folder() / 'goals' / run.name
    return run / 'goals'
