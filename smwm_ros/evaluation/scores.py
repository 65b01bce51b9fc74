# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation, as tables and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smwm_ros.evaluation.closed_loop import Outcome, summarise
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.statistics import compare
from smwm_ros.text import count_of


class Round(NamedTuple):
    """The same pairs, tried with each method under the same conditions."""

    offset: int  # raw steps between start and goal
    budget: int
    shift: str  # '' for the arena as it is
    pairs: list[Pair]
    outcomes: dict[str, list[Outcome]]  # of each method; all pairs once for each repeat

    @property
    def title(self) -> str:
        """Return the conditions of this round in words."""
        words = f'goals {self.offset} raw steps away, {self.budget} to get there'
        return f'{words}, {self.shift} shifted' if self.shift else words

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the success of each method, with its interval."""
        return {
            name: summarise(outcomes, len(outcomes) // len(self.pairs))
            for name, outcomes in self.outcomes.items()
        }

    def compared(self) -> dict[str, dict[str, Any]]:
        """Compare the first method with each other one, pair by pair."""
        tried = {
            name: [outcome.success for outcome in outcomes[: len(self.pairs)]]
            for name, outcomes in self.outcomes.items()
        }
        first, *others = tried
        return {name: compare(tried[first], tried[name])._asdict() for name in others}


def plain(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return rounds as plain data for JSON, with the outcome of every attempt."""
    return [
        {
            'offset': one.offset,
            'budget': one.budget,
            'shift': one.shift,
            'pairs': [{'start': p.start_row, 'goal': p.goal_row} for p in one.pairs],
            'results': {
                name: {**result, 'outcomes': [o._asdict() for o in one.outcomes[name]]}
                for name, result in one.results().items()
            },
            'compared': one.compared(),
        }
        for one in rounds
    ]


def table(one: Round) -> str:
    """Return a table with the success of each method."""
    results, compared = one.results(), one.compared()
    first = next(iter(results))
    wide = max(len(name) for name in results)
    lines = [
        f'{"":<{wide}}  success   95 % interval   without solved   median steps   '
        f'{first} is better by (95 %)'
    ]
    for name, result in results.items():
        low, high = result['interval']
        rest, steps = result['success_without_solved'], result['median_steps']
        line = (
            f'{name:<{wide}}  {result["success"]:7.1%}   {low:5.1%} to {high:6.1%}   '
            f'{"-" if rest is None else format(rest, ".1%"):>14}   '
            f'{"-" if steps is None else format(steps, "g"):>12}'
        )
        if name in compared:
            line += f'   {difference(compared[name])}'
        lines.append(line.rstrip())
    solved = sum(outcome.solved_at_start for outcome in one.outcomes[first])
    lines.append(f'Solved at the start: {solved} of {count_of(len(one.pairs), "pair")}.')
    return '\n'.join(lines)


def difference(found: Mapping[str, Any]) -> str:
    """Return in words how much better the first of two methods is [percentage points]."""
    low, high = (100 * bound for bound in found['interval'])
    return f'{100 * found["difference"]:+.0f} ({low:+.0f} to {high:+.0f}), p {found["p"]:.2g}'


def sweep(rounds: Sequence[Round]) -> str:
    """Return one line for each round and one column for each method."""
    names = list(rounds[0].outcomes)
    wide = max(len(one.shift) for one in rounds)
    head = f'{"shift":<{wide}}  ' if wide else ''
    lines = [f'{head}offset  budget  ' + '  '.join(f'{name:>{_cell(name)}}' for name in names)]
    for one in rounds:
        results = one.results()
        head = f'{one.shift or "-":<{wide}}  ' if wide else ''
        cells = []
        for name in names:
            low, high = results[name]['interval']
            cell = f'{results[name]["success"]:.0%} ({low:.0%}-{high:.0%})'
            cells.append(f'{cell:>{_cell(name)}}')
        lines.append(f'{head}{one.offset:6}  {one.budget:6}  ' + '  '.join(cells))
    return '\n'.join(lines)


def _cell(name: str) -> int:
    """Return the width of a column."""
    return max(len(name), len('100% (100%-100%)'))
