# SPDX-License-Identifier: Apache-2.0
"""
Import libraries in a process of its own, because a broken one may end it or never return.

`python probe.py torch ?ray` imports torch, and looks whether ray is there. It prints one line of
JSON for each as soon as it is known. It needs the standard library alone. A module of this package
is imported to try what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
import json
import os
import sys
from types import ModuleType
from typing import Any

LOOK = '?'  # before the name of a library that is not imported
# library: what pip installs, where the names differ
DISTRIBUTIONS = {
    'cv2': 'opencv-python-headless opencv-python opencv-contrib-python',
    'rclpy': 'ros-rclpy',
    'stable_worldmodel': 'stable-worldmodel',
    'yaml': 'pyyaml',
}


def probe(name: str) -> dict[str, Any]:
    """Import a library, or look for it; return what was found."""
    top = name.removeprefix(LOOK)
    try:
        spec = find_spec(top)
        if spec is None:
            return {'missing': True}
        found: dict[str, Any] = {'file': spec.origin or '', 'version': _version(top)}
        if not name.startswith(LOOK):
            module = import_module(top)
            found['version'] = found['version'] or str(getattr(module, '__version__', ''))
            found |= DETAILS.get(top, lambda _: {})(module)
        return found
    except BaseException as error:  # a finding, whatever it is
        return {'error': f'{type(error).__name__}: {error}'}


def _version(name: str) -> str:
    """Return the installed version of a library, '' if pip does not know it."""
    for one in DISTRIBUTIONS.get(name, name).split():
        with suppress(PackageNotFoundError):
            return version(one)
    return ''


def _torch(torch: Any) -> dict[str, Any]:
    """Return the build of torch, the GPUs that it sees, its threads, and whether numpy fits."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = {
        'gpu_build': torch.version.cuda or torch.version.hip or '',
        'gpus': [torch.cuda.get_device_name(number) for number in range(count)],
        'threads': torch.get_num_threads(),
    }
    try:
        torch.zeros(1).numpy()
    except RuntimeError as error:
        found['numpy'] = str(error)
    return found


def _rclpy(rclpy: Any) -> dict[str, Any]:
    """Return the middleware that rclpy loads."""
    return {'rmw': import_module('rclpy.utilities').get_rmw_implementation_identifier()}


def _mujoco(mujoco: Any) -> dict[str, Any]:
    """Return why MuJoCo has nothing to render with, if so."""
    try:
        context = mujoco.GLContext(16, 16)
        context.make_current()
        context.free()
    except Exception as error:  # of many types, from PyOpenGL and from the driver
        return {'renderer': f'{type(error).__name__}: {error}'}
    return {}


def _bridge(bridge: Any) -> dict[str, Any]:
    """Return the version of cv_bridge, or what is wrong with it and what to do."""
    _, problem, remedy = bridge.installed()
    if problem:
        absent = problem.startswith(bridge.ABSENT)
        return {'problem': problem, 'remedy': remedy, 'absent': absent}
    return bridge.versions('cv_bridge')  # type: ignore[no-any-return]


DETAILS: dict[str, Callable[[Any], dict[str, Any]]] = {
    'torch': _torch,
    'rclpy': _rclpy,
    'mujoco': _mujoco,
    'smwm_ros.codec.bridge': _bridge,
}


def main(names: Sequence[str]) -> None:
    """Probe libraries one after the other."""
    out = os.dup(1)
    os.dup2(2, 1)  # C code prints banners on stdout
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    package = ModuleType('smwm_ros')  # of this folder, whatever else is installed
    package.__path__ = [os.path.dirname(here)]
    sys.modules['smwm_ros'] = package
    for name in names:
        report = {'name': name.removeprefix(LOOK), **probe(name)}
        os.write(out, json.dumps(report).encode() + b'\n')


if __name__ == '__main__':
    main(sys.argv[1:])
