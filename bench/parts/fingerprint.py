# SPDX-License-Identifier: Apache-2.0
"""
Detect figures that are older than the code that they measure.

A benchmark measures its own script, every module of this project that it imports, directly or
through others, and what it names by a string: a verb, a module, an arena, or a file of config/.
Modules that only parse arguments, show progress or write pages do not change a figure and are left
out. One short hash covers the text of the others, without docstrings, imports, blank lines and
comment lines. Rows carry the hash of their measurement; docs/results.md marks those whose code has
changed since.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE, BENCH = ROOT / 'smwm_ros', ROOT / 'bench'
NAMED = ('smwm_ros/arenas/{}.py', 'config/{}.yaml')
VERB = 'smwm_ros/verbs/{}.py'
SHOWS = {
    *('cli', 'errors', 'files', 'load', 'lock', 'pages', 'progress'),
    *('reporting', 'share', 'streams', 'text'),
}


def fingerprint(script: Path) -> str:
    """Return the hash of all code that a benchmark measures."""
    text = '\n'.join(sorted(map(_text, measured(script))))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def measured(script: Path) -> list[Path]:
    """Return the files that a benchmark measures, itself among them."""
    found: set[Path] = set()
    waiting = {script.resolve()}
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= {one for one in _next(path) - found if not _shows(one)}
    return sorted(found)


def _shows(path: Path) -> bool:
    """Return whether a file only parses, shows, writes pages or, as this one, compares."""
    if not path.is_relative_to(PACKAGE):
        return path == Path(__file__)
    return path.relative_to(PACKAGE).with_suffix('').parts[0] in SHOWS


@cache
def _next(path: Path) -> set[Path]:
    """Return the files of this project that one file imports or, in bench/, names."""
    if path.suffix != '.py':
        return set()
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found.update(*(_files(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(_files(node.module))
            found.update(*(_files(f'{node.module}.{alias.name}') for alias in node.names))
        elif path.is_relative_to(BENCH):
            found.update(_named(node))
    return found


def _named(node: ast.AST) -> Iterator[Path]:
    """Yield the files that a string names: the verb of a command, an arena, a file of config/."""
    forms: tuple[str, ...] = NAMED
    if isinstance(node, ast.List) and node.elts:
        node, forms = node.elts[0], (VERB,)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if '.' in node.value:
            yield from _files(node.value)
        elif node.value.isidentifier():
            files = (ROOT / form.format(node.value) for form in forms)
            yield from (path for path in files if path.is_file())


def _files(module: str) -> Iterator[Path]:
    """Yield the file of a module of this project, if it is one."""
    parts = module.split('.')
    if not all(part.isidentifier() for part in parts):
        return
    base = ROOT if parts[0] == PACKAGE.name else BENCH
    for path in (base.joinpath(*parts).with_suffix('.py'), base.joinpath(*parts, '__init__.py')):
        if path.is_file():
            yield path


@cache
def _text(path: Path) -> str:
    """Return the lines of a file that can change its behaviour."""
    lines = path.read_text(encoding='utf-8').splitlines()
    if path.suffix == '.py':
        for node in ast.walk(ast.parse('\n'.join(lines))):
            for silent in _silent(node):
                for number in range(silent.lineno, (silent.end_lineno or 0) + 1):
                    lines[number - 1] = ''
    return '\n'.join(line for line in lines if line.split('#')[0].strip())


def _silent(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield an import statement, or the docstring of a module, class or function."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    if isinstance(node, kinds) and ast.get_docstring(node) is not None:
        yield node.body[0]
