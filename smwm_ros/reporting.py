# SPDX-License-Identifier: Apache-2.0
"""
How long computations report their progress: to a bar that the caller passes.

Verbs pass show_progress of progress.py; without one, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

ShowProgress: TypeAlias = Callable[..., Any]  # items and the keywords of tqdm -> a bar


class NoProgress:
    """Stands in for a bar, and shows nothing."""

    def __init__(self, items: Iterable[Any] = (), *, total: int = 0, **looks: object) -> None:
        self._items, self.total = items, total

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the items."""
        return iter(self._items)

    def __enter__(self) -> NoProgress:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """End."""

    def update(self, steps: int = 1) -> None:
        """Count steps."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Set the text after the bar."""
