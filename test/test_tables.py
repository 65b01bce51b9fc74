# SPDX-License-Identifier: Apache-2.0
"""Tests for tables.py: the docs say what the schema says."""

import pytest
from smwm_ros.config import Config
from smwm_ros.errors import ConfigError
from smwm_ros.load import knobs
from smwm_ros.tables import parameter_table


def test_every_knob_of_a_section_has_a_row_with_all_that_is_declared():
    rows = {
        line.split(' | ')[0].strip('| `'): line
        for line in parameter_table(['planner']).split('\n')
    }
    for knob in knobs(Config):
        if knob.path.startswith('planner.'):
            row = rows.pop(knob.path)
            assert knob.help in row
            assert (' yes ' in row) is knob.live
            assert all(f'`{choice}`' in row for choice in knob.choices)
    assert set(rows) == {'parameter', '---'}


def test_all_rows_have_as_many_cells_as_the_head():
    lines = parameter_table(['robot', 'node', 'arena']).splitlines()
    assert len({line.count('|') for line in lines}) == 1
    assert '`robot.command.low` | list of float | `[-0.5, -1.0]`' in '\n'.join(lines)


def test_sections_come_in_the_order_asked_for():
    table = parameter_table(['node', 'arena'])
    assert table.index('`node.coast`') < table.index('`arena.name`')


def test_an_unknown_section_is_refused():
    with pytest.raises(ConfigError, match="section 'planer': did you mean 'planner'"):
        parameter_table(['planer'])
