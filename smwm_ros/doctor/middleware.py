# SPDX-License-Identifier: Apache-2.0
"""Check what connects the nodes: rclpy, the middleware, its profile, domain and range."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from smwm_ros.doctor.findings import Finding, Machine, OK, PROBLEM, REMARK
from smwm_ros.doctor.installation import ros_prefix
from smwm_ros.doctor.libraries import broken, Reports
from smwm_ros.share import profile_variable, PROFILE_VARIABLES, shipped

LEAST_SEGMENT = 4 << 20  # shared memory for a few raw 640x480 images [bytes]
RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT')
WITHOUT_RANGE = ('foxy', 'galactic', 'humble')  # read ROS_LOCALHOST_ONLY alone
LAST_DOMAIN = 232
SAFE_DOMAINS = (range(102), range(215, 233))  # the others use ports of Linux for clients
ZENOH_PORT = 7447  # of the router


def check_middleware(machine: Machine, reports: Reports) -> Iterator[Finding]:
    """Check whether rclpy can be imported, from where, and with which middleware."""
    report, ros = reports['rclpy'], ros_prefix(machine)
    wanted = machine.variables.get('RMW_IMPLEMENTATION', '')
    if report.get('missing'):
        yield _no_rclpy(ros)
        return
    if error := report.get('error'):
        if wanted:
            package = f'ros-{machine.variables.get("ROS_DISTRO", "DISTRO")}-{wanted}'
            remedy = f'install {wanted} (sudo apt install {package.replace("_", "-")}), or unset '
            remedy += f'RMW_IMPLEMENTATION, which is {wanted}'
        else:
            remedy = 'source the ROS 2 installation of this Python again, in a new shell'
        yield broken('rclpy', error, remedy)
        return
    where = Path(report['file']).parent
    if ros and not where.is_relative_to(ros):
        yield Finding(
            'rclpy',
            PROBLEM,
            f'is imported from {where}, and ROS 2 is sourced from {ros}: their libraries mix',
            'remove the wheels (pip uninstall ros-rclpy), or use a shell without that ROS 2',
        )
    else:
        yield Finding('rclpy', OK, f'{report["version"] or "installed"} in {where}')
    rmw = report['rmw']
    yield Finding('middleware', OK, f'{rmw} ({"as RMW_IMPLEMENTATION" if wanted else "default"})')
    if rmw.startswith('rmw_fastrtps'):
        yield from _check_profile(machine)
    elif rmw == 'rmw_zenoh_cpp':
        yield from _check_router(machine)
    yield from _check_domain(machine)
    yield from _check_range(machine)


def uses_fast_dds(reports: Reports) -> bool:
    """Return whether the middleware is Fast DDS."""
    return str(reports['rclpy'].get('rmw', '')).startswith('rmw_fastrtps')


def _no_rclpy(ros: Path | None) -> Finding:
    """Return the finding of a machine without rclpy."""
    if ros:
        return Finding(
            'rclpy',
            PROBLEM,
            f'not found by this Python, although ROS 2 is sourced from {ros}',
            'use the Python of that ROS 2, or a virtual environment made with it and with '
            '--system-site-packages',
        )
    return Finding(
        'rclpy',
        REMARK,
        'not installed; the nodes, smwm goal, engage, stop and status, and --live need it',
        "source /opt/ros/DISTRO/setup.bash, or without ROS 2: pip install '.[ros]' in the folder "
        'of this package',
    )


def _check_profile(machine: Machine) -> Iterator[Finding]:
    """Check whether the shared memory of Fast DDS carries camera images."""
    variable, ours = profile_variable(machine.variables), shipped('config', 'fastdds.xml')
    path = machine.variables.get(variable, '')
    advice = f'export {variable}={ours}' if ours else f'set {variable} to config/fastdds.xml'
    transports = machine.variables.get('FASTDDS_BUILTIN_TRANSPORTS', '')
    if not path:
        if transports.startswith(('LARGE_DATA', 'SHM')):
            yield Finding('profile', OK, f'FASTDDS_BUILTIN_TRANSPORTS is {transports}')
            return
        others = [one for one in PROFILE_VARIABLES if one in machine.variables]
        unread = ''.join(f'; {one} is set, which is for other versions' for one in others)
        yield Finding(
            'profile',
            REMARK,
            f'Fast DDS has its default profile: it drops most raw 640x480 images{unread}',
            f'{advice}, for the camera too (plan.launch.py sets it for the plan node), or publish '
            'compressed images',
        )
        return
    try:
        segment = _segment(ElementTree.parse(path).getroot())
    except (OSError, ElementTree.ParseError) as error:
        yield Finding('profile', PROBLEM, f'{variable}={path}: cannot be read: {error}', advice)
        return
    if segment < LEAST_SEGMENT:
        yield Finding(
            'profile',
            REMARK,
            f'{variable}={path}: no transport with segment_size of at least {LEAST_SEGMENT} '
            'bytes; raw images may be dropped',
            advice,
        )
    else:
        yield Finding('profile', OK, f'{variable}={path}: {segment >> 20} MiB of shared memory')


def _segment(root: ElementTree.Element) -> int:
    """Return the largest segment of shared memory in a profile [bytes]."""
    sizes = [
        (node.text or '').strip() for node in root.iter() if node.tag.endswith('segment_size')
    ]
    return max((int(size) for size in sizes if size.isdigit()), default=0)


def _check_router(machine: Machine) -> Iterator[Finding]:
    """Check whether the router of Zenoh listens on this machine."""
    tables = machine.text('proc/net/tcp') + '\n' + machine.text('proc/net/tcp6')
    listening = f':{ZENOH_PORT:04X} '
    rows = [row.split() for row in tables.splitlines()]
    # Fields: number, local address, remote address, state (0A: listening).
    if any(len(row) > 3 and f'{row[1]} '.endswith(listening) and row[3] == '0A' for row in rows):
        yield Finding('router', OK, f'a program listens on port {ZENOH_PORT}, as Zenoh routers do')
        return
    yield Finding(
        'router',
        REMARK,
        f'nothing listens on port {ZENOH_PORT}; with rmw_zenoh_cpp nodes find each other by a '
        'router',
        'ros2 run rmw_zenoh_cpp rmw_zenohd',
    )


def _check_domain(machine: Machine) -> Iterator[Finding]:
    """Check ROS_DOMAIN_ID."""
    word = machine.variables.get('ROS_DOMAIN_ID', '')
    number = int(word) if word.isdecimal() else 0
    if (word and not word.isdecimal()) or number > LAST_DOMAIN:
        yield Finding(
            'domain',
            PROBLEM,
            f"ROS_DOMAIN_ID is '{word}', expected a number of 0 to {LAST_DOMAIN}",
            'export ROS_DOMAIN_ID=0, or the number of the robot',
        )
    elif not any(number in safe for safe in SAFE_DOMAINS):
        yield Finding(
            'domain',
            REMARK,
            f'ROS_DOMAIN_ID is {number}, whose ports other programs may hold',
            'use 0 to 101 on all machines',
        )
    else:
        yield Finding('domain', OK, f'ROS_DOMAIN_ID is {number}{"" if word else " (unset)"}')


def _check_range(machine: Machine) -> Iterator[Finding]:
    """Check which machines the nodes look for each other on."""
    name, old = 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'
    word = machine.variables.get(name, '')
    local = machine.variables.get(old, '') == '1'
    if word and machine.variables.get('ROS_DISTRO') in WITHOUT_RANGE:
        yield Finding(
            'discovery', REMARK, f'{name} is {word}, which this ROS 2 does not read', f'set {old}'
        )
    elif word and word not in RANGES:
        yield Finding(
            'discovery', PROBLEM, f"{name} is '{word}'", f'set it to one of {", ".join(RANGES)}'
        )
    elif local and word not in ('', 'LOCALHOST'):
        yield Finding(
            'discovery',
            REMARK,
            f'{old}=1 overrides {name}={word}: nodes of other machines are not found',
            f'unset {old}',
        )
    elif word == 'OFF':
        yield Finding(
            'discovery',
            PROBLEM,
            f'{name} is OFF: nodes do not find each other',
            f'export {name}=LOCALHOST, or SUBNET if the robot is another machine',
        )
    else:
        here = local or word == 'LOCALHOST'
        yield Finding('discovery', OK, 'on this machine alone' if here else 'in the subnet')
