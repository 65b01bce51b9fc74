# SPDX-License-Identifier: Apache-2.0
"""How hard property tests look: at the same examples each time, or at many new ones."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

_USUAL = 100  # examples of a test that asks for no other number
# A loaded machine must not fail a test.
_always: dict[str, Any] = {'deadline': None, 'suppress_health_check': [HealthCheck.too_slow]}
# A failure must come again, and `make explore` must find new ones: each profile says which, as
# Hypothesis's own default differs where the variable CI is set.
settings.register_profile('here', derandomize=True, max_examples=_USUAL, **_always)
settings.register_profile(
    'explore', derandomize=False, max_examples=10 * _USUAL, print_blob=True, **_always
)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'here'))


def examples(count: int) -> settings:
    """Let a test look at another number of examples; explore multiplies that, too."""
    assert settings.default is not None
    return settings(max_examples=count * settings.default.max_examples // _USUAL)
