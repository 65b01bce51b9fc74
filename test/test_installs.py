# SPDX-License-Identifier: Apache-2.0
"""What a user types to install the package fits the machines of the supported distributions."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
import json
from pathlib import Path
import re
import shlex
from typing import Any

from catkin_pkg.package import Package, parse_package, parse_package_string
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TABLE = json.loads((ROOT / 'test/rosdep_keys.json').read_text(encoding='utf-8'))
DISTRIBUTIONS = list(TABLE['distributions'])
PACKAGES = ['package.xml', 'smwm_interfaces/package.xml']
DOCKERFILE = ROOT / 'docker/Dockerfile'
WORKFLOWS = sorted((ROOT / '.github/workflows').glob('*.yml'))
# Each step needs what the one before it made.
STEPS = ['venv --system-site-packages', 'rosdep install', 'pip install', 'colcon build']


def not_from_apt(package: Package, distribution: str) -> list[str]:
    """Return the keys of a package that `rosdep install` cannot get with apt."""
    package.evaluate_conditions({'ROS_DISTRO': distribution, 'ROS_VERSION': '2'})
    found = []
    for kind in ('build', 'buildtool', 'build_export', 'buildtool_export', 'exec', 'test', 'doc'):
        for key in getattr(package, f'{kind}_depends'):
            if key.evaluated_condition:
                how = TABLE['keys'].get(key.name, 'not in test/rosdep_keys.json')
                how = how[distribution] if isinstance(how, dict) else how
                found += [f'{key.name}: {how}'] if how != 'apt' else []
    return found


@pytest.mark.parametrize('name', PACKAGES)
@pytest.mark.parametrize('distribution', DISTRIBUTIONS)
def test_rosdep_gets_every_dependency_with_apt(distribution: str, name: str) -> None:
    assert not_from_apt(parse_package(str(ROOT / name)), distribution) == []


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of catkin_pkg's use of pyparsing
@pytest.mark.parametrize(
    ('depend', 'refused'),
    [
        ('<exec_depend>python3-torch</exec_depend>', ['jazzy', 'kilted', 'lyrical']),
        ('<exec_depend condition="$ROS_DISTRO == humble">python3-torch</exec_depend>', []),
        ('<test_depend>python3-rosbags-pip</test_depend>', DISTRIBUTIONS),
        ('<exec_depend>python3-unheard-of</exec_depend>', DISTRIBUTIONS),
        ('<build_depend>cv_bridge</build_depend>', []),
    ],
)
def test_a_dependency_counts_where_its_condition_holds(depend: str, refused: list[str]) -> None:
    text = (ROOT / 'package.xml').read_text(encoding='utf-8')
    text = text.replace('<exec_depend>rclpy</exec_depend>', depend)
    package = parse_package_string(text)
    assert [name for name in DISTRIBUTIONS if not_from_apt(package, name)] == refused


def readme_block() -> list[str]:
    """Return the commands with which the README installs the package in a workspace."""
    section = (ROOT / 'README.md').read_text(encoding='utf-8').partition('## Install')[2]
    return section.partition('```bash\n')[2].partition('```')[0].splitlines()


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each with its arguments on one line."""
    text = DOCKERFILE.read_text(encoding='utf-8').replace('\\\n', ' ')
    lines = [line for line in text.splitlines() if line and not line.startswith('#')]
    return [(word, ' '.join(rest.split())) for word, _, rest in (x.partition(' ') for x in lines)]


def pip_words(lines: list[str]) -> list[str]:
    """Return what these lines install with pip."""
    found = [line.partition('pip install')[2] for line in lines if 'pip install' in line]
    words = [
        word for rest in found for word in shlex.split(rest.partition('&&')[0], comments=True)
    ]
    return [word for word in words if not word.startswith('--')]


@pytest.mark.parametrize('source', ['README', 'Dockerfile'])
def test_the_virtual_environment_comes_before_what_is_installed_into_it(source: str) -> None:
    lines = readme_block() if source == 'README' else [' '.join(one) for one in instructions()]
    text = '\n'.join(lines)
    places = [text.index(step) for step in STEPS]
    assert places == sorted(places)
    assert 'COLCON_IGNORE' in text[: places[-1]], 'colcon would build what lies in the environment'


def test_pip_installs_what_apt_lacks_and_leaves_the_rest_to_apt() -> None:
    # The numpy that rclpy and OpenCV of apt were built with must stay: a pin of another numpy
    # would shadow it in the environment.
    from packaging.requirements import Requirement

    words = pip_words(readme_block())
    assert words == pip_words([' '.join(one) for one in instructions()])
    wanted = {Requirement(word).name: Requirement(word).specifier for word in words}
    assert wanted.keys() == {'torch', 'rosbags', 'safetensors', 'setuptools', 'pybullet'}
    pins = dict(
        line.partition(' ;')[0].split('==')
        for line in (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
        if '==' in line and not line.startswith('#')
    )
    assert str(wanted['torch']) == f'=={pins["torch"]}'
    assert wanted['setuptools'].contains(pins['setuptools'])


def test_the_readme_clones_the_repository_of_package_xml() -> None:
    (line,) = (line for line in readme_block() if 'git clone' in line)
    urls = {url.type: url.url for url in parse_package(str(ROOT / 'package.xml')).urls}
    assert shlex.split(line.partition('git clone')[2])[0] == urls['repository']


def sent_to_docker(path: Path) -> bool:
    """Return whether .dockerignore lets a file into the image."""
    name = path.relative_to(ROOT)
    patterns = (ROOT / '.dockerignore').read_text(encoding='utf-8').split()
    for part in (name, *name.parents[:-1]):
        for pattern in patterns:
            anywhere = pattern.startswith('**/') and fnmatch(part.name, pattern[3:])
            if anywhere or fnmatch(part.as_posix(), pattern):
                return False
    return True


def test_the_image_has_a_fixed_base_and_every_file_that_it_copies() -> None:
    lines = instructions()
    assert ('ARG', 'ROS_DISTRO=jazzy') in lines
    assert [rest for word, rest in lines if word == 'FROM'] == ['ros:${ROS_DISTRO}-ros-base']
    assert 'latest' not in DOCKERFILE.read_text(encoding='utf-8')
    copied = [rest.split()[:-1] for word, rest in lines if word == 'COPY']
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), f'COPY {name}'
    assert ['.'] in copied
    for name in ('package.xml', 'setup.py', 'setup.cfg', 'smwm_ros/cli.py', 'config/toy.yaml'):
        assert sent_to_docker(ROOT / name), name
    for name in ('.git', '.venv', 'runs', 'build', 'docs/demo.gif', 'smwm_ros/__pycache__/x.pyc'):
        assert not sent_to_docker(ROOT / name), name


def test_the_image_starts_a_launch_file_with_arguments_that_it_has() -> None:
    word, rest = instructions()[-1]
    assert word == 'CMD'
    ros2, launch, package, file, *arguments = json.loads(rest)
    assert (ros2, launch, package) == ('ros2', 'launch', 'smwm_ros')
    tree = ast.parse((ROOT / 'launch' / file).read_text(encoding='utf-8'))
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert arguments
    for argument in arguments:
        assert argument.partition(':=')[0] in names


@pytest.fixture(scope='module')
def pixi() -> dict[str, Any]:
    tomllib = pytest.importorskip('tomllib', reason='Python 3.10 has no parser for TOML')
    found: dict[str, Any] = tomllib.loads((ROOT / 'pixi.toml').read_text(encoding='utf-8'))
    return found


def test_pixi_has_an_environment_for_every_distribution(pixi: dict[str, Any]) -> None:
    known = {'workspace', 'dependencies', 'pypi-dependencies', 'tasks', 'feature', 'environments'}
    assert pixi.keys() == known
    assert pixi['workspace'].keys() == {'name', 'channels', 'platforms'}
    assert pixi['workspace']['channels'] == ['conda-forge']
    assert list(pixi['feature']) == list(pixi['environments']) == DISTRIBUTIONS
    for name, feature in pixi['feature'].items():
        assert pixi['environments'][name] == [name]
        assert feature['channels'] == [f'robostack-{name}']
        prefixes = {key.split('-')[1] for key in feature['dependencies'] if key.startswith('ros-')}
        assert prefixes == {name}


def test_pixi_brings_every_dependency_of_the_package(pixi: dict[str, Any]) -> None:
    renamed = {'python3-yaml': 'pyyaml', 'python3-opencv': 'py-opencv', 'python3-tqdm': 'tqdm'}
    renamed |= {'python3-numpy': 'numpy'}
    depends = [key.name for key in parse_package(str(ROOT / 'package.xml')).exec_depends]
    assert {renamed[key] for key in depends if key in renamed} <= pixi['dependencies'].keys()
    assert {'pytorch', 'safetensors', 'pybullet'} <= pixi['dependencies'].keys()
    assert set(pixi['pypi-dependencies']) == {'rosbags'}
    assert {'cmake', 'compilers', 'make'} <= pixi['dependencies'].keys(), 'for smwm_interfaces'


def test_all_that_build_this_package_build_the_interfaces_too(pixi: dict[str, Any]) -> None:
    both = '--packages-select smwm_interfaces smwm_ros'
    assert pixi['tasks']['build'] == f'colcon build --base-paths . smwm_interfaces {both}'
    (build,) = [rest for word, rest in instructions() if 'colcon build' in rest]
    assert build.endswith(f'colcon build {both}')
    assert ('COPY', 'smwm_interfaces src/smwm_interfaces') in instructions()
    (line,) = [line for line in readme_block() if 'colcon build' in line]
    assert line.startswith(f'colcon build {both} ')
    workflow = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text(encoding='utf-8'))
    built = workflow['jobs']['ros']['steps'][-1]['env']['TARGET_WORKSPACE']
    assert built == '. smwm_interfaces'


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow['jobs'].values() for step in job['steps']]


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_what_they_use_and_run_scripts_of_the_repository(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding='utf-8'))
    assert {'name', True, 'jobs', 'permissions'} == workflow.keys(), 'YAML reads `on` as true'
    assert workflow['permissions'] == {'contents': 'read'}
    for step in steps(workflow):
        if 'uses' in step:
            assert re.fullmatch(r'actions/[\w-]+@v\d+|[\w/-]+@[0-9a-f]{40}', step['uses'])
        for word in re.findall(r'\.ci/\w+', step.get('run', '')):
            assert (ROOT / word).exists(), word
    for job in workflow['jobs'].values():
        assert job['timeout-minutes'] <= 360


def test_ci_runs_the_tests_and_builds_on_every_distribution() -> None:
    found = {path.stem: yaml.safe_load(path.read_text(encoding='utf-8')) for path in WORKFLOWS}
    assert found.keys() == {'ci', 'explore'}
    runs = [step.get('run', '') for workflow in found.values() for step in steps(workflow)]
    assert {'.ci/run', '.ci/explore'} <= set(runs)
    jobs = found['ci']['jobs']
    assert jobs['pythons']['strategy']['matrix']['PYTHON'] == ['3.10', '3.12', '3.13', '3.14']
    assert jobs['pythons']['steps'][-1]['run'] == 'make test PYTHON=python3'
    assert jobs['ros']['strategy']['matrix']['ROS_DISTRO'] == DISTRIBUTIONS
    assert set(jobs['image']['strategy']['matrix']['ROS_DISTRO']) <= set(DISTRIBUTIONS)
    assert f'-f {DOCKERFILE.relative_to(ROOT)} ' in jobs['image']['steps'][-1]['run']
