# SPDX-License-Identifier: Apache-2.0
"""The table of mistakes fits the tree: each can be made, and its tests exist."""

from __future__ import annotations

from pathlib import Path
import subprocess

from mutations import Mutation, MUTATIONS, ROOT, verdicts
import pytest


def ids(mutation: Mutation) -> str:
    return f'{Path(mutation.file).name}: {mutation.about}'


@pytest.mark.parametrize('mutation', MUTATIONS, ids=ids)
def test_a_mistake_fits_one_place_and_its_tests_exist(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text(encoding='utf-8')
    assert text.count(mutation.text) == 1, 'the code has changed: change the table, too'
    mutated = text.replace(mutation.text, mutation.replacement)
    assert mutated != text
    compile(mutated, mutation.file, 'exec')
    for word in mutation.tests.split():
        if '.py' in word:
            assert (ROOT / 'test' / word).is_file()


def test_no_two_mistakes_are_the_same() -> None:
    assert len({mutation[1:] for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_mistake_that_no_test_notices_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mutations.SLOW', [])  # these tests need none of it
    origin, copy = tmp_path / 'origin', tmp_path / 'copy'
    (origin / 'test').mkdir(parents=True)
    (origin / 'sums.py').write_text('def add(a, b):\n    return a + b\n')
    (origin / 'test' / 'test_sums.py').write_text(
        'from sums import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n'
    )
    (origin / 'test' / 'test_bad.py').write_text('def test_nothing():\n    assert 0\n')
    subprocess.run(['git', 'init', '-q', str(origin)], check=True)
    found = verdicts(
        [
            Mutation('', 'sums.py', 'a + b', 'a - b', 'test_sums.py'),
            Mutation('', 'sums.py', 'a + b', 'a * b', 'test_sums.py'),
            Mutation('', 'sums.py', 'a + b', 'a + +', 'test_sums.py'),
            Mutation('', 'sums.py', 'a + b', 'a - b', 'test_bad.py'),
        ],
        origin,
        copy,
    )
    good, said = zip(*found, strict=True)
    assert good == (True, False, False, False)
    assert said[0].startswith('killed')
    assert said[1].startswith('SURVIVED')
    assert said[2].startswith('NO VERDICT: pytest ended with 2')
    assert said[3].startswith('NO VERDICT: its tests fail anyway')
    assert (copy / 'sums.py').read_text() == (origin / 'sums.py').read_text()
