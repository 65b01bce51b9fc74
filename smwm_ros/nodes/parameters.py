# SPDX-License-Identifier: Apache-2.0
"""Declare every knob as a typed, described and bounded ROS parameter, and check changes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter
from smwm_ros.errors import SmwmError
from smwm_ros.load import build, Knob, knobs, merge, to_dict

T = TypeVar('T')
_SCALARS = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_ARRAYS = {
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}
_REASON = 2000  # longest reason for a refused parameter [characters]


def parameter_type(kind: Any) -> Parameter.Type:
    """Return the ROS type of a knob's Python type."""
    return _ARRAYS[get_args(kind)[0]] if get_origin(kind) is tuple else _SCALARS[kind]


def given(node: Node, section: str) -> dict[str, Any]:
    """Return the values of a section from command line and files, as nested plain data."""
    # rclpy has no public access to values of parameters that are not declared yet.
    overrides: Mapping[str, Parameter] = node._parameter_overrides
    data: dict[str, Any] = {}
    for name, parameter in overrides.items():
        if name.startswith(f'{section}.'):
            data = merge(data, _nested(name.removeprefix(f'{section}.'), parameter.value))
    return data


def read_knobs(
    node: Node,
    section: str,
    schema: type[T],
    defaults: T | None = None,
    changed: Mapping[str, Any] | None = None,  # values set since the start, as nested plain data
) -> T:
    """Build a section from the given values over the defaults, or raise with all mistakes."""
    base = {} if defaults is None else to_dict(defaults)
    return _build(section, schema, merge(merge(base, given(node, section)), changed or {}))


def declare_knobs(node: Node, section: str, values: Any) -> None:
    """Declare every knob of a section as a parameter with its value."""
    for knob in knobs(type(values)):
        name = f'{section}.{knob.path}'
        value = _look_up(values, knob.path)
        if node.has_parameter(name):  # the node is configured again
            plain = list(value) if isinstance(value, tuple) else value
            # rclpy refuses changes of read-only parameters, even from the node itself.
            node._parameters[name] = Parameter(name, parameter_type(knob.kind), plain)
        else:
            _declare(node, name, knob, value)


def _declare(node: Node, name: str, knob: Knob, value: Any) -> None:
    """Declare one parameter; its value includes overrides, which the schema has checked."""
    descriptor = describe(knob)
    if value != ():
        plain = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(name, plain, descriptor, ignore_override=True)
        return
    # rclpy cannot infer the type of an empty list, so the type is declared first.
    kind = parameter_type(knob.kind)
    writable = ParameterDescriptor(type=kind.value)
    node.declare_parameter(name, kind, writable, ignore_override=True)
    node.set_parameters([Parameter(name, kind, [])])
    node.set_descriptor(name, descriptor)


def describe(knob: Knob) -> ParameterDescriptor:
    """Return the descriptor of a knob: type, meaning, bounds and choices."""
    descriptor = ParameterDescriptor(
        type=parameter_type(knob.kind).value,
        description=knob.help,
        read_only=not knob.live,
        additional_constraints=f'one of {", ".join(knob.choices)}' if knob.choices else '',
    )
    if knob.low is not None and knob.high is not None:
        if get_origin(knob.kind) is tuple:  # ROS has no ranges for lists
            descriptor.additional_constraints = f'each from {knob.low} to {knob.high}'
        elif knob.kind is int:
            descriptor.integer_range = [
                IntegerRange(from_value=int(knob.low), to_value=int(knob.high), step=1)
            ]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(knob.low), to_value=float(knob.high))
            ]
    return descriptor


class LiveKnobs:
    """Sections whose live knobs may change while the node runs; a request changes all or none."""

    def __init__(
        self,
        node: Node,
        check: Callable[[str, Any], None],  # raises SmwmError to refuse a change
        changed: Callable[[str, Any], None],
    ) -> None:
        self._sections: dict[str, Any] = {}
        self._changes: dict[str, dict[str, Any]] = {}
        self._check = check
        self._changed = changed
        # rclpy refuses wrong types, values out of range and read-only parameters.
        node.add_on_set_parameters_callback(self._on_set)

    def add(self, section: str, values: Any) -> None:
        """Accept changes of a section from now on."""
        self._sections[section] = values

    def current(self, section: str) -> Any:
        """Return the current values of a section."""
        return self._sections[section]

    def changes(self, section: str) -> Mapping[str, Any]:
        """Return the values of a section set since the start; they hold for later checkpoints."""
        return self._changes.get(section, {})

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Check a request as a whole, then apply each section that it changes."""
        changed: dict[str, dict[str, Any]] = {}
        for parameter in parameters:
            section, _, path = parameter.name.partition('.')
            if section in self._sections and path:
                nested = _nested(path, parameter.value)
                changed[section] = merge(changed.get(section, {}), nested)
        try:
            built = {
                section: _build(
                    section,
                    type(self._sections[section]),
                    merge(to_dict(self._sections[section]), data),
                )
                for section, data in changed.items()
            }
            for section, values in built.items():
                self._check(section, values)
        except SmwmError as error:
            return SetParametersResult(successful=False, reason=str(error)[:_REASON])
        self._changes = merge(self._changes, changed)
        for section, values in built.items():
            if values != self._sections[section]:
                self._sections[section] = values
                self._changed(section, values)
        return SetParametersResult(successful=True)


def _build(section: str, schema: type[T], data: Mapping[str, Any]) -> T:
    """Build a section; errors name the ROS parameters."""
    return build(schema, data, f'parameters of {section}')


def _nested(path: str, value: Any) -> dict[str, Any]:
    """Turn 'camera.topic' and a parameter's value into nested plain data."""
    if value is None:  # an empty list in YAML has neither type nor value
        value = []
    data: Any = list(value) if isinstance(value, (array, list, tuple)) else value
    for name in reversed(path.split('.')):
        data = {name: data}
    nested: dict[str, Any] = data
    return nested


def _look_up(values: Any, path: str) -> Any:
    """Return the value at a dotted path."""
    for name in path.split('.'):
        values = getattr(values, name)
    return values
