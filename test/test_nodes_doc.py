# SPDX-License-Identifier: Apache-2.0
"""Tests for docs/nodes.md: it says what the code says."""

from pathlib import Path

from smwm_ros.core.control import MEANING, Reason
from smwm_ros.tables import parameter_table

TEXT = (Path(__file__).resolve().parent.parent / 'docs' / 'nodes.md').read_text()


def test_every_reason_is_explained_as_the_code_explains_it():
    plain = TEXT.replace('`', '')
    for reason in Reason:
        assert f'| {reason.value} | {MEANING[reason]}' in plain


def test_the_parameter_table_is_fresh():
    between = TEXT.partition('<!-- generated:parameters -->\n')[2].partition('\n<!-- end -->')[0]
    assert between == parameter_table(['node', 'planner', 'robot'])
