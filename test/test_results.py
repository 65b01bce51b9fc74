# SPDX-License-Identifier: Apache-2.0
"""The results page: every figure has a row with the date and the code of its measurement."""

from __future__ import annotations

import json
from pathlib import Path
import re
import runpy
import shutil
from typing import Any

import pytest
from smwm_ros.cli import main as smwm
from smwm_ros.verbs import bench

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / 'bench'
FIGURE = re.compile(r'(?<![\w.-])\d[\d,]*(?:\.\d+)?')
SPELLED = r'(two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty|hundred)'
UNITS = r'(ms|s|seconds?|minutes?|hours?|times|percent|MB|GB|Hz)'
CONFIDENCE = '95'  # % of all intervals
ROW = {
    'measure': 'toy.single.significant', 'value': 2.0, 'unit': '', 'target': '2', 'peer': '',
    'peer_value': None, 'ratio': None, 'machine': 'here', 'interval': None,
    'when': '2026-01-01, commit abc', 'code': 'abc',
}  # fmt: skip


def sections() -> dict[str, tuple[str, str]]:
    """Return what is generated and what is written by hand in each section of the page."""
    page = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8')
    found = {}
    for text in page.split('\n## '):
        parts = re.findall(r'<!-- generated:.*?<!-- end -->', text, flags=re.DOTALL)
        prose = re.sub(
            r'<!-- generated:.*?<!-- end -->|`[^`]*`|\]\([^)]*\)', '', text, flags=re.DOTALL
        )
        found[text.partition('\n')[0]] = '\n'.join(parts), prose
    return found


@pytest.mark.parametrize('title', sections())
def test_every_figure_in_prose_stands_in_a_row_of_its_section(title: str) -> None:
    generated, prose = sections()[title]
    shown = [float(word.replace(',', '')) for word in FIGURE.findall(generated)]
    for match in FIGURE.finditer(prose):
        word = match[0].rstrip(',')
        digits, value = len(word.partition('.')[2]), float(word.replace(',', ''))
        known = any(value in (round(one, digits), round(100 * one, digits)) for one in shown)
        around = prose[max(match.start() - 40, 0) : match.end() + 30]
        assert known or word == CONFIDENCE, f'{title}: {word} has no row: ...{around}...'
    spelled = re.search(rf'\b{SPELLED}\W+{UNITS}\b', prose)
    assert not spelled, f'{title}: {spelled[0] if spelled else ""} has no row'


def test_rows_of_one_measurement_share_machine_date_and_code() -> None:
    """A section holds the rows of one run, not a choice of several."""
    results = json.loads((ROOT / 'docs' / 'results.json').read_text(encoding='utf-8'))
    for name, rows in results.items():
        for run in {bench.run_of(row['measure']) for row in rows}:
            alike = [row for row in rows if bench.run_of(row['measure']) == run]
            of = {(row['when'], row['code'], row['machine']) for row in alike}
            assert len(of) == 1, f'{name}: rows of several measurements: {of}'
            assert all(when for when, _, _ in of)


def test_the_page_marks_figures_older_than_the_code_and_lists_missing_ones() -> None:
    docs = runpy.run_path(str(ROOT / 'tools' / 'docs.py'))
    fresh = docs['fingerprint'](BENCH / 'toy.py')
    assert 'Older' not in docs['_measured']('toy', [{**ROW, 'code': fresh}])
    assert '**Older than the code:**' in docs['_measured']('toy', [ROW])
    page = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8')
    results = json.loads((ROOT / 'docs' / 'results.json').read_text(encoding='utf-8'))
    targets = json.loads((BENCH / 'targets.json').read_text(encoding='utf-8'))
    measured = {row['measure'] for rows in results.values() for row in rows}
    measured |= {name.rpartition('.')[0] for name in measured if name.startswith('faults.')}
    missing = [targets[name]['about'] for name in targets if name not in measured]
    assert page.count('**not measured yet**') == len(missing)
    for about in missing:
        assert f'| {about} | **not measured yet** |' in page


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a small project with one benchmark, which imports, names and shows."""
    files = {
        'bench/parts/fingerprint.py': (BENCH / 'parts/fingerprint.py').read_text(encoding='utf-8'),
        'bench/one.py': "from parts import helper\nrun(['collect', 'maze'])\n",
        'bench/parts/helper.py': 'def help():\n    from smwm_ros.codec.solve import solve\n',
        'smwm_ros/codec/solve.py': '"""Solve."""\nimport smwm_ros.codec.deep, smwm_ros.text\n',
        'smwm_ros/codec/deep.py': 'X = 1\n',
        'smwm_ros/codec/other.py': 'X = 1\n',
        'smwm_ros/text.py': 'X = 1\n',
        'smwm_ros/verbs/collect.py': 'X = 1\n',
        'smwm_ros/verbs/maze.py': 'X = 1\n',
        'smwm_ros/arenas/maze.py': 'X = 1\n',
        'config/maze.yaml': 'x: 1\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding='utf-8')
    return tmp_path


def prints(house: Path) -> str:
    """Return the fingerprint of its benchmark."""
    module = runpy.run_path(str(house / 'bench/parts/fingerprint.py'))
    found: str = module['fingerprint'](house / 'bench/one.py')
    return found


@pytest.mark.parametrize(
    'file',
    [
        *('bench/one.py', 'bench/parts/helper.py', 'smwm_ros/codec/solve.py'),
        *('smwm_ros/codec/deep.py', 'smwm_ros/verbs/collect.py', 'smwm_ros/arenas/maze.py'),
        'config/maze.yaml',
    ],
)
def test_a_change_of_measured_code_makes_a_figure_out_of_date(house: Path, file: str) -> None:
    before = prints(house)
    with (house / file).open('a', encoding='utf-8') as stream:
        stream.write('Y = 2\n')
    assert prints(house) != before


@pytest.mark.parametrize('file', ['codec/other.py', 'text.py', 'verbs/maze.py'])
def test_a_change_of_other_code_leaves_a_figure_up_to_date(house: Path, file: str) -> None:
    before = prints(house)
    (house / 'smwm_ros' / file).write_text('Y = 2\n', encoding='utf-8')
    assert prints(house) == before


def test_a_change_of_comments_and_docstrings_leaves_a_figure_up_to_date(house: Path) -> None:
    before = prints(house)
    solve = house / 'smwm_ros/codec/solve.py'
    text = solve.read_text(encoding='utf-8').replace('Solve.', 'Solve\n\nat length.')
    solve.write_text(f'# Licence\n\n{text}', encoding='utf-8')
    assert prints(house) == before


def test_a_move_of_a_file_leaves_a_figure_up_to_date(house: Path) -> None:
    before = prints(house)
    (house / 'smwm_ros/model').mkdir()
    (house / 'smwm_ros/codec/solve.py').rename(house / 'smwm_ros/model/solver.py')
    helper = house / 'bench/parts/helper.py'
    text = helper.read_text(encoding='utf-8')
    helper.write_text(text.replace('codec.solve', 'model.solver'), encoding='utf-8')
    assert prints(house) == before


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the verb write into a tree of its own."""
    for folder in ('bench', 'docs'):
        (tmp_path / folder).mkdir()
    for name in ('toy.py', 'train.py', 'actor.py'):
        shutil.copy(BENCH / name, tmp_path / 'bench')
    monkeypatch.setattr(bench, 'ROOT', tmp_path)
    return tmp_path


def take(clone: Path, *rows: Any) -> int:
    """Import rows."""
    file = clone / 'rows.jsonl'
    file.write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
    return smwm(['bench', '--import', str(file)])


def test_rows_of_a_gpu_and_of_a_processor_replace_their_own_kind_alone(clone: Path) -> None:
    cpu, gpu = ({**ROW, 'measure': f'train.tiny{kind}'} for kind in ('', '.cuda'))
    old = {**ROW, 'measure': 'train.nano'}
    assert take(clone, gpu) == take(clone, cpu, old) == 0
    assert take(clone, {**gpu, 'value': 3.0}) == 0
    assert take(clone, {**cpu, 'value': 4.0}) == 0
    rows = json.loads((clone / 'docs' / 'results.json').read_text(encoding='utf-8'))['train']
    assert [(row['measure'], row['value']) for row in rows] == [
        ('train.tiny', 4.0),
        ('train.tiny.cuda', 3.0),
    ]


def test_rows_of_one_arena_replace_those_of_this_arena_where_each_is_measured_alone(
    clone: Path,
) -> None:
    cube, old, far = (
        {**ROW, 'measure': f'actor.{name}'} for name in ('cube.cem', 'push_t.old', 'push_t.far')
    )
    assert take(clone, old, cube) == take(clone, far) == 0
    rows = json.loads((clone / 'docs' / 'results.json').read_text(encoding='utf-8'))['actor']
    assert [row['measure'] for row in rows] == ['actor.cube.cem', 'actor.push_t.far']


def test_benchmarks_that_measure_one_arena_alone_are_known() -> None:
    alone = [
        path.stem
        for path in sorted(BENCH.glob('*.py'))
        if re.search(r'(arena|world)=\(', path.read_text(encoding='utf-8'))
    ]
    assert tuple(alone) == bench.BY_ARENA


@pytest.mark.parametrize(
    ('row', 'reason'),
    [
        ({**ROW, 'value': float('nan')}, 'line 1: not a row of a benchmark: .*NaN'),
        ({**ROW, 'value': 'fast'}, "line 1: not a row of a benchmark: the row.value: .*'fast'"),
        ({'measure': 'toy.x'}, 'line 1: not a row of a benchmark: '),
        ({**ROW, 'measure': 'tyo.x'}, "line 1: tyo: no such benchmark; did you mean 'toy'"),
    ],
)
def test_a_line_that_is_no_row_is_an_error_and_nothing_is_written(
    clone: Path, row: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert take(clone, row) == 2
    assert re.search(reason, capsys.readouterr().err)
    assert not (clone / 'docs' / 'results.json').exists()
