# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found, as tables for people and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smwm_ros.evaluation.closed_loop import Outcome, summarise
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.statistics import compare
from smwm_ros.text import count_of


class Round(NamedTuple):
    """The same pairs, tried by everyone under the same conditions."""

    offset: int  # raw steps between start and goal
    budget: int
    shift: str  # '' for the arena as it is
    pairs: list[Pair]
    outcomes: dict[str, list[Outcome]]  # of each method; pairs again and again where tried often

    @property
    def title(self) -> str:
        """Say what is particular about this round."""
        words = f'goals {self.offset} raw steps away, {self.budget} to get there'
        return f'{words}, {self.shift} shifted' if self.shift else words

    def results(self) -> dict[str, dict[str, Any]]:
        """Return success with its interval of every method."""
        return {
            name: summarise(outcomes, len(outcomes) // len(self.pairs))
            for name, outcomes in self.outcomes.items()
        }

    def compared(self) -> dict[str, dict[str, Any]]:
        """Return how the first method differs from each other one, pair by pair."""
        tried = {
            name: [outcome.success for outcome in outcomes[: len(self.pairs)]]
            for name, outcomes in self.outcomes.items()
        }
        first, *others = tried
        return {name: compare(tried[first], tried[name])._asdict() for name in others}


def plain(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return rounds as JSON takes them, with the outcome of every attempt."""
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
    """Return the success of every method in lines that stand below each other."""
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
    """Say how much better the first of two is, in points of a hundred."""
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
