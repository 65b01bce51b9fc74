# SPDX-License-Identifier: Apache-2.0
"""What pip and colcon install is complete, and package.xml and setup.py say the same."""

from __future__ import annotations

import ast
import os
from pathlib import Path
import re
import runpy
import shutil
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

from catkin_pkg.package import parse_package
from catkin_pkg.packages import find_packages
import pytest
import setuptools
from smwm_ros import __version__
from smwm_ros.cli import VERBS

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ('arena', 'plan', 'smwm', *VERBS)

# import: (requirement in setup.py, rosdep key in package.xml), None where there is none
THIRD_PARTY = {
    'apsw': ('apsw', None),  # rosdep has no key; rosbags brings it
    'av': ('av', None),  # rosdep has no key
    'backports': ('backports.zstd', None),  # rosdep has no key; rosbags brings it
    'cv2': ('opencv-python-headless', 'python3-opencv'),
    'datasets': ('lerobot', None),  # lerobot brings it
    'diagnostic_msgs': ('ros-diagnostic-msgs', 'diagnostic_msgs'),
    'geometry_msgs': ('ros-geometry-msgs', 'geometry_msgs'),
    'cv_bridge': (None, 'cv_bridge'),  # pip has an old copy alone, in Python, without depth
    'gymnasium': ('gymnasium', None),  # rosdep has no key
    'h5py': ('h5py', None),  # optional
    'hdf5plugin': ('hdf5plugin', None),  # rosdep has no key
    'launch': (None, 'launch'),  # not on PyPI
    'launch_ros': (None, 'launch_ros'),  # not on PyPI
    'lerobot': ('lerobot', None),  # rosdep has no key
    'lifecycle_msgs': ('ros-lifecycle-msgs', 'lifecycle_msgs'),
    'lz4': ('lz4', None),  # rosdep has no key; rosbags brings it
    'mujoco': ('mujoco', None),  # optional; some distributions have no key
    'nav_msgs': ('ros-nav-msgs', 'nav_msgs'),
    'numpy': ('numpy', 'python3-numpy'),
    'onnxruntime': ('onnxruntime', None),  # rosdep has no key
    'onnxscript': ('onnxscript', None),  # rosdep has no key
    'pybullet': ('pybullet', None),  # rosdep has a key for pip only
    'ray': ('ray', None),  # rosdep has no key
    'rcl_interfaces': ('ros-rclpy', 'rcl_interfaces'),  # rclpy brings it
    'rclpy': ('ros-rclpy', 'rclpy'),
    'rerun': ('rerun-sdk', None),  # rosdep has no key
    'rosbags': ('rosbags', None),  # rosdep has a key for pip only
    'rosbag2_py': (None, None),  # optional: smwm record writes with it where it is installed
    'rosgraph_msgs': ('ros-rosgraph-msgs', 'rosgraph_msgs'),
    'safetensors': ('safetensors', None),  # rosdep has no key
    'sensor_msgs': ('ros-sensor-msgs', 'sensor_msgs'),
    'stable_worldmodel': ('stable-worldmodel', None),  # rosdep has no key
    'std_msgs': ('ros-std-msgs', 'std_msgs'),
    'std_srvs': ('ros-std-srvs', 'std_srvs'),
    'triton': (None, None),  # torch for CUDA brings it
    'torch': ('torch', None),  # no package on Ubuntu 24.04
    'tqdm': ('tqdm', 'python3-tqdm'),
    'trajectory_msgs': ('ros-trajectory-msgs', 'trajectory_msgs'),
    'visualization_msgs': ('ros-visualization-msgs', 'visualization_msgs'),
    'yaml': ('pyyaml', 'python3-yaml'),
}
# Declared, though no import names them: messages that a user's config may name, and build tools.
BY_NAME_ONLY = {'setuptools', 'ros-geometry-msgs', 'ros-nav-msgs', 'ros-trajectory-msgs'}
BY_NAME_ONLY |= {'ros-lifecycle-msgs'}  # what tests speak to nodes with
BY_NAME_ONLY |= {'ogbench', 'pygame', 'pymunk', 'shapely'}  # environments of stable-worldmodel
BY_NAME_ONLY |= {'onnx'}  # what PyTorch writes such files with


@pytest.fixture
def setup_words(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what setup.py hands to setuptools."""
    words: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **given: words.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    return words


def requirements(words: dict[str, Any]) -> set[str]:
    lines = list(words['install_requires'])
    extras = ['sim', 'ros', 'gym', 'hdf5', 'lerobot', 'mujoco', 'onnx', 'ray', 'swm', 'video']
    for extra in (*extras, 'viz'):
        lines += words['extras_require'][extra]
    return {re.split(r'[\[<>=;~! ]', line)[0].lower() for line in lines}


def rosdep_keys() -> set[str]:
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    return {item.text or '' for item in root if item.tag.endswith('depend')}


def imported() -> set[str]:
    """Return the top-level names that the package and its launch files import."""
    names: set[str] = set()
    for path in [*ROOT.glob('smwm_ros/**/*.py'), *ROOT.glob('launch/*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or '').split('.')[0])
    newer = {'compression'}  # in the standard library from 3.14
    return names - set(sys.stdlib_module_names) - newer - {'smwm_ros'}


def test_all_files_name_the_same_version(setup_words: dict[str, Any]) -> None:
    changelog = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')
    latest = re.search(r'^(\d+\.\d+\.\d+) \(.+\)\n-+$', changelog, re.MULTILINE)
    assert latest is not None
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    interfaces = ElementTree.parse(ROOT / 'smwm_interfaces/package.xml').getroot()
    found = {setup_words['version'], package.findtext('version'), latest[1], __version__}
    found.add(interfaces.findtext('version') or '')
    assert found == {__version__}


def test_package_xml_and_setup_py_describe_the_same_package(setup_words: dict[str, Any]) -> None:
    package = parse_package(str(ROOT / 'package.xml'))
    assert package.package_format == 3
    assert package.name == setup_words['name'] == 'smwm_ros'
    assert package.description == setup_words['description']
    assert [str(name) for name in package.licenses] == [setup_words['license']]
    (maintainer,) = package.maintainers
    assert maintainer.name == setup_words['maintainer']
    assert maintainer.email == setup_words['maintainer_email']
    urls = {url.type: url.url for url in package.urls}
    home, links = setup_words['url'], setup_words['project_urls']
    assert urls == {'website': home, 'repository': links['Source'], 'bugtracker': links['Issues']}
    assert [item.content for item in package.exports] == ['ament_python']


def test_package_xml_passes_the_checks_of_catkin_pkg() -> None:
    warnings: list[str] = []
    parse_package(str(ROOT / 'package.xml'), warnings=warnings)
    assert warnings == []


def test_package_xml_has_the_tags_of_format_3_in_the_order_of_its_schema() -> None:
    # ament_xmllint fetches the schema; this part of it needs no network.
    order = ['name', 'version', 'description', 'maintainer', 'license', 'url', 'depend', 'export']
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    found = [re.sub('^.*_depend$', 'depend', item.tag) for item in root]
    assert found == sorted(found, key=order.index)
    assert set(found) == set(order)
    for name in ('name', 'version', 'description', 'export'):
        assert found.count(name) == 1, name
    assert {url.get('type') for url in root.iter('url')} <= {'website', 'repository', 'bugtracker'}


def test_every_import_is_declared_to_pip_and_to_rosdep(setup_words: dict[str, Any]) -> None:
    pip, rosdep = requirements(setup_words), rosdep_keys()
    for name in sorted(imported()):
        assert name in THIRD_PARTY, f'{name}: imported, but not in the table of this test'
        requirement, key = THIRD_PARTY[name]
        assert requirement is None or requirement in pip, f'{name}: not in setup.py'
        assert key is None or key in rosdep, f'{name}: not in package.xml'


def test_every_requirement_of_setup_py_is_used(setup_words: dict[str, Any]) -> None:
    used = {THIRD_PARTY[name][0] for name in imported()}
    assert requirements(setup_words) - used - BY_NAME_ONLY == set()


def test_every_ros_package_in_the_pip_extra_is_in_package_xml(setup_words: dict[str, Any]) -> None:
    wheels = {line.split('[')[0] for line in setup_words['extras_require']['ros']}
    names = {wheel.removeprefix('ros-').replace('-', '_') for wheel in wheels}
    assert names - rosdep_keys() == set()


def test_every_verb_has_a_script_that_ros2_run_can_start() -> None:
    assert {path.name for path in (ROOT / 'scripts').iterdir()} == set(SCRIPTS)
    for name in SCRIPTS:
        path = ROOT / 'scripts' / name
        assert os.access(path, os.X_OK), f'{path} is not executable'
        assert path.read_text(encoding='utf-8').startswith('#!/usr/bin/env python3\n')


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the source in a colcon workspace, so that no build touches the original."""
    folder = tmp_path_factory.mktemp('workspace') / 'src' / 'smwm_ros'
    caches = shutil.ignore_patterns('.*', '*.egg-info', '__pycache__')
    large = {'runs', 'build', 'install', 'log', 'test', 'bench'}

    def left_out(place: str, names: list[str]) -> set[str]:
        # scripts/bench is no benchmark, but what starts them.
        return caches(place, names) | (large if Path(place) == ROOT else set())

    shutil.copytree(ROOT, folder, ignore=left_out)
    return folder


def run(*words: str | Path, **kwargs: Any) -> str:
    """Run a command; return what it said on stdout, or fail with all it said."""
    env = {**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    env.update(kwargs.pop('env', {}))
    done = subprocess.run(
        [str(word) for word in words], env=env, capture_output=True, text=True, **kwargs
    )
    assert done.returncode == 0, f'{words}: {done.stdout}\n{done.stderr}'
    return done.stdout


def check_prefix(prefix: Path) -> None:
    """Check all that the ament index, `ros2 run` and `ros2 launch` look for under a prefix."""
    share = prefix / 'share'
    assert (share / 'ament_index/resource_index/packages/smwm_ros').is_file()
    assert (share / 'smwm_ros/package.xml').is_file()
    for folder in ('config', 'launch', 'models/two_room'):
        names = {path.name for path in (share / 'smwm_ros' / folder).iterdir()}
        assert names >= {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert names, f'{folder} is empty'
    for name in SCRIPTS:
        script = prefix / 'lib/smwm_ros' / name
        assert os.access(script, os.X_OK), f'{script} is not executable'
        assert script.read_text(encoding='utf-8').startswith('#!/usr/bin/env python3\n')
    assert os.access(prefix / 'bin/smwm', os.X_OK)


def test_pip_install_brings_all_that_ros2_looks_for(source: Path, tmp_path: Path) -> None:
    prefix = tmp_path / 'prefix'
    words = ('install', '--quiet', '--no-deps', '--no-build-isolation', '--no-index')
    own = ('--ignore-installed', '--no-compile', '--no-warn-script-location', '--prefix', prefix)
    run(sys.executable, '-m', 'pip', *words, *own, source)
    check_prefix(prefix)
    (site,) = prefix.glob('lib/python3*/site-packages')
    assert {path.suffix for path in site.iterdir()} == {'', '.dist-info'}
    assert [path.name for path in site.iterdir() if not path.suffix] == ['smwm_ros']
    path = {'PYTHONPATH': str(site)}
    for script in ('bin/smwm', 'lib/smwm_ros/smwm'):
        assert run(prefix / script, '--version', env=path, cwd=tmp_path).endswith(
            f'{__version__}\n'
        )
    assert 'usage: smwm train' in run(
        prefix / 'lib/smwm_ros/train', '--help', env=path, cwd=tmp_path
    )
    code = "import smwm_ros.share as s; print(s.shipped('config', 'two_room.yaml'))"
    found = run(sys.executable, '-c', code, env=path, cwd=tmp_path).strip()
    assert found == str(prefix / 'share/smwm_ros/config/two_room.yaml')


def test_an_editable_install_is_found_from_above_the_folder_it_was_cloned_into(
    source: Path, tmp_path: Path
) -> None:
    home = tmp_path / 'venv'
    run(sys.executable, '-m', 'venv', '--without-pip', home)
    words = ('install', '--quiet', '--no-deps', '--no-build-isolation', '--no-index')
    own = ('--ignore-installed', '--no-warn-script-location', '--prefix', home)
    run(sys.executable, '-m', 'pip', *words, *own, '--editable', source)
    assert source.name == 'smwm_ros', 'the name that the README gives a clone'
    code = 'import smwm_ros; print(smwm_ros.__version__, smwm_ros.__file__)'
    for folder in (source.parent, source, tmp_path):
        said = run(home / 'bin/python', '-c', code, cwd=folder)
        assert said == f'{__version__} {source}/smwm_ros/__init__.py\n'


@pytest.mark.parametrize('mode', ['copied', 'symlinked'])
def test_colcon_build_brings_all_that_ros2_looks_for(source: Path, mode: str) -> None:
    workspace = source.parent.parent
    base = workspace / mode
    words: list[str | Path] = ['--build-base', base / 'build']
    words += ['--install-base', base / 'install']
    words += ['--symlink-install'] if mode == 'symlinked' else []
    colcon = ('colcon', '--log-base', base / 'log')
    run(*colcon, 'build', '--base-paths', 'src', *words, cwd=workspace)
    check_prefix(base / 'install/smwm_ros')
    if mode == 'copied':  # runs in the virtual environment that is active
        script = (base / 'install/smwm_ros/bin/smwm').read_text(encoding='utf-8')
        assert script.startswith('#!/usr/bin/env python3\n')
    setup = f'. {base}/install/smwm_ros/share/smwm_ros/package.sh'
    env = {'COLCON_CURRENT_PREFIX': str(base / 'install/smwm_ros'), 'AMENT_PREFIX_PATH': ''}
    said = run('sh', '-c', f'{setup}; smwm --version; echo $AMENT_PREFIX_PATH', env=env)
    assert said == f'smwm_ros {__version__}\n{base}/install/smwm_ros\n'


def test_colcon_and_rosdep_find_both_packages(source: Path) -> None:
    workspace = source.parents[1]
    words = ('colcon', '--log-base', os.devnull, 'list', '--names-only')
    assert run(*words, cwd=workspace).split() == ['smwm_ros'], 'they are not nested for colcon'
    lines = (ROOT / 'docs/nodes.md').read_text(encoding='utf-8').splitlines()
    (line,) = [line for line in lines if line.startswith('colcon build --base-paths')]
    both = ['smwm_interfaces', 'smwm_ros']
    assert run(*words, *line.split()[2:], cwd=workspace).split() == both
    link = workspace / 'src' / 'smwm_interfaces'
    run('ln', '-s', 'smwm_ros/smwm_interfaces', 'src/', cwd=workspace)  # as the README says
    try:
        assert run(*words, cwd=workspace).split() == both
        found = find_packages(str(workspace / 'src'))  # as rosdep does
        assert sorted(package.name for package in found.values()) == both
    finally:
        link.unlink()


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of lark, in Python 3.11
def test_the_file_of_the_action_can_be_read_by_rosidl(tmp_path: Path) -> None:
    adapter = pytest.importorskip('rosidl_adapter.action', reason='rosidl is not installed')
    folder = ROOT / 'smwm_interfaces'
    name = Path('action/GoToImage.action')
    made = adapter.convert_action_to_idl(folder, 'smwm_interfaces', name, tmp_path)
    text = made.read_text(encoding='utf-8')
    assert re.findall(r'struct (\w+)', text) == [
        'GoToImage_Goal', 'GoToImage_Result', 'GoToImage_Feedback',
    ]  # fmt: skip
    listed = (folder / 'CMakeLists.txt').read_text(encoding='utf-8')
    assert f'"{name}"' in listed


def test_colcon_does_not_look_into_the_venv(source: Path) -> None:
    trap = source / '.venv' / 'trap'
    trap.mkdir(parents=True)
    text = (ROOT / 'package.xml').read_text(encoding='utf-8')
    trap_xml = text.replace('<name>smwm_ros</name>', '<name>trap</name>')
    (trap / 'package.xml').write_text(trap_xml, encoding='utf-8')
    listed = run('colcon', '--log-base', os.devnull, 'list', '--names-only', cwd=source.parent)
    assert listed.split() == ['smwm_ros']


@pytest.mark.parametrize('node', ['plan', 'arena'])
def test_the_node_that_a_script_starts_exists(node: str) -> None:
    script = (ROOT / 'scripts' / node).read_text(encoding='utf-8')
    line = f'from smwm_ros.nodes.{node} import main'
    assert line in script
    run(sys.executable, '-c', line)
