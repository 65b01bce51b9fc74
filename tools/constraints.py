# SPDX-License-Identifier: Apache-2.0
"""
Write constraints.txt: one version of every package that the extras need, for each Python.

Pass one interpreter for each supported Python; each needs pip 22.2 or newer and nothing else:
    python3 tools/constraints.py python3.10 python3.11 python3.12 python3.13
Nothing is installed: pip resolves and reports, and the answers are merged. A package whose version
differs between Pythons gets a line for each, with a marker.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
import json
from pathlib import Path
import re
import subprocess
import sys
import tempfile

ROOT = Path(__file__).resolve().parent.parent
WANTED = (f'{ROOT}[sim,ros,dev,viz]', 'torch==2.13.0', 'setuptools<80', 'uv')
HEADER = """\
# Every package of `pip install .[sim,ros,dev,viz]`, pinned; tools/constraints.py wrote it.
# torch stays at the version that the figures in docs/ were measured with. The wheel on PyPI is,
# for Linux x86-64, the CUDA build (it also runs on CPU) and brings the nvidia-* packages; pip
# takes a smaller CPU wheel of the same version where its own settings offer one. setuptools stays
# below 80, where `colcon build --symlink-install` still finds `setup.py develop`. uv is used only
# where no Python of the machine fits (see tools/venv.sh).
"""


def resolve(interpreter: str) -> tuple[tuple[int, int], dict[str, str]]:
    """Return the version of this interpreter, and of each package that pip would install."""
    code = 'import sys; print(*sys.version_info[:2])'
    said = subprocess.run([interpreter, '-c', code], check=True, capture_output=True, text=True)
    major, minor = said.stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.json'
        words = ['-m', 'pip', 'install', '--quiet', '--dry-run', '--ignore-installed']
        subprocess.run([interpreter, *words, '--report', str(report), *WANTED], check=True)
        items = json.loads(report.read_text(encoding='utf-8'))['install']
    versions: dict[str, str] = {}
    for item in items:
        name = re.sub(r'[-_.]+', '-', item['metadata']['name']).lower()
        if name != 'smwm-ros':
            versions[name] = item['metadata']['version'].partition('+')[0]
    return (int(major), int(minor)), versions


def merge(resolved: Mapping[tuple[int, int], Mapping[str, str]]) -> list[str]:
    """
    Return one line for each package and version, with markers where versions differ.

    A Python that had no need of a package here (torch's CUDA parts beside a CPU wheel) gets the
    version of the next newer Python.
    """
    lines = []
    for name in sorted({name for versions in resolved.values() for name in versions}):
        known = {python: pins[name] for python, pins in sorted(resolved.items()) if name in pins}
        runs = [(version, list(pythons)) for version, pythons in groupby(known, known.__getitem__)]
        below = ''
        for version, pythons in runs:
            major, minor = pythons[-1]
            last = pythons is runs[-1][1]
            above = '' if last else f"python_version <= '{major}.{minor}'"
            marker = ' and '.join(part for part in (below, above) if part)
            lines.append(f'{name}=={version}' + (f' ; {marker}' if marker else ''))
            below = above.replace('<=', '>')
    return lines


def main(interpreters: list[str]) -> int:
    """Resolve for each interpreter and write the merged pins."""
    if not interpreters:
        print(__doc__, file=sys.stderr)
        return 2
    resolved = {}
    for interpreter in interpreters:
        print(f'resolving with {interpreter}', file=sys.stderr)
        python, versions = resolve(interpreter)
        resolved[python] = versions
    lines = merge(resolved)
    target = ROOT / 'constraints.txt'
    target.write_text(HEADER + '\n'.join(lines) + '\n', encoding='utf-8')
    print(f'{target}: {len(lines)} pins', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
