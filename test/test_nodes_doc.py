# SPDX-License-Identifier: Apache-2.0
"""Tests for docs/nodes.md: it says what the code says."""

from pathlib import Path

from smwm_ros.core.reasons import MEANING, Reason

TEXT = (Path(__file__).resolve().parent.parent / 'docs' / 'nodes.md').read_text()


def test_every_reason_is_explained_as_the_code_explains_it():
    plain = TEXT.replace('`', '')
    for reason in Reason:
        assert f'| {reason.value} | {MEANING[reason]}' in plain
