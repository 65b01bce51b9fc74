# SPDX-License-Identifier: Apache-2.0
"""Foreign text is shown escaped and cut, wherever it is shown."""

from __future__ import annotations

import ast
from contextlib import suppress
from functools import cache
import io
import json
from pathlib import Path
import re
from typing import Any

import pytest
from recordings import image, TinyBag
from smwm_ros import progress
from smwm_ros.cli import main
from smwm_ros.errors import BagError, ConfigError, SmwmError
from smwm_ros.load import load_config, read_yaml
from smwm_ros.pages.html import escape
from smwm_ros.text import brief, count_of, cut, echo, LINE, line, printable, WORD
import yaml

Capture = pytest.CaptureFixture[str]
SOURCES = sorted((Path(__file__).parents[1] / 'smwm_ros').rglob('*.py'))
HOSTILE = {
    'escape': '\x1b[2J\x1b]0;owned\x07',
    'return': 'good\rbad',
    'nul': 'a\x00b',
    'c1': '\x9b31m\x85',
    'bidi': '\u202egnp\u2066.\u2069\u200f',
    'separators': 'one\u2028two\u2029three',
    'newline': 'x\n/cmd_vel (geometry_msgs/msg/Twist): 100 messages',
    'markup': '<script>alert(1)</script>"&',
    'long': 'l' * 1_000_000,
    'words': 'long name ' * 100_000,
    'astral': 'tag\U000e0041',
}
IN_BAG = [name[:100_000] for name in HOSTILE.values()]  # rosbags takes seconds to read more


def bad_letters(text: str) -> set[str]:
    """Return what may not reach a terminal or a page."""
    return {letter for letter in text if not letter.isprintable() and letter != '\n'}


@pytest.mark.parametrize('name', HOSTILE)
def test_a_line_of_any_text_is_printable_and_short_and_stays_so(name: str) -> None:
    shown = line(HOSTILE[name])
    assert shown.isprintable()
    assert len(shown) <= LINE
    assert max(map(len, shown.split())) <= WORD
    assert line(shown) == shown
    assert len(line('\U000e0041' * 10_000)) <= LINE


def test_what_is_printable_is_left_as_it_is() -> None:
    for text in ('/camera/image_raw', 'Küche 台所 🤖', 'a\\b', '', '  two  spaces'):
        assert line(text) == printable(text) == text
    assert printable('a\x1b\u202e\n') == r'a\x1b\u202e\n'
    assert cut('a' * 50 + 'b' * 51, 100) == 'a' * 35 + '... (41 characters) ...' + 'b' * 25


@pytest.mark.parametrize('value', [['x' * 10**6] * 50, {'k': [[[[[[1]]]]]]}, 'y' * 10**6])
def test_a_value_is_quoted_in_short(value: Any) -> None:
    assert len(brief(value)) <= 100


@pytest.mark.parametrize('name', HOSTILE)
@pytest.mark.parametrize('kind', [SmwmError, BagError])
def test_every_error_is_one_printable_line(kind: type[SmwmError], name: str) -> None:
    words = str(kind(f"'{HOSTILE[name]}': not there; expected another"))
    assert words.isprintable()
    assert len(words) <= LINE
    assert words.endswith('expected another')


def test_what_a_terminal_has_no_letters_for_is_escaped() -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), 'ascii')
    echo('Küche \ud800', file=terminal)
    terminal.seek(0)
    assert terminal.read() == 'K\\xfcche \\ud800\n'


@pytest.mark.parametrize('terminal', [False, True])
def test_progress_shows_foreign_text_like_everything_else(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, 'isatty', lambda: terminal)
    monkeypatch.setattr('sys.stderr', out)
    with progress.show_progress(total=2, desc='a\x1b[2J', unit='step', leave=True) as bar:
        bar.set_postfix_str('b\x1b[3J')
        bar.write('c\x1b[4J\n', file=out)
        bar.update(2)
    for word in (r'a\x1b[2J', r'b\x1b[3J', r'c\x1b[4J\n'):
        assert word in out.getvalue()
    assert not re.search('\x1b\\[[234]J', out.getvalue())


def test_a_page_shows_neither_markup_nor_control_characters() -> None:
    for text in HOSTILE.values():
        shown = escape(text)
        assert shown.isprintable()
        assert '<' not in shown
        assert len(shown) <= 6 * LINE


@cache
def calls(path: Path) -> list[ast.Call]:
    nodes = ast.walk(ast.parse(path.read_text(encoding='utf-8')))
    return [node for node in nodes if isinstance(node, ast.Call)]


def test_one_place_prints_and_one_escapes_for_pages() -> None:
    prints = {path.name for path in SOURCES for call in calls(path) if name_of(call) == 'print'}
    assert prints == {'text.py'}
    texts = {
        f'{path.parent.name}/{path.name}': path.read_text(encoding='utf-8') for path in SOURCES
    }
    assert not [name for name, text in texts.items() if re.search(r'std(out|err)\.write\(', text)]
    escapes = re.compile(r'html\.escape|from html import .*\bescape')
    assert [name for name, text in texts.items() if escapes.search(text)] == ['pages/html.py']


def test_whatever_a_node_logs_was_made_a_line_before() -> None:
    found = 0
    for path in SOURCES:
        for call in calls(path):
            owner = getattr(call.func, 'value', None)
            if not isinstance(owner, ast.Call) or not ast.unparse(owner).endswith('get_logger()'):
                continue
            text, found = call.args[0], found + 1
            constant = isinstance(text, ast.Constant) or ast.unparse(text).strip('_').isupper()
            made = isinstance(text, ast.Call) and name_of(text) in ('line', 'block')
            assert constant or made, f'{path}:{call.lineno}: {ast.unparse(call)}'
    assert found > 10


def name_of(call: ast.Call) -> str:
    return getattr(call.func, 'id', '')


@pytest.fixture(scope='module')
def hostile_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a drive beside topics, frames and texts of hostile names."""
    import numpy as np

    folder = tmp_path_factory.mktemp('hostile')
    bag = TinyBag(folder / 'bag<script>\x1b[2J\u202e')
    for tick in range(40):
        bag.frame(tick)
        bag.command(tick)
        bag.pose(tick, tick)
    for number, name in enumerate(IN_BAG):
        for tick in range(10):
            frame = image(np.full((16, 20, 3), 9), 'rgb8' if number % 2 else f'rgb{name[:99]}')
            frame.header.frame_id = name[:99]
            bag.send(f'/{name}', frame, tick)
    return bag.close()


def require_clean(said: str) -> None:
    assert not bad_letters(said)
    for text in said.split('\n'):
        assert len(text) <= LINE
        assert not text.startswith('/cmd_vel (geometry_msgs/msg/Twist): 100'), 'a forged line'


def test_names_from_a_bag_reach_terminal_and_pages_escaped_and_cut(
    hostile_bag: Path, tmp_path: Path, capsys: Capture
) -> None:
    topic = HOSTILE['escape'] + HOSTILE['bidi']
    size = 'dataset.image_size=16'
    assert main(['inspect', str(hostile_bag)]) == 0
    said = capsys.readouterr()
    require_clean(said.out + said.err)
    assert r'\x1b[2J' in said.out
    assert len(said.out) < 100_000
    for words in (['robot.camera.topic=' + '/gone'], [f'robot.state.topic={topic!r}']):
        code = main(['convert', str(hostile_bag), '--out', str(tmp_path / 'no'), size, *words])
        said = capsys.readouterr()
        require_clean(said.out + said.err)
        assert code == 2
        assert said.err.splitlines()[-1].startswith('smwm convert: ')
    out = tmp_path / 'data<script>\x1b[2J'
    assert main(['convert', str(hostile_bag), '--out', str(out), size]) == 0
    assert main(['inspect', str(out)]) == 0
    assert main(['view', str(out)]) == 0
    said = capsys.readouterr()
    require_clean(said.out + said.err)
    page = out.with_name(f'{out.name}.html').read_text(encoding='utf-8')
    assert not bad_letters(page)
    assert 'data<script>' not in page
    assert 'bag<script>' not in page
    assert '&lt;script&gt;' in page


def test_pages_and_lines_of_a_dataset_with_hostile_words_are_clean(
    hostile_bag: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / 'data'
    words = ['convert', str(hostile_bag), '--out', str(out), 'dataset.image_size=16']
    assert main(words) == 0
    (path,) = out.glob('shards/*/meta.json')
    meta = json.loads(path.read_text())
    hostile = [*HOSTILE.values(), 'lone \ud800']
    meta['notes'] = hostile
    meta['faults'] = dict.fromkeys(hostile, '<b>\x1b[1m')
    meta['dropped'] = dict.fromkeys(hostile, 7)
    meta['time'] = {'base': HOSTILE['return'], 'why': HOSTILE['long']}
    meta['source']['files'] = hostile[:3]
    meta['versions'] = dict.fromkeys(hostile, HOSTILE['markup'])
    path.write_text(json.dumps(meta))
    capsys.readouterr()
    assert main(['inspect', str(out)]) == 0
    assert main(['view', str(out)]) == 0
    said = capsys.readouterr()
    require_clean(said.out + said.err)
    page = (tmp_path / 'data.html').read_text(encoding='utf-8')
    assert not bad_letters(page)
    assert '<script>alert' not in page
    assert 'lllll' * (WORD // 5) not in page


def test_one_thing_is_no_things() -> None:
    counts = [count_of(number, 'raw step') for number in (0, 1, 2, 1234)]
    assert counts == ['0 raw steps', '1 raw step', '2 raw steps', '1234 raw steps']
    assert count_of(1234, 'stretch', ',') == '1,234 stretches'


def test_counts_that_may_be_one_are_said_by_the_function_that_knows_the_singular() -> None:
    nouns = 'chunk|episode|leg|message|pair|row|step|subgoal|tick|transition|warning|world'
    counted = re.compile(rf'(?<!than )(?<!no )\{{[^{{}}:]*\}} (?:{nouns})s\b')
    found = {path.name: counted.findall(path.read_text(encoding='utf-8')) for path in SOURCES}
    assert {name: said for name, said in found.items() if said} == {}


def test_what_programs_read_keeps_every_letter(
    hostile_bag: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(['inspect', '--json', str(hostile_bag)]) == 0
    (text,) = capsys.readouterr().out.splitlines()
    assert not bad_letters(text)
    names = {topic['name'] for topic in json.loads(text)['topics']}
    assert {f'/{name}' for name in IN_BAG} <= names


@pytest.mark.parametrize('name', HOSTILE)
def test_a_proposal_keeps_a_hostile_name_and_nothing_in_it_becomes_a_setting(
    tmp_path: Path, capsys: Capture, name: str
) -> None:
    import numpy as np

    topic = f'/{name}\nrobot: {{dt: 0.5}}'
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(30):
        bag.send(topic, image(np.full((16, 20, 3), tick)), tick)
        bag.command(tick)
    path = bag.close()
    out = tmp_path / 'robot.yaml'
    assert main(['inspect', str(path), '--write', str(out)]) == 0
    require_clean(capsys.readouterr().out)
    if len(name) < 100_000:
        config = load_config(out)
        assert config.robot.camera.topic == topic
        assert config.robot.dt == 0.1
    else:
        with pytest.raises(ConfigError, match='bytes; expected a configuration'):
            read_yaml(out)
        assert yaml.safe_load(out.read_text())['robot']['camera']['topic'] == topic


def test_a_word_of_the_command_line_is_shown_like_all_others(capsys: Capture) -> None:
    for words in (['tr\x1b[2Jain'], ['view', '--episodes', '\x1b[2J', 'x'], ['view', 'no\x1b[2J']):
        code: object = 2
        with suppress(SystemExit):
            code = main(words)
        assert code == 2
        assert not bad_letters(capsys.readouterr().err)
