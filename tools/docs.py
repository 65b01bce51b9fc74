# SPDX-License-Identifier: Apache-2.0
"""
Write the generated parts of the docs; --check lists those that are out of date.

A generated part stands between `<!-- generated:NAME -->` and `<!-- end -->`. Everything in it
comes from the code or from docs/results.json.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable
import io
import json
from pathlib import Path
import re
import sys
from typing import Any

from smwm_ros.arenas import ARENA_NAMES
from smwm_ros.cli import build_parser, VERBS
from smwm_ros.load import load_config
from smwm_ros.tables import parameter_table, section_tables, tuning_table
from smwm_ros.verbs.bench import run_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'bench'))
from parts.fingerprint import fingerprint  # noqa: E402 (bench/ is no package)

# The libraries that only some rooms may import; the others are numpy and OpenCV.
LIBRARIES = {'torch', 'safetensors', 'rosbags', 'rosbag2_py', 'mcap', 'av', 'ray', 'pybullet'}
LIBRARIES |= {'gymnasium', 'rclpy', 'h5py', 'lerobot', 'onnxruntime', 'onnxscript'}
LIBRARIES |= {'stable_worldmodel', 'cv_bridge'}
PART = re.compile(r'(<!-- generated:(?P<name>[\w:.-]+) -->\n).*?(<!-- end -->)', re.DOTALL)


def tree() -> str:
    """Return the package's rooms and the files beside them, each with its first sentence."""
    lines = ['```', 'smwm_ros/']
    package = ROOT / 'smwm_ros'
    rooms = [path.parent for path in package.rglob('__init__.py') if path.parent != package]
    files = [path for path in package.glob('*.py') if path.name != '__init__.py']
    for path in [*sorted(files), *sorted(rooms)]:
        depth = len(path.relative_to(package).parts)
        source = path / '__init__.py' if path.is_dir() else path
        about = ast.get_docstring(ast.parse(source.read_text(encoding='utf-8'))) or ''
        name = f'{path.name}/' if path.is_dir() else path.name
        lines.append(f'{"    " * depth}{name}'.ljust(26) + about.split('\n')[0])
    return '\n'.join([*lines, '```'])


def rooms() -> str:
    """Return the folders of the package, each below those that it imports."""
    folders = {path.parent.name: path.parent for path in ROOT.glob('smwm_ros/*/__init__.py')}
    imported = {name: _imported(folder) for name, folder in folders.items()}
    rows = ['| room | imports the rooms | and the libraries |', '|---|---|---|']
    placed: list[str] = []
    while left := sorted(folders.keys() - placed):
        ready = [name for name in left if not imported[name] & folders.keys() - {name, *placed}]
        assert ready, f'these import each other: {left}'
        for name in ready:
            near = [f'`{room}`' for room in placed if room in imported[name]]
            far = ', '.join(sorted(imported[name] & LIBRARIES))
            all_of_them = len(near) == len(placed) > 1
            rows.append(f'| `{name}` | {"all" if all_of_them else ", ".join(near)} | {far} |')
        placed += ready
    return '\n'.join(rows)


def _imported(folder: Path) -> set[str]:
    """Return the libraries, and the rooms of this package, that the files of a folder import."""
    names = set()
    for path in folder.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return {name.removeprefix('smwm_ros.').split('.')[0] for name in names}


def verbs() -> str:
    """Return the verbs with their one-line help."""
    rows = ['| verb | what it does |', '|---|---|']
    for name in VERBS:
        path = ROOT / 'smwm_ros' / 'verbs' / f'{name.replace("-", "_")}.py'
        about = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        rows.append(f'| `smwm {name}` | {about.splitlines()[0]} |')
    return '\n'.join(rows)


def arenas() -> str:
    """Return the arenas, with what they take and what they measure."""
    rows = ['| arena | what it is | command | limits | measured state |', '|---|---|---|---|---|']
    for name in ARENA_NAMES:
        path = ROOT / 'smwm_ros' / 'arenas' / f'{name}.py'
        about = (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').strip()
        robot = load_config(name).robot
        fields = ', '.join(f'`{field}`' for field in robot.command.fields)
        limits = ', '.join(f'{high:g}' for high in robot.command.high)
        state = ', '.join(f'`{field}`' for field in robot.state.fields)
        rows.append(f'| `{name}` | {about.splitlines()[0]} | {fields} | {limits} | {state} |')
    return '\n'.join(rows)


def results(bench: str) -> str:
    """Return the table of one benchmark from the results file."""
    rows = json.loads((ROOT / 'docs' / 'results.json').read_text(encoding='utf-8')).get(bench, [])
    targets = json.loads((ROOT / 'bench' / 'targets.json').read_text(encoding='utf-8'))
    if bench == 'faults':
        return _faults(rows, targets)
    lines = ['| measure | value | compared with | ratio | target |', '|---|---|---|---|---|']
    for row in rows:
        about, target = _explained(row['measure'], targets)
        peer = f'{_number(row["peer_value"])} ({row["peer"]})' if row['peer'] else ''
        ratio = _number(row['ratio']) if row['ratio'] is not None else ''
        value = f'{_number(row["value"])} {row["unit"]}'
        if row.get('interval'):
            value += ' ({:.3g} to {:.3g})'.format(*row['interval'])
        lines.append(f'| {about} | {value} | {peer} | {ratio} | {target} |')
    measured = {row['measure'] for row in rows}
    for measure in targets:
        if measure.startswith(f'{bench}.') and measure not in measured:
            about, target = _explained(measure, targets)
            lines.append(f'| {about} | **not measured yet** |  |  | {target} |')
    return '\n'.join([*lines, '', _measured(bench, rows)])


def _explained(measure: str, targets: dict[str, Any]) -> tuple[str, str]:
    """Return the description of a measure, and its target."""
    entry = targets.get(measure, {})
    return entry.get('about', measure), entry.get('target', '')


def _faults(rows: list[dict[str, Any]], targets: dict[str, Any]) -> str:
    """Return the table of faults, one row for each."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        name, _, column = row['measure'].rpartition('.')
        found.setdefault(name, {})[column] = row
    lines = ['| fault | reason | detected | stopped | drives again |', '|---|---|---|---|---|']
    for name, columns in found.items():
        about, _ = _explained(name, targets)
        reason = columns['detected']['unit'].rpartition(' ')[2] if 'detected' in columns else ''
        times = [
            f'{columns[column]["value"]:.0f} ms' if column in columns else ''
            for column in ('detected', 'stopped', 'recovered')
        ]
        lines.append(f'| {about} | {f"`{reason}`" if reason else ""} | {" | ".join(times)} |')
    for name in targets:
        if name.startswith('faults.') and name not in found:
            lines.append(f'| {_explained(name, targets)[0]} | **not measured yet** |  |  |  |')
    return '\n'.join([*lines, '', _measured('faults', rows)])


def _measured(bench: str, rows: list[dict[str, Any]]) -> str:
    """Return machines and dates of rows, and whether their code has changed since."""
    if not rows:
        return f'Not measured yet: `make bench ARGS={bench}`.'
    code = fingerprint(ROOT / 'bench' / f'{bench}.py')
    lines = []
    runs = {(run_of(r['measure']), r['machine'], r['when'], r['code'] == code) for r in rows}
    for (_, arena), where, when, same in sorted(runs):
        lines.append(f'{arena + ": measured" if arena else "Measured"} on {where} ({when}).')
        if not same:
            lines.append(
                '**Older than the code:** files that this benchmark runs have changed since.'
            )
    return ' '.join(lines)


def once(section: str) -> str:
    """Return the table of figures that no benchmark repeats."""
    every = json.loads((ROOT / 'docs' / 'measured_once.json').read_text(encoding='utf-8'))
    lines = ['| measured once | value | where and when |', '|---|---|---|']
    lines += [f'| {one["about"]} | {one["value"]} | {one["where"]} |' for one in every[section]]
    return '\n'.join(lines)


def _number(value: float) -> str:
    return f'{value:.4g}' if abs(value) < 10_000 else f'{value:,.0f}'


def part(name: str) -> str:
    """Return the text of one generated part."""
    kind, _, detail = name.partition(':')
    makers: dict[str, Callable[[], str]] = {
        'tree': tree,
        'rooms': rooms,
        'verbs': verbs,
        'arenas': arenas,
        'parameters': lambda: parameter_table(detail.split('.')),
        'basic': lambda: section_tables(detail.split('.'), basic=True),
        'advanced': lambda: section_tables(detail.split('.'), basic=False),
        'tuning': lambda: tuning_table(detail),
        'results': lambda: results(detail),
        'once': lambda: once(detail),
        'help': lambda: f'```\n{_help(detail)}```',
    }
    return makers[kind]()


def _help(verb: str) -> str:
    parser = build_parser()
    choices = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    text = io.StringIO()
    choices[verb].print_help(text)  # type: ignore[index]
    return text.getvalue()


def main() -> int:
    """Write the generated parts, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--check', action='store_true', help='write nothing; 1 if a part is out of date'
    )
    check = parser.parse_args().check
    stale = []
    for path in [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]:
        text = path.read_text(encoding='utf-8')
        fresh = PART.sub(lambda m: f'{m[1]}{part(m["name"])}\n{m[3]}', text)
        if fresh != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(fresh, encoding='utf-8')
    if stale:
        print(f'{"stale" if check else "written"}: {", ".join(stale)}')
    return 1 if check and stale else 0


if __name__ == '__main__':
    sys.exit(main())
