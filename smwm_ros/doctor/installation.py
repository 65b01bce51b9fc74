# SPDX-License-Identifier: Apache-2.0
"""Check how the package was installed: with pip, in a ROS 2 workspace, with conda or pixi."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import platform
import re

from smwm_ros import __version__
from smwm_ros.doctor.findings import Finding, Machine, OK, PROBLEM, REMARK

PACKAGE = Path(__file__).resolve().parents[1]


def check_package(machine: Machine) -> Iterator[Finding]:
    """Name the versions of the package and of Python, and where they are."""
    yield Finding(
        'package',
        OK,
        f'smwm_ros {__version__} in {PACKAGE}; Python {platform.python_version()} '
        f'({machine.python})',
    )


def check_installation(machine: Machine) -> Iterator[Finding]:
    """Name the ways of installation, and find those that do not fit each other."""
    yield Finding('installation', OK, '; '.join(_ways(machine)))
    yield from _other_python(machine)
    yield from _two_systems(machine)


def ros_prefix(machine: Machine) -> Path | None:
    """Return the folder of the sourced ROS 2 installation, the one with rclpy."""
    prefixes = machine.paths('AMENT_PREFIX_PATH')
    return next((path for path in prefixes if (path / 'share/rclpy/package.xml').is_file()), None)


def conda_prefix(machine: Machine) -> Path | None:
    """Return the folder of the active environment of conda or pixi."""
    word = machine.variables.get('CONDA_PREFIX', '')
    return Path(word) if word else None


def _ways(machine: Machine) -> Iterator[str]:
    """Yield the ways of installation."""
    variables, ros, conda = machine.variables, ros_prefix(machine), conda_prefix(machine)
    distribution = variables.get('ROS_DISTRO', '')
    if ros or distribution:
        yield f'ROS 2 {distribution or "(no ROS_DISTRO)"} sourced from {ros or "unknown"}'
    else:
        yield 'no ROS 2 installation is sourced'
    for prefix in machine.paths('AMENT_PREFIX_PATH'):
        if prefix != ros and (prefix / 'share/smwm_ros/package.xml').is_file():
            yield f'colcon workspace {prefix}'
    if conda:
        yield f'{"pixi" if "PIXI_PROJECT_ROOT" in variables else "conda"} environment {conda}'
    if (machine.python.parent.parent / 'pyvenv.cfg').is_file():
        yield f'virtual environment {machine.python.parent.parent}'


def _other_python(machine: Machine) -> Iterator[Finding]:
    """Find packages of another version of Python in PYTHONPATH."""
    ours = '{}.{}'.format(*machine.version)
    for path in machine.paths('PYTHONPATH'):
        named = re.search(r'python(3\.\d+)', str(path))
        if named and named[1] != ours:
            yield Finding(
                'python',
                PROBLEM,
                f'PYTHONPATH has {path}, and this is Python {ours}: its compiled modules, such as '
                'rclpy, cannot be imported',
                f'use python{named[1]}, or a shell in which that installation is not sourced',
            )
            return


def _two_systems(machine: Machine) -> Iterator[Finding]:
    """Find ROS 2 outside of an active conda environment, and a half-sourced ROS 2."""
    ros, conda = ros_prefix(machine), conda_prefix(machine)
    if ros and conda and not ros.is_relative_to(conda):
        yield Finding(
            'conda',
            REMARK,
            f'{conda} is active, and ROS 2 is sourced from {ros}: their libraries mix',
            'use the packages of RoboStack in that environment, or deactivate it (conda '
            'deactivate)',
        )
    if machine.variables.get('ROS_DISTRO') and not ros:
        yield Finding(
            'ros',
            REMARK,
            'ROS_DISTRO is set, but no folder of AMENT_PREFIX_PATH has rclpy',
            'source the setup.bash of the ROS 2 installation again',
        )
