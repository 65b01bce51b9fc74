# SPDX-License-Identifier: Apache-2.0
"""Tests for tables.py: the docs say what the schema says."""

import re

import pytest
from smwm_ros.config import Config
from smwm_ros.errors import ConfigError
from smwm_ros.load import knobs
from smwm_ros.tables import parameter_table, section_tables, tuning_table


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


def paths(table: str) -> list[str]:
    return re.findall(r'^\| `([a-z_.]+)` \|', table, re.MULTILINE)


@pytest.mark.parametrize('basic', [True, False])
def test_tables_of_basic_and_advanced_knobs_have_all_of_them_and_no_others(basic):
    table = section_tables(list(vars(Config())), basic)
    assert paths(table) == [knob.path for knob in knobs(Config) if knob.basic is basic]


def test_a_section_of_advanced_knobs_alone_has_no_basic_table():
    assert section_tables(['record'], basic=True) == ''
    assert section_tables(['record'], basic=False).startswith('### record\n\nHow an arena')


def test_only_tables_of_the_planner_have_advice_on_tuning():
    for section in vars(Config()):
        for basic in (True, False):
            assert ('| tuning |' in section_tables([section], basic)) == (section == 'planner')


def test_advice_on_tuning_comes_for_every_knob_of_the_planner_with_basic_ones_first():
    table = tuning_table('planner')
    declared = [knob for knob in knobs(Config) if knob.path.startswith('planner.')]
    ordered = sorted(declared, key=lambda knob: not knob.basic)
    assert paths(table) == [knob.path for knob in ordered]
    for knob, line in zip(ordered, table.splitlines()[2:], strict=True):
        assert knob.tune
        assert knob.tune in line
        assert not knob.tune.endswith('.')
