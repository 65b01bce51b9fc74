# SPDX-License-Identifier: Apache-2.0
"""Property tests try the same examples in every run, and new ones when they are to explore."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

SHOW = """
import json, properties
from hypothesis import settings
now = settings.default
print(json.dumps([now.derandomize, now.print_blob, properties.examples(30).max_examples]))
"""


@pytest.mark.parametrize('more', [{}, {'CI': 'true'}])
@pytest.mark.parametrize(('profile', 'found'), [('', [True, 30]), ('explore', [False, 300])])
def test_exploration_tries_new_examples_and_ten_times_as_many(
    profile: str, found: list[object], more: dict[str, str]
) -> None:
    env = {name: value for name, value in os.environ.items() if name != 'HYPOTHESIS_PROFILE'}
    env |= {'HYPOTHESIS_PROFILE': profile} if profile else {}
    env |= more
    words = [sys.executable, '-c', SHOW]
    done = subprocess.run(
        words, cwd=Path(__file__).parent, env=env, capture_output=True, check=True
    )
    same, blob, count = json.loads(done.stdout)
    assert [same, count] == found
    assert blob or not profile, 'a failure must come again'
