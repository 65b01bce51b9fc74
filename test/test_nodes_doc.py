# SPDX-License-Identifier: Apache-2.0
"""Tests for docs/nodes.md: it says what the code says, and the tests that it names exist."""

from pathlib import Path
import re

from smwm_ros.control.reasons import MEANING, Reason

TEST = Path(__file__).resolve().parent
TEXT = (TEST.parent / 'docs' / 'nodes.md').read_text()


def test_every_reason_is_explained_as_the_code_explains_it():
    plain = TEXT.replace('`', '')
    for reason in Reason:
        assert f'| {reason.value} | {MEANING[reason]}' in plain


def test_every_reason_is_reached_by_a_test_of_the_node():
    waited = {
        word
        for path in (TEST / 'ros').glob('test_plan_*.py')
        for word in re.findall(r"wait_for\('([A-Z_]+)'\)", path.read_text())
    }
    assert {reason.value for reason in Reason} <= waited


def test_every_promise_names_files_and_tests_that_exist():
    promises = re.findall(r'^\| \d+ \| .* \|$', TEXT, re.MULTILINE)
    assert len(promises) == 25
    for line in promises:
        _, _, _, where, tests, _ = line.split('|')
        for file in re.findall(r'`((?:nodes|core)/[\w.]*)`', where):
            assert (TEST.parent / 'smwm_ros' / file).exists(), f'{file} does not exist'
        named = re.findall(r'`(\w+\.py)::(test_\w+)`', tests)
        assert named, f'no test: {line}'
        for file, name in named:
            (path,) = TEST.rglob(file)
            assert f'def {name}(' in path.read_text(), f'{file} has no {name}'
