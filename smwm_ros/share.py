# SPDX-License-Identifier: Apache-2.0
"""Folders: files installed with the package, state of nodes, goals of runs."""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import sys

# What names the profile of Fast DDS: in version 3 and newer, and in version 2 (Humble to Jazzy).
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
FAST_DDS_2 = ('foxy', 'galactic', 'humble', 'iron', 'jazzy')


def share_folders() -> list[Path]:
    """Return the share folders of this package: source tree, pip and colcon installations."""
    here = Path(__file__).resolve().parent
    folders = [here.parent]
    folders += [up / 'share' / 'smwm_ros' for up in here.parents]  # next to lib/python3.x
    folders.append(Path(sys.prefix) / 'share' / 'smwm_ros')
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            folders.append(Path(prefix) / 'share' / 'smwm_ros')
    return [folder for folder in folders if (folder / 'package.xml').is_file()]


def shipped(*parts: str) -> Path | None:
    """Find a file or folder that is installed with the package."""
    for folder in share_folders():
        path = folder.joinpath(*parts)
        if path.exists():
            return path
    return None


def profile_variable(variables: Mapping[str, str]) -> str:
    """Return the name of the variable that this Fast DDS reads; the other one is deprecated."""
    return PROFILE_VARIABLES[variables.get('ROS_DISTRO') in FAST_DDS_2]


def fast_dds_profile(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variable for a profile that carries camera images, or for that of the user."""
    name = profile_variable(variables)
    theirs = [variables[one] for one in (name, *PROFILE_VARIABLES) if variables.get(one)]
    file = theirs[0] if theirs else shipped('config', 'fastdds.xml')
    return {name: str(file)} if file else {}


def state_folder() -> Path:
    """Return the folder for state that programs of this package write (XDG_STATE_HOME)."""
    home = os.environ.get('XDG_STATE_HOME') or Path.home() / '.local' / 'state'
    return Path(home) / 'smwm_ros'


def goals_folder(run: Path) -> Path:
    """Return the folder of named goals: in the run, or in the state folder for a shipped run."""
    models = [(folder / 'models').resolve() for folder in share_folders()]
    if run.resolve().parent in models:
        return state_folder() / 'goals' / run.name
    return run / 'goals'
