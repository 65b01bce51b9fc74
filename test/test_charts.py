# SPDX-License-Identifier: Apache-2.0
"""Charts are easy to read: free legends, numbers as people write them, one scale for paths."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from smwm_ros.pages import charts
from smwm_ros.pages.numbers import log_ticks, number, ticks, unit

SPACE = '{http://www.w3.org/2000/svg}'


def tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace('<svg ', f'<svg xmlns="{SPACE[1:-1]}" ', 1))


def area(chart: ElementTree.Element) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the plot."""
    rect = next(one for one in chart.iter(f'{SPACE}rect') if one.get('class') == 'area')
    x, y, width, height = (float(rect.get(name, '')) for name in ('x', 'y', 'width', 'height'))
    return x, y, x + width, y + height


def points(chart: ElementTree.Element) -> np.ndarray:
    lines = [one.get('points', '').split() for one in chart.iter(f'{SPACE}polyline')]
    return np.array([pair.split(',') for line in lines for pair in line], float)


def texts(chart: ElementTree.Element, css: str = 'tick') -> list[str]:
    return [one.text or '' for one in chart.iter(f'{SPACE}text') if one.get('class') == css]


def many() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    x = np.linspace(0, 10, 50)
    return {f'points[0].positions[name=joint_{k}]': (x, np.sin(x + k)) for k in range(6)}


@pytest.mark.parametrize(
    'chart',
    [
        charts.line_chart('a', 'x', 'y', many(), marks={'delay': 3.0}, unit='s'),
        charts.line_chart('b', 'x', 'y', many(), equal=True),
        charts.histogram('c', 'x', 'y', np.arange(99), {'median': 50.0, '99 % below': 98.0}),
        charts.scatter('d', 'x', 'y', np.arange(9), np.arange(9), ('z', np.arange(9))),
    ],
    ids=['lines', 'equal', 'histogram', 'points'],
)
def test_no_curve_runs_through_the_legend(chart: str) -> None:
    found = tree(chart)
    left, top, right, bottom = area(found)
    legend = next(one for one in found.iter(f'{SPACE}g') if one.get('class') == 'legend')
    words = list(legend.iter(f'{SPACE}text'))
    assert words
    for word in words:
        assert float(word.get('y', '')) < top, 'the legend is above the plot'
        end = float(word.get('x', '')) + 6 * len(word.text or '')
        assert end < float(found.get('width', '')), 'and fits beside each other'
    for x, y in points(found):
        assert left - 0.1 <= x <= right + 0.1
        assert top - 0.1 <= y <= bottom + 0.1
    assert float(found.get('viewBox', '').split()[-1]) > bottom


@pytest.mark.parametrize('shape', [(5.0, 1.0), (1.0, 1.0), (0.3, 4.0)])
def test_a_circle_is_round_where_axes_are_equal(shape: tuple[float, float]) -> None:
    turn = np.linspace(0, 2 * np.pi, 400)
    x, y = shape[0] * np.cos(turn), shape[1] * np.sin(turn)
    found = tree(charts.line_chart('path', 'x [m]', 'y [m]', {'path': (x, y)}, equal=True))
    width, height = np.ptp(points(found), axis=0)
    assert width / height == pytest.approx(shape[0] / shape[1], rel=0.02)


@pytest.mark.parametrize(
    ('value', 'step', 'text'),
    [
        (3 * 0.1, 0.1, '0.3'),
        (1e-5, 1e-5, '0.00001'),
        (1000.0, 200.0, '1,000'),
        (1e6, 2e5, '1,000,000'),
        (-1e-17, 0.1, '0'),
        (-0.003, 0.01, '0'),
        (-0.25, 0.05, '-0.25'),
        (2e-9, 1e-9, '2\u00d710⁻⁹'),
        (1234.5, 0.0, '1,234'),
        (0.000345, 0.0, '0.000345'),
        (12.0, 0.0, '12'),
        (0.5, 0.0, '0.5'),
        (float('nan'), 0.0, 'unknown'),
    ],
)
def test_numbers_are_written_as_people_write_them(value: float, step: float, text: str) -> None:
    assert number(value, step) == text


@pytest.mark.parametrize('span', [(0, 0.97), (0, 3e-5), (-3, 1250.0), (1e3, 1.001e3), (0, 2e7)])
def test_ticks_are_a_few_round_numbers_without_noise(span: tuple[float, float]) -> None:
    y = np.linspace(*span, 50)
    found = texts(tree(charts.line_chart('a', 'x', 'y', {'b': (y, y)})))
    assert 4 <= len(found) <= 14
    for text in found:
        assert 'e' not in text
        assert len(text.replace(',', '').strip('-')) <= 8
        float(text.replace(',', ''))


def test_ticks_of_losses_are_decades() -> None:
    curve = {'loss': (np.arange(5), np.array([3.0, 0.3, 0.03, 0.003, 0.0]))}
    found = texts(tree(charts.line_chart('loss', 'step', 'loss', curve, log=True)))
    assert found[:3] == ['0.01', '0.1', '1']
    assert log_ticks(0.3, 0.32) == ticks(10**0.3, 10**0.32, 3)[0], 'of a short span plain ones'


def test_units_follow_from_fields() -> None:
    for field, expected in (
        ('twist.linear.x', 'm/s'), ('angular.z', 'rad/s'), ('pose.pose.position.y', 'm'),
        ('drive.steering_angle', 'rad'), ('accel.linear.x', 'm/s²'), ('data[0]', ''),
        ('orientation.x', ''), ('nonlinear.x', ''),
    ):  # fmt: skip
        assert unit(field) == expected, field


def test_nothing_to_draw_is_said() -> None:
    nothing = np.zeros(0)
    for chart in (
        charts.line_chart('a', 'x', 'y', {'b': (nothing, nothing)}),
        charts.line_chart('a', 'x', 'y', {'b': (np.ones(3), np.full(3, np.nan))}),
        charts.histogram('a', 'x', 'y', nothing, {'median': 0.0}),
    ):
        assert 'no data' in chart
        assert 'nan' not in chart


def test_names_of_a_bag_are_escaped_and_cut() -> None:
    name = '</text><script>alert(1)</script>' + 200 * 'x'
    x = np.arange(3)
    for chart in (
        charts.line_chart(name, name, name, {name: (x, x)}, marks={name: 1.0}),
        charts.scatter(name, name, name, x, x, (name, x)),
        charts.bars(name, name, name, x[:2], x, {name: 1.0}),
    ):
        assert '<script' not in chart
        longest = max(len(one.text or '') for one in tree(chart).iter(f'{SPACE}text'))
        assert longest < 70
