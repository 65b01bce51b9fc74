# SPDX-License-Identifier: Apache-2.0
"""`smwm doctor` finds what is wrong with a machine, says what to do, and never fails itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import fcntl
import json
import os
from pathlib import Path
import runpy
import shlex
import subprocess
import sys
import tempfile
from typing import Any

from bridged import borrowed
import pytest
import setuptools
from smwm_ros.doctor import libraries
from smwm_ros.doctor import machine as computer
from smwm_ros.doctor.examination import guarded
from smwm_ros.doctor.findings import Finding, Machine, OK, PROBLEM, REMARK
from smwm_ros.doctor.installation import check_installation
from smwm_ros.doctor.libraries import (
    BRIDGE,
    check_cv_bridge,
    check_extras,
    check_libraries,
    EXTRAS,
    NEEDED,
    probe,
)
from smwm_ros.doctor.middleware import check_middleware
from smwm_ros.doctor.run_folder import check_run
from smwm_ros.doctor.shared_memory import check_shared_memory, leftovers
from smwm_ros.model.checkpoint import load, save
import torch

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / 'models' / 'two_room'
OURS = ROOT / 'config' / 'fastdds.xml'
MIB = 1 << 20
FAST, ZENOH = 'rmw_fastrtps_cpp', 'rmw_zenoh_cpp'
# What a check yields: state, a part of what was found, and a part of the remedy.
Expected = tuple[str, str, str]


def doctor(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f'{variables.pop("PYTHONPATH", "")}:{ROOT}'
    command = [sys.executable, '-m', 'smwm_ros.cli', 'doctor', *words]
    environment = {**os.environ, **variables, 'PYTHONPATH': path}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def only(found: Iterator[Finding], name: str) -> Finding:
    (one,) = (each for each in found if each.name == name)
    return one


def check(one: Finding, expected: Expected) -> None:
    state, found, remedy = expected
    assert one.state == state, one
    assert found in one.found
    assert remedy in one.remedy
    assert bool(one.remedy) == (state != OK), 'what is wrong has a remedy'


def machine(root: Path = Path('/nowhere'), /, **variables: str) -> Machine:
    return Machine(variables, root)


def reports(**changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = {*NEEDED, *(name for extra in EXTRAS.values() for name in extra.modules)}
    found: dict[str, dict[str, Any]] = {
        name: {'version': '1', 'file': f'/here/{name}/__init__.py'} for name in names
    }
    found['torch'] |= {'gpu_build': '', 'gpus': [], 'threads': 1}
    found[BRIDGE] = {'version': '', 'cv_bridge': '4.1'}
    return {**found, 'rclpy': rclpy(FAST), **changed}


def rclpy(rmw: str) -> dict[str, Any]:
    return {'version': '9', 'file': '/here/rclpy/__init__.py', 'rmw': rmw}


def test_this_machine_is_described_and_the_model_is_timed() -> None:
    done = doctor(str(MODEL), '--json')
    found = [Finding(**json.loads(line)) for line in done.stdout.splitlines()]
    assert done.returncode == any(one.state == PROBLEM for one in found), done.stderr
    assert not [one for one in found if 'could not be checked' in one.found]
    named = {one.name: one for one in found}
    assert named.keys() >= {'package', 'installation', 'libraries', 'torch', 'shared memory'}
    assert named.keys() >= {'cv_bridge', 'decoder'}
    assert named.keys() >= {'processors', 'clock', 'disk', 'real time', 'threads'}
    assert torch.__version__.split('+')[0] in named['torch'].found  # the build stands beside it
    check(named['model'], (OK, str(MODEL), ''))
    assert 'the control period is 100 ms' in named['plan'].found


def test_broken_libraries_are_findings_and_do_not_end_it(tmp_path: Path) -> None:
    for name, text in {
        'numpy': 'import os; os.abort()',
        'torch': 'import no_such_library',
        'tqdm': 'raise RuntimeError("not today")',
        'yaml': 'import sys; sys.exit("not today either")',
        'apsw': 'import os; os._exit(7)',
    }.items():
        (tmp_path / f'{name}.py').write_text(text)
    done = doctor(str(MODEL), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == ''
    for line in (
        'PROBLEM  numpy: cannot be imported: the import ends the process by signal SIGABRT',
        'PROBLEM  torch: cannot be imported: ModuleNotFoundError: No module named',
        'PROBLEM  tqdm: cannot be imported: RuntimeError: not today',
        'PROBLEM  yaml: cannot be imported: SystemExit: not today either',
        'PROBLEM  apsw: cannot be imported: the import ends the process with exit code 7',
        "         -> pip install --force-reinstall 'apsw'",
        'PROBLEM  model: ',
        'ok       disk: ',
    ):
        assert line in done.stdout
    (good,) = (line for line in done.stdout.splitlines() if line.startswith('ok       libraries'))
    assert 'lz4' in good
    assert 'numpy' not in good
    assert 'problem' in done.stdout.splitlines()[-1]


def test_an_import_without_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'stuck.py').write_text('import time; time.sleep(600)')
    monkeypatch.setattr(libraries, 'TIMEOUT', 0.2)
    found = probe(Machine({'PYTHONPATH': str(tmp_path)}), ['stuck'])
    assert 'takes longer than' in found['stuck']['error']


def test_a_library_that_is_only_looked_for_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / 'heavy.py').write_text('raise RuntimeError("imported")')
    found = probe(Machine({'PYTHONPATH': str(tmp_path)}), ['?heavy', '?absent', 'heavy', 'lz4'])
    assert 'imported' in found['heavy']['error']  # the third word, not the first
    assert found['absent'] == {'missing': True}
    assert found['lz4']['version']
    found = probe(Machine({'PYTHONPATH': str(tmp_path)}), ['?heavy'])
    assert found['heavy']['file'] == str(tmp_path / 'heavy.py')


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ("raise ModuleNotFoundError('none', name='cv_bridge')", (OK, 'not installed; ', 'jazzy')),
        ("raise AttributeError('_ARRAY_API')", (REMARK, 'does not work here (Attr', 'of apt')),
        ('import os; os.abort()', (REMARK, 'by signal SIGABRT', 'it is optional')),
    ],
)
def test_a_cv_bridge_that_is_missing_or_broken_is_named(
    tmp_path: Path, text: str, expected: Expected
) -> None:
    (tmp_path / 'cv_bridge.py').write_text(text)
    here = Machine({'PYTHONPATH': str(tmp_path), 'ROS_DISTRO': 'jazzy'})
    found = probe(here, [BRIDGE])
    (one,) = check_cv_bridge(found)
    assert (one.state, expected[1] in one.found, expected[2] in one.remedy) == (
        expected[0], True, True,
    ), one  # fmt: skip
    assert 'auto stands for the decoder of this package (own)' in one.found


def test_the_cv_bridge_of_apt_is_found(tmp_path: Path) -> None:
    found = probe(Machine(borrowed(tmp_path / 'modules')), [BRIDGE])
    check(only(check_cv_bridge(found), 'cv_bridge'), (OK, '1.16.2, can be used', ''))


def test_a_model_that_needs_cv_bridge_is_a_problem_without_it(tmp_path: Path) -> None:
    made = load(MODEL)
    camera = replace(made.robot.camera, decoder='cv_bridge')
    planner = replace(made.planner, kind='cem')  # no roadmap is copied
    robot = replace(made.robot, camera=camera)
    save(tmp_path / 'run', made._replace(robot=robot, planner=planner))
    missing = {'version': '', 'problem': 'is not installed', 'remedy': 'sudo apt install it'}
    one = only(check_run(tmp_path / 'run', reports(**{BRIDGE: missing})), 'decoder')
    check(one, (PROBLEM, 'converted by cv_bridge, which cannot be used', 'apt install it'))
    one = only(check_run(tmp_path / 'run', reports()), 'decoder')
    check(one, (OK, 'robot.camera.decoder=cv_bridge', ''))
    check(only(check_run(MODEL, reports(**{BRIDGE: missing})), 'decoder'), (OK, 'r=own', ''))


def test_a_middleware_that_is_not_installed_is_named() -> None:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    here = Machine({**os.environ, 'RMW_IMPLEMENTATION': 'rmw_nowhere_cpp'})
    found = probe(here, ['rclpy', 'lz4'])
    one = only(check_middleware(here, found), 'rclpy')
    check(one, (PROBLEM, 'cannot be imported', 'rmw-nowhere-cpp'))
    assert 'version' in found['lz4']


def test_a_check_that_fails_is_a_remark() -> None:
    def fails() -> Iterator[Finding]:
        yield Finding('first', OK, 'good')
        raise ZeroDivisionError('no processors')

    first, second = guarded('processors', fails)
    assert first.name == 'first'
    assert second[:2] == ('processors', REMARK)
    assert 'no processors' in second.found


def test_what_pip_installs_is_what_setup_py_names(monkeypatch: pytest.MonkeyPatch) -> None:
    words: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **given: words.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    extras = words['extras_require']
    assert set(EXTRAS) == set(extras) - {'ros', 'dev'}
    for name, extra in EXTRAS.items():
        assert set(shlex.split(extra.pip)) == set(extras[name]), name
    needed = {word for word in words['install_requires'] if not word.startswith('backports')}
    assert set(NEEDED.values()) == needed - {'setuptools'}


def test_a_missing_library_is_a_problem_and_a_missing_extra_is_none() -> None:
    gone = reports(rosbags={'missing': True}, av={'missing': True}, lerobot={'missing': True})
    one = only(check_libraries(machine(), gone), 'rosbags')
    check(one, (PROBLEM, 'not installed', "pip install 'rosbags"))
    found = list(check_extras(machine(), gone))
    video, lerobot = (only(iter(found), f'extra {name}') for name in ('video', 'lerobot'))
    assert video == (
        'extra video',
        OK,
        'not installed; for video files, and cameras that publish H.264 or H.265',
        'pip install av',
    )
    assert lerobot.remedy.endswith('in a virtual environment of its own')
    listed = only(iter(found), 'extras').found
    assert 'ray (1)' in listed
    assert 'video' not in listed


def test_pybullet_is_compiled_where_it_has_no_wheel() -> None:
    gone = reports(pybullet={'missing': True})
    for version, compiled in (((3, 11), False), ((3, 12), True), ((3, 14), True)):
        here = machine()._replace(version=version)
        one = only(check_extras(here, gone), 'extra sim')
        assert ('compiles' in one.remedy) is compiled


@pytest.mark.parametrize(('chosen', 'state'), [({'MUJOCO_GL': 'osmesa'}, PROBLEM), ({}, REMARK)])
def test_a_mujoco_without_a_renderer_is_found(chosen: dict[str, str], state: str) -> None:
    gone = reports(mujoco={'version': '4', 'renderer': 'AttributeError: no such library'})
    one = only(check_extras(machine(**chosen), gone), 'rendering')
    check(one, (state, 'no such library', 'libegl1'))


@pytest.mark.parametrize(
    ('gpu', 'facts', 'expected'),
    [
        (False, {}, (OK, 'CPU build); no GPU', '')),
        (True, {}, (REMARK, 'this build cannot use it', 'build of torch')),
        (True, {'gpu_build': '12.8'}, (PROBLEM, 'torch cannot use it', 'nvidia-smi')),
        (True, {'gpu_build': '12.8', 'gpus': ['A', 'B']}, (OK, 'A, B', '')),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_found(
    gpu: bool, facts: dict[str, Any], expected: Expected, tmp_path: Path
) -> None:
    (tmp_path / 'dev').mkdir()
    if gpu:
        (tmp_path / 'dev/nvidia0').touch()
    found = reports()
    found['torch'] |= facts
    check(only(check_libraries(machine(tmp_path), found), 'torch'), expected)


def test_a_torch_that_cannot_use_numpy_is_a_problem() -> None:
    found = reports()
    found['torch']['numpy'] = 'Numpy is not available'
    _, one = (one for one in check_libraries(machine(), found) if one.name == 'torch')
    check(one, (PROBLEM, 'Numpy is not available', "'numpy<2'"))


RANGE, LOCAL = 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'
NEW, OLD = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'


@pytest.mark.parametrize(
    ('name', 'variables', 'expected'),
    [
        ('domain', {}, (OK, '0 (unset)', '')),
        ('domain', {'ROS_DOMAIN_ID': '42'}, (OK, '42', '')),
        ('domain', {'ROS_DOMAIN_ID': '120'}, (REMARK, '120', '0 to 101')),
        ('domain', {'ROS_DOMAIN_ID': '233'}, (PROBLEM, "'233'", 'export')),
        ('domain', {'ROS_DOMAIN_ID': 'robot'}, (PROBLEM, "'robot'", 'export')),
        ('discovery', {}, (OK, 'subnet', '')),
        ('discovery', {LOCAL: '1'}, (OK, 'this machine alone', '')),
        ('discovery', {RANGE: 'LOCALHOST'}, (OK, 'this machine alone', '')),
        ('discovery', {RANGE: 'OFF'}, (PROBLEM, 'OFF', 'LOCALHOST')),
        ('discovery', {RANGE: 'localhost'}, (PROBLEM, "'localhost'", 'SUBNET, LOCALHOST')),
        ('discovery', {RANGE: 'SUBNET', LOCAL: '1'}, (REMARK, 'overrides', f'unset {LOCAL}')),
        ('discovery', {RANGE: 'SUBNET', 'ROS_DISTRO': 'humble'}, (REMARK, 'not read', LOCAL)),
        ('profile', {}, (REMARK, 'default profile', f'export {NEW}={OURS}')),
        ('profile', {'ROS_DISTRO': 'jazzy'}, (REMARK, 'default', f'export {OLD}={OURS}')),
        ('profile', {'ROS_DISTRO': 'jazzy', NEW: str(OURS)}, (REMARK, f'{NEW} is set', OLD)),
        ('profile', {'ROS_DISTRO': 'jazzy', OLD: str(OURS)}, (OK, '32 MiB', '')),
        ('profile', {'ROS_DISTRO': 'kilted', NEW: str(OURS)}, (OK, '32 MiB', '')),
        ('profile', {NEW: '/no/such.xml'}, (PROBLEM, 'No such file', 'export')),
        ('profile', {NEW: str(ROOT / 'setup.py')}, (PROBLEM, 'cannot be read', 'export')),
        ('profile', {NEW: str(ROOT / 'package.xml')}, (REMARK, 'segment_size', 'export')),
        ('profile', {'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}, (OK, 'LARGE_DATA', '')),
    ],
)
def test_variables_of_the_middleware_are_judged(
    name: str, variables: dict[str, str], expected: Expected
) -> None:
    check(only(check_middleware(machine(**variables), reports()), name), expected)


def test_where_rclpy_comes_from_is_judged(tmp_path: Path) -> None:
    (tmp_path / 'share/rclpy').mkdir(parents=True)
    (tmp_path / 'share/rclpy/package.xml').touch()
    sourced = machine(AMENT_PREFIX_PATH=f'/elsewhere:{tmp_path}', ROS_DISTRO='jazzy')
    found = {'rclpy': rclpy(FAST)}
    one = only(check_middleware(sourced, found), 'rclpy')
    check(one, (PROBLEM, f'sourced from {tmp_path}', 'ros-rclpy'))
    found['rclpy']['file'] = f'{tmp_path}/lib/rclpy/__init__.py'
    assert only(check_middleware(sourced, found), 'rclpy').state == OK
    gone: dict[str, Any] = {'rclpy': {'missing': True}}
    one = only(check_middleware(sourced, gone), 'rclpy')
    check(one, (PROBLEM, 'not found', '--system-site-packages'))
    check(only(check_middleware(machine(), gone), 'rclpy'), (REMARK, '--live', 'pip install'))


def test_the_router_of_zenoh_is_looked_for(tmp_path: Path) -> None:
    found = {'rclpy': rclpy(ZENOH)}
    check(only(check_middleware(machine(tmp_path), found), 'router'), (REMARK, '7447', 'zenohd'))
    (tmp_path / 'proc/net').mkdir(parents=True)
    table = '  sl  local_address rem_address   st\n   0: 0100007F:{} 00000000:0000 {}\n'
    for port, state, good in (('1D17', '0A', True), ('1D17', '01', False), ('1D18', '0A', False)):
        (tmp_path / 'proc/net/tcp').write_text(table.format(port, state))
        one = only(check_middleware(machine(tmp_path), found), 'router')
        assert (one.state == OK) is good, one
    assert not [one for one in check_middleware(machine(), found) if one.name == 'profile']


def test_python_and_ros_that_do_not_fit_are_found(tmp_path: Path) -> None:
    ros, workspace = tmp_path / 'opt', tmp_path / 'ws'
    for folder, package in ((ros, 'rclpy'), (workspace, 'smwm_ros')):
        (folder / 'share' / package).mkdir(parents=True)
        (folder / 'share' / package / 'package.xml').touch()
    here = machine(
        AMENT_PREFIX_PATH=f'{workspace}:{ros}',
        ROS_DISTRO='jazzy',
        PYTHONPATH=f'{ros}/lib/python3.12/site-packages',
        CONDA_PREFIX='/conda',
    )._replace(version=(3, 11))
    found = list(check_installation(here))
    one = only(iter(found), 'installation')
    assert f'ROS 2 jazzy sourced from {ros}; colcon workspace {workspace}' in one.found
    check(only(iter(found), 'python'), (PROBLEM, 'this is Python 3.11', 'python3.12'))
    check(only(iter(found), 'conda'), (REMARK, 'libraries mix', 'RoboStack'))
    fits = here._replace(version=(3, 12), variables={**here.variables, 'CONDA_PREFIX': str(ros)})
    assert [one.name for one in check_installation(fits)] == ['installation']
    half = machine(ROS_DISTRO='jazzy')
    check(only(check_installation(half), 'ros'), (REMARK, 'AMENT_PREFIX_PATH', 'setup.bash'))


@pytest.mark.parametrize(
    ('total', 'free', 'fast_dds', 'expected'),
    [
        (64 * MIB, 64 * MIB, True, (PROBLEM, 'images get lost', '--shm-size')),
        (64 * MIB, 64 * MIB, False, (REMARK, 'images get lost', '--shm-size')),
        (128 * MIB, 100 * MIB, True, (REMARK, 'little', '--shm-size')),
        (512 * MIB, 10 * MIB, True, (PROBLEM, '10 MiB of 512 MiB free', 'remove')),
        (4096 * MIB, 2048 * MIB, True, (OK, '2.0 GiB of 4.0 GiB free', '')),
    ],
)
def test_shared_memory_must_hold_images(
    total: int, free: int, fast_dds: bool, expected: Expected, tmp_path: Path
) -> None:
    assert next(check_shared_memory(machine(tmp_path), fast_dds)).state != OK
    (tmp_path / 'dev/shm').mkdir(parents=True)
    found = check_shared_memory(machine(tmp_path), fast_dds, lambda _: (total, total - free, free))
    check(only(found, 'shared memory'), expected)


def test_segments_that_no_process_locks_are_leftovers() -> None:
    if not Path('/dev/shm').is_dir() or not Path('/proc/locks').is_file():
        pytest.skip('this machine has no /dev/shm or no /proc/locks')
    with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
        root = Path(folder)
        (root / 'dev/shm').mkdir(parents=True)
        (root / 'proc').symlink_to('/proc')
        for name in ('held', 'left', 'new'):
            segment = root / f'dev/shm/fastdds_{name}'
            segment.write_bytes(bytes(MIB))
            segment.with_name(f'{segment.name}_el').touch()
            if name != 'new':
                os.utime(segment, (0, 0))
        with (root / 'dev/shm/fastdds_held_el').open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            assert leftovers(machine(root)) == (1, MIB)
        assert leftovers(machine(root)) == (2, 2 * MIB)
        found = check_shared_memory(machine(root), True)
        check(only(found, 'leftovers'), (REMARK, '2 segments', 'fastdds shm clean'))


@pytest.mark.parametrize(
    ('quota', 'threads', 'idle', 'states'),
    [
        ('100000 100000', 4, 0.9, (OK, REMARK)),
        ('100000 100000', 1, 0.9, (OK, OK)),
        ('100000 100000', 1, 0.2, (REMARK, OK)),
        ('100000 100000', 1, None, (OK, OK)),
    ],
)
def test_threads_must_fit_the_processors(
    quota: str, threads: int, idle: float | None, states: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / 'sys/fs/cgroup').mkdir(parents=True)
    (tmp_path / 'sys/fs/cgroup/cpu.max').write_text(quota)
    found = list(
        computer.check_processors(machine(tmp_path), {'torch': {'threads': threads}}, idle)
    )
    assert tuple(one.state for one in found) == states
    if states[1] == REMARK:
        assert found[1].remedy == 'export OMP_NUM_THREADS=1'


@pytest.mark.parametrize(
    ('governor', 'driver', 'state'),
    [
        ('powersave', 'acpi-cpufreq', REMARK),
        ('powersave', 'intel_pstate', OK),
        ('performance', 'acpi-cpufreq', OK),
    ],
)
def test_a_governor_that_keeps_processors_slow_is_found(
    governor: str, driver: str, state: str, tmp_path: Path
) -> None:
    assert not list(computer.check_governor(machine(tmp_path)))
    folder = tmp_path / 'sys/devices/system/cpu/cpu0/cpufreq'
    folder.mkdir(parents=True)
    (folder / 'scaling_governor').write_text(f'{governor}\n')
    (folder / 'scaling_driver').write_text(f'{driver}\n')
    (one,) = computer.check_governor(machine(tmp_path))
    check(one, (state, governor, '' if state == OK else 'cpupower'))


def test_clock_disk_and_priority_are_judged(tmp_path: Path) -> None:
    for known, state in ((True, OK), (False, REMARK), (None, OK)):
        (one,) = computer.check_clock(known)
        assert one.state == state
    assert computer.is_synchronised() in (True, False, None)
    here = machine()._replace(folder=tmp_path)
    for free, state in ((1 << 29, PROBLEM), (5 << 30, REMARK), (50 << 30, OK)):
        (one,) = computer.check_disk(here, lambda _, free=free: (1 << 40, 0, free))  # type: ignore[misc]
        check(one, (state, f'{free / 1e9:.1f} GB', ''))
    (one,) = computer.check_real_time(lambda: 98)
    check(one, (OK, 'up to priority 98', ''))


def test_a_plan_that_is_too_slow_and_a_model_that_is_none_are_problems(tmp_path: Path) -> None:
    checkpoint = load(MODEL)
    planner = replace(checkpoint.planner, kind='cem', samples=100_000, iterations=100)
    save(tmp_path / 'slow', checkpoint._replace(planner=planner))
    model, _, plan = check_run(tmp_path / 'slow', reports())
    assert model.state == OK
    check(plan, (PROBLEM, 'planner.samples 100000', 'STALE_PLAN'))
    (one,) = check_run(tmp_path / 'none', reports())
    check(one, (PROBLEM, str(tmp_path / 'none'), 'run folder'))
