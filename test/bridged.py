# SPDX-License-Identifier: Apache-2.0
"""The cv_bridge of apt: run it in the Python of the system, or borrow it for this Python."""

from __future__ import annotations

from functools import cache
import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = Path('/usr/bin/python3')
WHERE = """
import cv2, cv_bridge, json, numpy, sys
files = [module.__file__ for module in (cv2, cv_bridge, numpy)]
print(json.dumps([*sys.version_info[:2], *files]))
"""
TRIED = 'from smwm_ros.codec.bridge import installed; print(installed().problem)'


def system_python(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the Python of the system, with this tree and without the libraries of this Python."""
    environment = {'PATH': os.defpath, 'PYTHONPATH': str(ROOT)}
    command = [SYSTEM, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@cache
def _found() -> tuple[str, tuple[int, int], tuple[Path, ...]]:
    """Return why the system has no cv_bridge that works, or its Python and its modules."""
    if not SYSTEM.exists():
        return f'there is no {SYSTEM}', (0, 0), ()
    done = system_python('-c', WHERE)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [''])[-1]
        return f'apt has not installed python3-cv-bridge for {SYSTEM}: {said}', (0, 0), ()
    if problem := system_python('-c', TRIED).stdout.strip():  # too old for its numpy
        return f'the cv_bridge of apt: {problem}', (0, 0), ()
    major, minor, *files = json.loads(done.stdout)
    return '', (major, minor), tuple(map(Path, files))


def require_cv_bridge() -> None:
    """Skip the test if the system has no cv_bridge that works."""
    if problem := _found()[0]:
        pytest.skip(problem)


def borrowed(folder: Path) -> dict[str, str]:
    """
    Return environment variables with which this Python has the cv_bridge of the system.

    Its numpy and its OpenCV come with it; everything else, ROS 2 and torch included, stays.
    """
    require_cv_bridge()
    _, theirs, files = _found()
    if theirs != sys.version_info[:2]:
        word, ours = '.'.join(map(str, theirs)), '.'.join(map(str, sys.version_info[:2]))
        pytest.skip(f'the cv_bridge of apt is for Python {word}, and this is Python {ours}')
    folder.mkdir()
    for file in files:
        place = file.parent if file.name == '__init__.py' else file
        (folder / place.name).symlink_to(place)
    for place in files[1].parents[1].glob('cv_bridge-*'):  # its version
        (folder / place.name).symlink_to(place)
    environment = {**os.environ, 'PYTHONPATH': f'{folder}:{ROOT}'}
    words = [sys.executable, '-c', TRIED]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode or done.stdout.strip():
        pytest.skip(f'the cv_bridge of apt does not work in this Python: {done.stdout.strip()}')
    return environment
