# SPDX-License-Identifier: Apache-2.0
"""Check the libraries that the package needs, and those of its optional extras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import signal
import subprocess
from typing import Any, NamedTuple

from smwm_ros.doctor.findings import Finding, Machine, OK, PROBLEM, REMARK
from smwm_ros.text import cut

Reports = Mapping[str, Mapping[str, Any]]  # by library: what probe.py found
TIMEOUT = 60.0  # of the imports of one process [s]
_SAID = 300  # characters of an error
# library: what pip installs
NEEDED = {
    'numpy': 'numpy',
    'cv2': 'opencv-python-headless',
    'torch': 'torch',
    'rosbags': 'rosbags>=0.11',
    'safetensors': 'safetensors',
    'yaml': 'pyyaml',
    'apsw': 'apsw',
    'lz4': 'lz4',
    'tqdm': 'tqdm',
}
NEWER = (3, 12)  # from this Python on, pybullet has no wheels


class Extra(NamedTuple):
    """An optional extra of this package."""

    use: str
    pip: str  # what pip installs
    modules: tuple[str, ...]  # what to look for
    alone: bool = False  # does not fit the other libraries: needs an environment of its own


EXTRAS = {
    'sim': Extra('simulated robots', 'pybullet', ('pybullet',)),
    'mujoco': Extra('arena.engine=mujoco', "'mujoco>=3.3'", ('mujoco',)),
    'gym': Extra('Gymnasium', "'gymnasium>=1.0' pybullet", ('gymnasium', 'pybullet')),
    'hdf5': Extra('HDF5 datasets', "'h5py>=3.8' hdf5plugin", ('h5py', 'hdf5plugin')),
    'onnx': Extra(
        'smwm export-model',
        'onnx onnxruntime onnxscript',
        ('onnx', 'onnxruntime', 'onnxscript'),
    ),
    'video': Extra('video files, and cameras that publish H.264 or H.265', 'av', ('av',)),
    'ray': Extra('conversion on many machines', 'ray', ('ray',)),
    'viz': Extra('the Rerun viewer', "'rerun-sdk>=0.39'", ('rerun',)),
    'tensorboard': Extra('curves of a training', 'tensorboard', ('tensorboard',)),
    'lerobot': Extra('LeRobot datasets', "'lerobot>=0.4'", ('lerobot',), alone=True),
    'swm': Extra(
        'environments of stable-worldmodel',
        "'stable-worldmodel>=0.1.1' 'h5py>=3.8' hdf5plugin 'mujoco<4' ogbench pygame pymunk "
        'shapely',
        ('stable_worldmodel', 'ogbench', 'pygame', 'pymunk', 'shapely'),
        alone=True,
    ),
}
# Imported, not only looked for: these depend on libraries of the system.
BRIDGE = 'smwm_ros.codec.bridge'  # it tries cv_bridge
IMPORTED = (*NEEDED, 'rclpy', 'pybullet', 'mujoco', BRIDGE)
SYSTEM = {  # part of an error: what to do
    'libGL': 'sudo apt install libgl1 libglib2.0-0, or use opencv-python-headless instead of '
    'opencv-python',
    'numpy.core.multiarray': "pip install 'numpy<2', or a newer version of this library",
    '_ARRAY_API': "pip install 'numpy<2', or a newer version of this library",
}


def probe_libraries(machine: Machine) -> Reports:
    """Import and look for all libraries; torch, which takes longest, beside the others."""
    looked = {name for extra in EXTRAS.values() for name in extra.modules} - {*IMPORTED}
    others = [name for name in IMPORTED if name != 'torch']
    with ThreadPoolExecutor(2) as pool:
        parts = [['torch'], [*others, *(f'?{name}' for name in sorted(looked))]]
        found = pool.map(lambda names: probe(machine, names), parts)
        return {name: report for part in found for name, report in part.items()}


def probe(machine: Machine, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run probe.py; where a library ends it, go on with the next one."""
    found: dict[str, dict[str, Any]] = {}
    left = list(names)
    environment = {**machine.variables}
    if not environment.get('DISPLAY'):  # as smwm_ros.arenas.engine does
        environment.setdefault('MUJOCO_GL', 'egl')
    while left:
        words = [str(machine.python), str(Path(__file__).with_name('probe.py')), *left]
        try:
            done = subprocess.run(
                words, env=environment, cwd=machine.folder, timeout=TIMEOUT, capture_output=True
            )
            out, error, how = done.stdout, done.stderr, _ending(done.returncode)
        except subprocess.TimeoutExpired as late:
            out, error = late.stdout or b'', b''
            how = f'the import takes longer than {TIMEOUT:.0f} s'
        reports = [json.loads(line) for line in out.splitlines()]
        found |= {report.pop('name'): report for report in reports}
        left = left[len(reports) :]
        if left:
            said = ' '.join(error.decode(errors='replace').split())
            found[left.pop(0).lstrip('?')] = {'error': f'{how}: {said}'.rstrip(': ')}
    return found


def _ending(code: int) -> str:
    """Return in words that an import ended its process."""
    if code >= 0:
        return f'the import ends the process with exit code {code}'
    return f'the import ends the process by signal {signal.Signals(-code).name}'


def check_libraries(machine: Machine, reports: Reports) -> Iterator[Finding]:
    """Check the libraries that the package needs."""
    good = []
    for name, pip in NEEDED.items():
        report = reports[name]
        if report.get('missing'):
            yield Finding(name, PROBLEM, 'not installed', f"pip install '{pip}'")
        elif error := report.get('error'):
            yield broken(name, error, f"pip install --force-reinstall '{pip}'")
        elif name != 'torch':
            good.append(f'{name} {report["version"]}'.rstrip())
    if good:
        yield Finding('libraries', OK, ', '.join(good))
    if 'version' in reports['torch']:
        yield from _check_torch(machine, reports['torch'])


def broken(name: str, error: str, remedy: str) -> Finding:
    """Return the finding of a library that is installed and cannot be imported."""
    # The text of a failed import may hold the advice of the library over a page.
    said = cut(' '.join(error.split()), _SAID)
    known = (what for part, what in SYSTEM.items() if part in error)
    return Finding(name, PROBLEM, f'cannot be imported: {said}', next(known, remedy))


def _check_torch(machine: Machine, report: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the build of torch, and whether it sees the GPU."""
    build, gpus, version = report['gpu_build'], report['gpus'], report['version']
    what = f'{version} ({f"GPU build {build}" if build else "CPU build"})'
    if gpus:
        yield Finding('torch', OK, f'{what}; {", ".join(gpus)}')
    elif not has_gpu(machine):
        yield Finding('torch', OK, f'{what}; no GPU found')
    elif build:
        yield Finding(
            'torch',
            PROBLEM,
            f'{what}; there is a GPU, and torch cannot use it',
            'compare its CUDA version with that of the driver (nvidia-smi), and check that this '
            'user may open the device',
        )
    else:
        yield Finding(
            'torch',
            REMARK,
            f'{what}; there is a GPU, and this build cannot use it',
            'install the build of torch for this GPU, as its web page says; training is many '
            'times faster there',
        )
    if error := report.get('numpy'):
        yield Finding(
            'torch', PROBLEM, f'cannot use numpy: {error}', "pip install 'numpy<2', or a new torch"
        )


def has_gpu(machine: Machine) -> bool:
    """Return whether the machine has a GPU that some build of torch can use."""
    devices = ('nvidia0', 'nvhost-gpu', 'nvgpu', 'kfd')  # the second and third are of Jetsons
    return any((machine.root / 'dev' / name).exists() for name in devices)


def check_extras(machine: Machine, reports: Reports) -> Iterator[Finding]:
    """Name the extras that are installed, and what installs the others."""
    for one in sorted({one for extra in EXTRAS.values() for one in extra.modules}):
        if error := reports[one].get('error'):
            yield broken(one, error, f'pip install --force-reinstall {one}')
    good = []
    for name, extra in EXTRAS.items():
        if any(reports[one].get('missing') for one in extra.modules):
            remedy = f'pip install {extra.pip}'
            if extra.alone:
                remedy += ', in a virtual environment of its own'
            elif name == 'sim' and machine.version >= NEWER:
                remedy += (
                    '; Python 3.12 and newer have no wheel of it, so pip compiles it for minutes '
                    '(g++, python3-dev)'
                )
            yield Finding(f'extra {name}', OK, f'not installed; for {extra.use}', remedy)
        elif not any(reports[one].get('error') for one in extra.modules):
            good.append(f'{name} ({reports[extra.modules[0]]["version"]})')
    if good:
        yield Finding('extras', OK, f'installed: {", ".join(good)}')
    if error := reports['mujoco'].get('renderer'):
        yield _no_renderer(machine, error)


def check_cv_bridge(reports: Reports) -> Iterator[Finding]:
    """Name the cv_bridge that can be used, or what is wrong with it."""
    report = reports[BRIDGE]
    decoder = 'robot.camera.decoder=auto stands for the decoder of this package (own)'
    if version := report.get('cv_bridge'):
        yield Finding('cv_bridge', OK, f'{version}, can be used; {decoder}')
    elif problem := report.get('problem') or report.get('error'):
        remedy = report.get('remedy', 'reinstall it, or uninstall it: it is optional')
        state = OK if report.get('absent') else REMARK
        yield Finding('cv_bridge', state, f'{problem.removeprefix("is ")}; {decoder}', remedy)


def _no_renderer(machine: Machine, error: str) -> Finding:
    """Return the finding of a MuJoCo that has nothing to render with."""
    chosen = machine.variables.get('MUJOCO_GL', '')
    return Finding(
        'rendering',
        PROBLEM if chosen else REMARK,
        f'MuJoCo cannot render (MUJOCO_GL={chosen or "unset"}): {cut(error, _SAID)}',
        'sudo apt install libegl1 libosmesa6, and choose with MUJOCO_GL=egl or osmesa',
    )
