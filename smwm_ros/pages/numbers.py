# SPDX-License-Identifier: Apache-2.0
"""Numbers on pages as people write them: 0.1, 1,000, powers of ten, in named units."""

from __future__ import annotations

import math

_DIGITS = 3  # of a number that stands alone
_SMALL, _LARGE = 1e-5, 1e9  # beyond these a power of ten reads better than zeros
_RAISED = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')
# Units of fields by how their names end; a quaternion has none.
_UNITS = {
    'accel.linear.x': 'm/s²', 'accel.linear.y': 'm/s²', 'accel.linear.z': 'm/s²',
    'linear.x': 'm/s', 'linear.y': 'm/s', 'linear.z': 'm/s',
    'angular.x': 'rad/s', 'angular.y': 'rad/s', 'angular.z': 'rad/s',
    'linear_acceleration.x': 'm/s²', 'linear_acceleration.y': 'm/s²',
    'linear_acceleration.z': 'm/s²',
    'position.x': 'm', 'position.y': 'm', 'position.z': 'm',
    'steering_angle': 'rad', 'steering_angle_velocity': 'rad/s', 'speed': 'm/s',
    'acceleration': 'm/s²',
}  # fmt: skip


def number(value: float, step: float = 0.0) -> str:
    """Write a number to the places of a step between such numbers, or to some digits."""
    if not math.isfinite(value):
        return 'unknown'
    if value == 0 or abs(value) < step / 2:
        return '0'
    places = -_decade(step) if step else _DIGITS - 1 - _decade(value)
    if not 0.999 * _SMALL <= abs(value) < _LARGE:
        return _power(value)
    text = f'{value:,.{max(places, 0)}f}'
    return text.rstrip('0').rstrip('.') if '.' in text and not step else text


def ticks(low: float, high: float, count: int = 5) -> tuple[list[float], float]:
    """Return round numbers within a span, about so many, and the step between them."""
    rough = (high - low) / count
    decade = 10.0 ** _decade(rough)
    step = decade * next(nice for nice in (1, 2, 5, 10) if nice * decade >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [at * step for at in range(first, last + 1)], step


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten: decades, and parts of few of them."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    nice = (1, 2, 5) if high - low < 2 else (1,)
    every = -(-len(decades) // 7)
    found = [part * 10.0**power for power in decades[::every] for part in nice]
    inside = [at for at in found if low - 1e-9 <= math.log10(at) <= high + 1e-9]
    return inside if len(inside) > 1 else ticks(10.0**low, 10.0**high, 3)[0]


def unit(field: str) -> str:
    """Return the unit that ROS gives to a field by its name, nothing where it gives none."""
    return next((unit for end, unit in _UNITS.items() if f'.{field}'.endswith(f'.{end}')), '')


def with_unit(field: str) -> str:
    """Return the name of a field with its unit, if it has one."""
    return f'{field} [{unit(field)}]' if unit(field) else field


def _decade(value: float) -> int:
    """Return the power of ten of the first digit."""
    return math.floor(math.log10(abs(value)) + 1e-9)


def _power(value: float) -> str:
    """Write a number with a power of ten."""
    power = _decade(value)
    head = f'{value / 10.0**power:.{_DIGITS - 1}f}'.rstrip('0').rstrip('.')
    return f'{head}\u00d710{str(power).translate(_RAISED)}'
