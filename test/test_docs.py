# SPDX-License-Identifier: Apache-2.0
"""The commands in README and docs work, links lead to files, and tables are up to date."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from smwm_ros import __version__
from smwm_ros.data.dataset import TransitionDataset
from videos import numbered, write_video
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ('README.md', 'bags/README.md', 'CONTRIBUTING.md')),
    *(ROOT / name for name in ('QUALITY_DECLARATION.md', 'SECURITY.md')),
    *sorted((ROOT / 'docs').glob('*.md')),
]
GENERATED = re.compile(r'<!-- generated:.*?<!-- end -->', re.DOTALL)
BLOCK = re.compile(r'^```bash\n(.*?)^```', re.DOTALL | re.MULTILINE)
# What needs a machine of its own stands here with the test that does the same on a small scale.
ENGINE = 'sim/test_mujoco.py::test_verbs_run_in_the_other_engine'
WALK = 'ros/test_your_robot.py::test_every_command_of_the_page_leads_to_a_robot_that_drives'
IMAGE = 'test_installs.py::test_the_image_has_a_fixed_base'
BOTH = 'test_package.py::test_colcon_and_rosdep_find_both_packages'
VENV = 'test_installs.py::test_the_virtual_environment_comes_before'
SHOWN_BY = {
    'sudo apt install python3-venv': IMAGE,
    'mkdir -p ~/ros2_ws/src': 'test_installs.py::test_the_readme_clones_the_repository',
    'git clone': 'test_installs.py::test_the_readme_clones_the_repository',
    'python3 -m venv --system-site-packages venv': VENV,
    '. venv/bin/activate': VENV,
    'rosdep install': 'test_installs.py::test_rosdep_gets_every_dependency_with_apt',
    'pip install torch': 'test_installs.py::test_pip_installs_what_apt_lacks',
    'pip install pybullet': 'test_installs.py::test_pip_installs_what_apt_lacks',
    'ln -s smwm_ros/smwm_interfaces src/': BOTH,
    'colcon build --base-paths': BOTH,
    'colcon build': 'test_package.py::test_colcon_build_brings',
    'docker ': IMAGE,
    'pixi ': 'test_installs.py::test_pixi_has_an_environment_for_every_distribution',
    '. .venv/bin/activate': 'test_makefile.py::test_a_target_installs_what_it_needs_once',
    'make ': 'test_docs.py::test_every_make_target_in_the_docs_exists',
    **dict.fromkeys(
        ('smwm status', 'smwm stop', 'smwm engage', 'smwm goal '),
        'ros/test_client.py::test_goals_by_name_and_picture_are_accepted',
    ),
    'ros2 action ': 'ros/test_plan_action.py::test_the_line_of_the_docs_sends_a_goal',
    # Needs rerun-sdk, which has some 500 MB.
    'pip install rerun-sdk': 'test_rerun.py::test_without_the_extra_an_error_names_it',
    'smwm view data --to rrd': 'test_rerun.py::test_every_frame_command_and_state_is_shown',
    'smwm replay my_bags runs/mine --to rrd': 'test_rerun.py::test_a_replay_shows_each_plan',
    'smwm watch': 'ros/test_watch.py::test_what_the_node_publishes_is_shown_through_its_restart',
    'ros2 ': 'ros/test_docs_commands.py::test_a_line_fits_the_node',
    # With MuJoCo, which needs a renderer.
    'smwm collect two_room --episodes 6 --out other_engine': ENGINE,
    'smwm evaluate models/two_room --arena two_room arena.engine': ENGINE,
    # Trains five kinds, and drives up to 200 steps for each.
    'smwm evaluate runs/reacher/run --data runs/reacher/dataset --arena reacher --strict': (
        'test_evaluate_verb.py::test_every_kind_is_judged_strictly_too'
    ),
    # Needs a run for push_t.
    **dict.fromkeys(
        ('smwm prepare runs/push_t', 'smwm evaluate runs/push_t --arena push_t --object'),
        'test_object_goals.py::test_the_verb_compares_masks_with_whole_pictures',
    ),
    # Needs stable-worldmodel.
    **dict.fromkeys(
        (
            'python3 -m venv swm && . swm/bin/activate',
            "pip install '.[swm]'",
            'smwm collect --env ',
            'smwm import data/rooms.h5',
            'smwm train data/rooms',
            'smwm evaluate runs/rooms',
        ),
        'test_swm.py::test_the_commands_of_the_page_lead_to_a_judged_run',
    ),
    'smwm record ': 'ros/test_recorder.py::test_services_record_episodes_that_convert',
    'smwm rehearse ': 'ros/test_rehearse.py::test_a_model_is_adapted_to_the_other_engine',
    'smwm check ': 'test_check.py::test_a_model_fits_the_robot_of_its_training',
    'smwm adapt ': 'test_adapt.py::test_a_minute_of_images_makes_the_model_fit',
    'smwm label ': 'test_labelling.py::test_answers_become_labelled_moments',
    # Exits with 1 on a machine that has a problem.
    'smwm doctor': 'test_doctor.py::test_this_machine_is_described_and_the_model_is_timed',
    'pre-commit install': 'test_package.py::test_every_requirement_of_setup_py_is_used',
}


def commands(page: Path) -> Iterator[str]:
    """Yield the command lines of a page, in reading order."""
    for block in BLOCK.findall(page.read_text(encoding='utf-8')):
        for line in block.replace('\\\n', ' ').splitlines():
            line = line.partition('  #')[0].strip()
            if line and not line.startswith('#'):
                yield line


def shown_elsewhere(command: str) -> str | None:
    """Return the test that covers a command which cannot run here."""
    return next((test for start, test in SHOWN_BY.items() if command.startswith(start)), None)


def smaller(command: str) -> str:
    """Return a command that records and trains for minutes, such that it takes seconds."""
    words = {'collect': 'arena.length=40', 'train': 'train.steps=4 train.batch=8'}
    words['evaluate'] = 'evaluate.pairs=2 evaluate.repeats=1'
    words['prepare'] = 'prepare.steps=4'
    if command.startswith('smwm toy'):
        return f'{command} --transitions 200 train.steps=4'
    if '--write robot.yaml' in command:  # the robot of this test has a robot.yaml
        return f'rm -f proposed.yaml; {command.replace("robot.yaml", "proposed.yaml")}'
    if not re.search(r'\b(reacher|room)\b', command):  # not two_room
        return command
    short = re.sub(r'--episodes \d+', '--episodes 6', command)
    return f'{short} {words.get(command.split()[1], "")}'


def run(command: str, folder: Path, seconds: float = 300) -> None:
    """Run a command of the docs as a user would, with this environment's programs first."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, 'PATH': path}, timeout=seconds,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'


def run_until_interrupted(command: str, folder: Path, log: str) -> None:
    """Start a node, wait for a line of its log, interrupt it, and check its exit code."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = {**os.environ, 'PATH': path, 'ROS_DOMAIN_ID': str(1 + os.getpid() % 100)}
    if 'checkpoint:=' in command:  # training took seconds here, and such a model is not fit
        command += ' -p node.unfit:=accept'
    with (folder / 'node.log').open('w') as out:
        child = subprocess.Popen(
            command.split(), cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(600):
            text = (folder / 'node.log').read_text()
            if log in text:
                break
            assert child.poll() is None, f'{command} ended by itself:\n{text}'
            time.sleep(0.2)
        else:
            pytest.fail(f"{command} never said '{log}':\n{text}")
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 0, (folder / 'node.log').read_text()
    finally:
        child.kill()


@pytest.fixture(scope='module')
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like that of a user: bags of a drive, a video, robot.yaml, goal pictures."""
    folder = tmp_path_factory.mktemp('workshop')
    run('smwm collect two_room --out my_bags arena.episodes=6 arena.length=40', folder)
    robot = yaml.safe_load((ROOT / 'config' / 'two_room.yaml').read_text(encoding='utf-8'))
    robot['train'] = {'steps': 4, 'batch': 8}
    (folder / 'robot.yaml').write_text(yaml.safe_dump(robot), encoding='utf-8')
    (folder / 'clips').mkdir()
    write_video(folder / 'clips' / 'monday.mp4', numbered(30))
    cv2.imwrite(str(folder / 'block.png'), np.full((64, 64, 3), 90, np.uint8))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 10:50] = 255
    cv2.imwrite(str(folder / 'mask.png'), mask)
    return folder


# Pages in the order a user reads them: the later ones use what the earlier ones made.
@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_run_here_or_in_the_test_that_is_named(
    page: Path, workshop: Path
) -> None:
    for command in commands(page):
        walked = page.name == 'your_robot.md' and not command.startswith('ros2 ')
        elsewhere = WALK if walked else shown_elsewhere(command)
        if command.startswith('ros2 launch') and shutil.which('ros2'):
            run_until_interrupted(command, workshop, 'active')
        elif elsewhere is not None:
            name, test = elsewhere.split('::')
            assert f'def {test}' in (ROOT / 'test' / name).read_text(encoding='utf-8')
        elif command.startswith('smwm '):
            run(smaller(command), workshop)
        elif command.startswith('python -m smwm_ros.nodes.'):
            pytest.importorskip('rclpy', reason='rclpy is not installed')
            run_until_interrupted(command, workshop, 'active')
        else:
            pytest.fail(f'{page.name}: no test knows how to show: {command}')


def test_the_sample_bag_is_what_its_command_makes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / 'bags' / 'two_room', tmp_path / 'sample')
    (command,) = [c for c in commands(ROOT / 'bags' / 'README.md') if 'collect' in c]
    run(command, tmp_path)
    for bags, out in (('sample', 'here'), ('bags/two_room', 'again')):
        run(f'smwm convert {bags} --out {out} --config two_room', tmp_path)
    here, again = (TransitionDataset.open(tmp_path / out) for out in ('here', 'again'))
    assert here.episodes == again.episodes
    rows = np.arange(here.episodes[-1].stop)
    for column in ('pixels', 'actions', 'states'):
        assert np.array_equal(getattr(here, column)(rows), getattr(again, column)(rows))


def test_every_make_target_in_the_docs_exists() -> None:
    for page in PAGES:
        for target in re.findall(r'\bmake ([a-z]+)', '\n'.join(commands(page))):
            done = subprocess.run(['make', '-n', target], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, f'{page.name}: make {target}: {done.stderr}'


def test_the_quality_declaration_says_whether_the_version_is_stable() -> None:
    text = (ROOT / 'QUALITY_DECLARATION.md').read_text(encoding='utf-8')
    stable = re.search(r'^\| 1\.ii stable version \| (.+?) \|', text, re.MULTILINE)
    assert stable is not None
    assert (stable[1] == 'yes') == (int(__version__.split('.')[0]) >= 1)
    for no in re.findall(r'^\| [\w.]+ (.+?) \| \*\*no\*\*', text, re.MULTILINE):
        assert '**Level 4** today' in text, f'level 3 is not met: {no}'
    count = len(re.findall(r'\| \*\*no\*\* \|', text))
    assert f'{["no", "one", "two", "three", "four", "five"][count]} requirements of' in text


def test_the_security_page_names_the_enclaves_of_the_policy() -> None:
    text = (ROOT / 'SECURITY.md').read_text(encoding='utf-8').partition('## SROS2')[2]
    policy = ElementTree.parse(ROOT / 'config/sros2.xml')
    paths = {str(enclave.get('path')) for enclave in policy.iter('enclave')}
    assert set(re.findall(r'`(/\w+)`', text)) == paths
    assert f'with {["no", "one", "two", "three", "four"][len(paths)]} enclaves' in text


def test_links_lead_to_files() -> None:
    for page in PAGES:
        for link in re.findall(r'\]\(([^)#:]+)\)', page.read_text(encoding='utf-8')):
            assert (page.parent / link).exists(), f'{page.name}: {link} does not exist'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_ends_at_100_characters(page: Path) -> None:
    prose = re.sub(r'^```.*?^```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL | re.M)
    for line in GENERATED.sub('', prose).splitlines():
        assert len(line) <= 100 or line.startswith('|'), f'{page.name}: {line}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_rows_of_a_table_have_as_many_cells_as_its_heading(page: Path) -> None:
    # A vertical bar within a cell begins another cell, in code too, unless it follows a backslash.
    text = page.read_text(encoding='utf-8')
    for table, after in re.findall(r'((?:^\|.*\n)+)(.*)', text, re.MULTILINE):
        rows = table.splitlines()
        assert re.fullmatch(r'(\| ?-+ ?)+\|', rows[1]), f'{page.name}: no line below {rows[0]}'
        cells = [len(re.findall(r'(?<!\\)\|', row)) for row in rows]
        for row, count in zip(rows, cells, strict=True):
            assert count == cells[0], f'{page.name}: {row}'
            assert row.endswith('|'), f'{page.name}: {row}'
        assert after in ('', '<!-- end -->'), f'{page.name}: a row goes on with: {after}'


def test_generated_parts_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, 'tools/docs.py', '--check'], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f'{done.stdout}{done.stderr}; run make docs'


def test_every_figure_of_the_results_page_is_in_the_results_file() -> None:
    page = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8')
    outside = GENERATED.sub('', page)
    tables = [line for line in outside.splitlines() if line.startswith('|')]
    assert not tables, f'tables outside of the generated parts: {tables}'
    results = json.loads((ROOT / 'docs' / 'results.json').read_text(encoding='utf-8'))
    named = set(re.findall(r'<!-- generated:results:(\w+) -->', page))
    benchmarks = {path.stem for path in (ROOT / 'bench').glob('*.py')} - {'common'}
    assert named == benchmarks, 'every benchmark has a table, and every table a benchmark'
    assert set(results) <= benchmarks, 'figures of a benchmark that is no more'
