# SPDX-License-Identifier: Apache-2.0
"""The house keeps its laws: who may import whom, which room holds which foreign world, sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / 'smwm_ros').rglob('*.py'))
ARRAYS = {'numpy', 'cv2'}
ROS = {'rclpy', 'rcl_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'nav_msgs'}
ROS |= {'rosgraph_msgs', 'sensor_msgs', 'std_msgs', 'std_srvs', 'trajectory_msgs'}
ROS |= {'visualization_msgs'}
FORMATS = {'h5py', 'hdf5plugin', 'lerobot', 'datasets', 'onnxruntime', 'onnxscript'}
BAGS = {'rosbags', 'rosbag2_py', 'mcap', 'ray', 'av'}
# The last three of these unpack.
BAGS |= {'apsw', 'backports', 'compression', 'lz4'}

# room: (the rooms it may import, the third parties it may import)
BASE = {'text', 'errors', 'fieldpath', 'config', 'reporting', 'lock', 'files', 'interfaces'}
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    'text': (set(), set()),
    'errors': ({'text'}, set()),
    'lock': ({'errors'}, set()),
    'files': ({'errors', 'lock'}, set()),
    'streams': (set(), set()),
    'fieldpath': (set(), set()),
    'share': (set(), set()),
    'progress': ({'text'}, {'tqdm'}),
    'processors': (set(), set()),
    'reporting': (set(), set()),
    'worker_processes': ({'errors'}, set()),
    'config': ({'fieldpath'}, set()),
    'load': ({'config', 'errors', 'share', 'text'}, {'yaml'}),
    'tables': ({'config', 'errors', 'load'}, set()),
    'interfaces': (set(), {'numpy', 'torch'}),  # torch for type checkers alone
    'codec': (BASE, ARRAYS | {'av', 'cv_bridge'}),
    'data': ({*BASE, 'codec'}, ARRAYS),
    'bags': ({*BASE, 'load', 'worker_processes', 'codec', 'data'}, {*ARRAYS, *BAGS, 'yaml'}),
    'arenas': ({*BASE, 'load', 'codec'}, ARRAYS | {'pybullet', 'mujoco', 'gymnasium', 'triton'}),
    'collect': ({*BASE, 'worker_processes', 'codec', 'bags', 'arenas'}, {'numpy'}),
    'control': ({*BASE, 'codec'}, ARRAYS),
    'latent_actions': (BASE, {'torch', 'onnxruntime'}),
    'model': (
        {*BASE, 'codec', 'data', 'latent_actions'},
        {'numpy', 'torch', 'safetensors'},
    ),
    'training': (
        {*BASE, 'processors', 'data', 'latent_actions', 'model'},
        {'numpy', 'torch'},
    ),
    'labelling': (
        {*BASE, 'data', 'latent_actions', 'model', 'training'},
        ARRAYS | {'torch'},
    ),
    'planning': ({*BASE, 'codec', 'data', 'latent_actions', 'model'}, ARRAYS | {'torch'}),
    'evaluation': (
        {*BASE, 'data', 'latent_actions', 'model', 'training', 'planning'},
        {'numpy', 'torch'},
    ),
    'toys': ({*BASE, 'data', 'model', 'training', 'evaluation'}, ARRAYS | {'torch'}),
    'exchange': (
        {*BASE, 'load', 'codec', 'data', 'model', 'training'},
        FORMATS | {'numpy', 'torch'},
    ),
    'swm': (
        {*BASE, 'codec', 'exchange', 'model', 'planning', 'evaluation'},
        {'numpy', 'torch', 'stable_worldmodel'},
    ),
    'doctor': ({*BASE, 'share', 'processors', 'control', 'model', 'planning'}, set()),
    'pages': ({*BASE, 'codec', 'bags', 'data', 'model', 'training', 'evaluation', 'toys'}, ARRAYS),
    'viewers': (
        {*BASE, 'data', 'model', 'planning', 'evaluation', 'pages'},
        ARRAYS | {'torch', 'rerun'},
    ),
    'nodes': (
        {*BASE, 'load', 'share', 'codec', 'arenas', 'model', 'training', 'planning'}
        | {'evaluation', 'control'},
        ARRAYS | ROS | {'torch'},
    ),
    'cli': ({'errors', 'progress', 'streams', 'text', 'verbs'}, set()),
    'verbs': (
        {*BASE, 'progress', 'load', 'share', 'tables', 'cli', 'codec', 'data', 'bags', 'arenas'}
        | {'collect', 'labelling', 'latent_actions'}
        | {'model', 'training', 'planning', 'evaluation', 'toys', 'exchange', 'swm', 'pages'}
        | {'control', 'nodes', 'doctor', 'viewers'},
        ARRAYS | {'torch', 'yaml'},
    ),
}
# The parts of bags/, and the parts that each may import.
BAG_ROOMS = {
    'reading': set[str](),
    'survey': {'reading'},
    'converting': {'reading'},
    'writing': {'reading'},
}
# These never import torch, not through others either: they start fast, and run where it is not.
LIGHT = ('codec', 'data', 'control', 'bags', 'arenas', 'collect')
# Foreign worlds: each lives behind one door, or a few.
HOMES = {
    'pybullet': 'arenas',
    'mujoco': 'arenas',
    'gymnasium': 'arenas',
    'triton': 'arenas',
    'tqdm': 'progress',
}
HOMES |= {'rosbags': 'bags', 'rosbag2_py': 'bags', 'mcap': 'bags', 'ray': 'bags'}
HOMES['av'] = 'codec bags'
HOMES |= {**dict.fromkeys(FORMATS, 'exchange'), **dict.fromkeys(ROS, 'nodes')}
HOMES |= {'stable_worldmodel': 'swm', 'rerun': 'viewers'}
HOMES['onnxruntime'] = 'latent_actions exchange'  # runs encoders of others, and checks exports
# What has a console. The others log, and report their progress to what their callers pass.
CONSOLE = {'text', 'progress', 'cli', 'verbs', 'nodes'}
PRINTERS = {'echo', 'echo_raw'}
LINES, FUNCTION_LINES = 300, 50
ONE_PAGE = {'config.py'}  # every knob on one page, however long


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / 'smwm_ros').parts[0].removesuffix('.py')


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno}: imports are absolute'
            if node.module == 'smwm_ros':
                yield from (f'smwm_ros.{alias.name}' for alias in node.names)
            else:
                yield node.module or ''


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('path', SOURCES, ids=ids)
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    if room == '__init__':
        assert list(imports(path)) == []
        return
    rooms, third_parties = ROOMS[room]
    for module in imports(path):
        top, _, rest = module.partition('.')
        if top == 'smwm_ros':
            neighbour = rest.partition('.')[0]
            allowed = {room, *rooms, '__version__'}
            assert neighbour in allowed, f'{room} may not import {module}'
        elif top not in sys.stdlib_module_names:
            assert top in third_parties, f'{room} may not import {module}'


def test_the_table_of_rooms_has_no_cycle_but_that_of_the_command_line() -> None:
    reached = {room: set(rooms) for room, (rooms, _) in ROOMS.items()}
    reached['verbs'] -= {'cli'}  # the demo runs other verbs by their words
    for _ in ROOMS:
        for rooms in reached.values():
            rooms |= {far for near in rooms for far in reached[near]}
    assert [room for room, rooms in reached.items() if room in rooms] == []


@pytest.mark.parametrize('path', SOURCES, ids=ids)
def test_libraries_neither_print_nor_draw_bars(path: Path) -> None:
    if room_of(path) in CONSOLE:
        return
    assert 'smwm_ros.progress' not in imports(path), 'take a ShowProgress of reporting.py instead'
    printers = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.module == 'smwm_ros.text':
            printers |= {alias.name for alias in node.names} & PRINTERS
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == 'text':
            printers |= {node.attr} & PRINTERS
    assert not printers, 'log it, or call back'


@pytest.mark.parametrize('foreign', sorted(HOMES))
def test_the_table_gives_each_foreign_world_its_homes(foreign: str) -> None:
    rooms = [room for room, (_, names) in ROOMS.items() if foreign in names]
    assert rooms == HOMES[foreign].split()


@pytest.mark.parametrize('part', sorted(BAG_ROOMS))
def test_a_part_of_bags_imports_only_what_it_may(part: str) -> None:
    allowed = {part, *BAG_ROOMS[part]}
    for path in SOURCES:
        if path.parent.name == part and room_of(path) == 'bags':
            found = {name.split('.')[2] for name in imports(path) if 'smwm_ros.bags.' in name}
            assert found <= allowed, f'{path.name} imports {found - allowed}'


@pytest.mark.parametrize('room', LIGHT)
def test_a_light_room_leaves_torch_out(room: str) -> None:
    names = [
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        for path in SOURCES
        if room_of(path) == room
    ]
    words = f'import sys, {", ".join(names)}; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', words], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize('folder', sorted({path.parent for path in SOURCES}), ids=ids)
def test_a_room_lists_its_files_in_reading_order(folder: Path) -> None:
    if folder.name == 'smwm_ros':
        return
    about = ast.get_docstring(ast.parse((folder / '__init__.py').read_text(encoding='utf-8')))
    listed = (about or '').partition('Read in this order: ')[2].rstrip('.').split()
    names = {path.stem for path in folder.glob('*.py')} - {'__init__'}
    names |= {path.name for path in folder.iterdir() if (path / '__init__.py').is_file()}
    assert sorted(name.rstrip(',') for name in listed) == sorted(names)


def test_every_room_of_the_table_exists() -> None:
    assert {room_of(path) for path in SOURCES} - {'__init__'} == set(ROOMS)


def test_only_four_places_import_by_a_name_made_at_run_time() -> None:
    users = {ids(path) for path in SOURCES if 'import_module(' in path.read_text(encoding='utf-8')}
    verbs, arenas, messages = 'cli.py', 'arenas/__init__.py', 'nodes/messages.py'
    places = (verbs, arenas, messages, 'doctor/probe.py')
    assert users <= {f'smwm_ros/{name}' for name in places}


@pytest.mark.parametrize('path', SOURCES, ids=ids)
def test_two_files_call_pybullet(path: Path) -> None:
    if ids(path) in ('smwm_ros/arenas/world.py', 'smwm_ros/arenas/pybullet_bodies.py'):
        return
    tree = ast.parse(path.read_text(encoding='utf-8'))
    words = [getattr(node, 'attr', getattr(node, 'arg', '')) for node in ast.walk(tree)]
    assert {'bullet', 'physicsClientId'}.isdisjoint(words), 'World needs a method for this'


def test_verbs_speak_to_a_node_through_one_function() -> None:
    verbs = [path for path in SOURCES if room_of(path) == 'verbs']
    users = [path.name for path in verbs if 'smwm_ros.nodes.client' in imports(path)]
    assert users == ['options.py']


@pytest.mark.parametrize('path', SOURCES, ids=ids)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    if path.name not in ONE_PAGE:
        assert len(text.splitlines()) <= LINES, f'{path.name} has two ideas in it'
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES, f'{path.name}: {node.name} has {length} lines'


def committed() -> Iterator[Path]:
    """Yield the text files of the project."""
    left_out = {'runs', 'build', 'install', 'log', '__pycache__', 'site'}
    shared = {'.ci', '.github', '.dockerignore'}
    suffixes = {'.py', '.md', '.rst', '.yaml', '.yml', '.xml', '.toml', '.cfg', '.txt', '.sh', ''}
    for top in ROOT.iterdir():
        hidden = top.name.startswith('.') and top.name not in shared
        if top.name in left_out or hidden:
            continue
        for path in [top, *top.rglob('*')]:
            if path.is_file() and path.suffix in suffixes and '__pycache__' not in path.parts:
                yield path


def test_every_source_file_begins_with_its_licence() -> None:
    places = ('smwm_ros', 'launch', 'test', 'bench', 'tools', 'scripts')
    for path in committed():
        if path.relative_to(ROOT).parts[0] in places and path.suffix in ('.py', '.sh'):
            head = path.read_text(encoding='utf-8').splitlines()[:2]
            assert '# SPDX-License-Identifier: Apache-2.0' in head, path


def test_the_tree_names_no_machine_and_no_registry() -> None:
    # Written in halves, so that this file does not name them either.
    words = ['/work' + '/', '/home' + '/', '/root' + '/', 'pypi' + '.org', 'python' + 'hosted']
    words += ['index' + '-url', 'download.pytorch' + '.org', 'conda' + '.org']
    for path in committed():
        text = path.read_text(encoding='utf-8', errors='ignore')
        found = [word for word in words if word in text]
        assert not found, f'{path}: {found}'


def test_each_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                places.setdefault(node.name, []).append(path.stem)
    shared = {name: found for name, found in places.items() if len(found) > 1}
    # A section of the configuration has the name of the protocol that it configures.
    assert {name: sorted(found) for name, found in shared.items()} == {
        'Arena': ['config', 'interfaces'],
        'Planner': ['config', 'interfaces'],
    }
