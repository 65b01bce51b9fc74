# SPDX-License-Identifier: Apache-2.0
"""The command line is instant, explains itself, and turns a user's mistake into one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import re
import subprocess
import sys

import pytest
from smwm_ros import __version__, cli
from smwm_ros.config import Config
from smwm_ros.errors import ConfigError, SmwmError
from smwm_ros.load import knobs
from smwm_ros.verbs import options

HEAVY = ('torch', 'cv2', 'rclpy', 'rosbags', 'pybullet', 'numpy')
WITH_KNOBS = ('collect', 'convert', 'train')


def help_of(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match='0'):
        cli.main([verb, '--help'])
    return capsys.readouterr().out


@pytest.mark.parametrize('verb', cli.VERBS)
def test_help_of_a_verb_loads_nothing_heavy(verb: str) -> None:
    code = f"""
import sys
from smwm_ros.cli import main
try:
    main([{verb!r}, '--help'])
except SystemExit as end:
    assert end.code == 0, end.code
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == '[]'


@pytest.mark.parametrize('verb', cli.VERBS)
def test_help_of_a_verb_has_an_example_that_the_parser_accepts(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = [
        line.removeprefix('example: ')
        for line in help_of(verb, capsys).splitlines()
        if line.startswith('example: ')
    ]
    assert examples
    for example in examples:
        program, *words = example.split()
        assert (program, words[0]) == ('smwm', verb)
        parsed = cli.build_parser().parse_args([word for word in words if '=' not in word])
        assert parsed.verb == verb


@pytest.mark.parametrize('verb', cli.VERBS)
def test_help_of_a_verb_explains_every_option(verb: str) -> None:
    (verbs,) = (
        action
        for action in cli.build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for action in verbs.choices[verb]._actions:
        assert action.help, f'{verb}: {action.dest} is not explained'


@pytest.mark.parametrize('verb', WITH_KNOBS)
def test_help_of_a_verb_lists_its_knobs_with_defaults(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(verb, capsys)
    sections = {line.split('.')[0].strip() for line in text.splitlines() if '=' in line[:36]}
    assert sections
    for knob in knobs(Config):
        listed = f'\n  {knob.path}=' in text
        assert listed == (knob.path.split('.')[0] in sections)
        if listed:
            before = text[: text.index(f'\n  {knob.path}=')]
            assert ('advanced knobs:' in before) is not knob.basic
        if listed and isinstance(knob.default, int | float) and not isinstance(knob.default, bool):
            assert f'\n  {knob.path}={knob.default}' in text or 'e-' in str(knob.default)


def test_help_without_a_verb_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='0'):
        cli.main(['--help'])
    text = capsys.readouterr().out
    for verb in cli.VERBS:
        assert re.search(rf'\n    {verb}\s', text)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='0'):
        cli.main(['--version'])
    assert capsys.readouterr().out == f'smwm_ros {__version__}\n'


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        ([], 'the following arguments are required: VERB'),
        (['trian'], "invalid choice: 'trian'"),
        (['evaluate', 'run', '--out', 'a.html'], 'expected a JSON file, such as a.json'),
        (['train', '--frsh'], 'the following arguments are required'),
    ],
)
def test_wrong_arguments_exit_with_2(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match='2'):
        cli.main(words)
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['convert', '{tmp}', '--out', '{tmp}/out', 'dataset.hld=1'], "did you mean 'hold'?"),
        (['convert', '{tmp}', '--out', '{tmp}/out', '--config', 'two_rom'], "mean 'two_room'?"),
        (['convert', '{tmp}/none', '--out', '{tmp}/out'], 'none'),
        (['collect', 'two_rom', '--out', '{tmp}/out'], "did you mean 'two_room'?"),
        (
            ['collect', '--out', '{tmp}/out', 'arena.episodes=0'],
            'arena.episodes: 0 is out of range',
        ),
        (['train', '{tmp}/none', '--out', '{tmp}/out'], 'none'),
        (['train', '{tmp}', '--out', '{tmp}/out', 'train.steps=ten'], "whole number, found 'ten'"),
        (['inspect', '{tmp}/none'], 'none'),
        (['inspect', '{tmp}', 'planner.samples=3'], 'takes no key=value words'),
    ],
)
def test_an_error_of_the_user_prints_one_line_and_exits_with_2(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main([word.format(tmp=tmp_path) for word in words])
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith(f'smwm {words[0]}: ')
    assert said.err.count('\n') == 1
    assert reason in said.err
    assert not (tmp_path / 'out').exists(), 'something half-written is left'


class Verb:
    """A verb whose run does what a test wants."""

    def __init__(self, ends: BaseException | None = None) -> None:
        self.ends = ends
        self.seen: list[argparse.Namespace] = []

    def run(self, args: argparse.Namespace) -> int:
        self.seen.append(args)
        if self.ends is not None:
            raise self.ends
        return 7


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Verb], None]:
    def put(verb: Verb) -> None:
        from smwm_ros.verbs import train

        monkeypatch.setattr(train, 'run', verb.run)

    return put


WORDS = ['train', 'data', '--out', 'runs/x']


@pytest.mark.parametrize(
    ('ends', 'code', 'said'),
    [
        (None, 7, ''),
        (SmwmError('the bag is empty'), 2, 'smwm train: the bag is empty\n'),
        (KeyboardInterrupt(), 130, 'smwm train: interrupted; run it again to resume\n'),
    ],
)
def test_the_exit_code_depends_on_how_a_verb_ended(
    ends: BaseException | None,
    code: int,
    said: str,
    install: Callable[[Verb], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(Verb(ends))
    assert cli.main(WORDS) == code
    assert capsys.readouterr().err == said


def test_a_bug_of_ours_keeps_its_traceback(install: Callable[[Verb], None]) -> None:
    install(Verb(ZeroDivisionError('ours')))
    with pytest.raises(ZeroDivisionError, match='ours'):
        cli.main(WORDS)


def test_settings_may_be_given_anywhere_and_reach_the_config(
    install: Callable[[Verb], None],
) -> None:
    verb = Verb()
    install(verb)
    cli.main(['train', 'train.steps=3', 'data', 'model.latent=8', '--out', 'runs/x'])
    config = options.config_of(verb.seen[0])
    assert (config.train.steps, config.model.latent) == (3, 8)
    assert str(verb.seen[0].dataset) == 'data'


def test_an_error_within_dispatch_reaches_the_caller(
    install: Callable[[Verb], None],
) -> None:
    install(Verb(ConfigError('wrong')))
    with pytest.raises(ConfigError, match='wrong'):
        cli.dispatch(WORDS)


def test_python_dash_m_runs_the_command_line() -> None:
    words = [sys.executable, '-m', 'smwm_ros.cli', 'inspect', 'no/such/bag']
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, json.dumps([done.stdout, done.stderr])
    assert done.stderr.startswith('smwm inspect: ')
