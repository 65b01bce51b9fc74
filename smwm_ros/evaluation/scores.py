# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation, as tables and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

from smwm_ros.evaluation.closed_loop import Outcome, summarise
from smwm_ros.evaluation.methods import WHOLE
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.statistics import compare
from smwm_ros.text import count_of

MARK = '*'  # of methods whose training used the measured state
MARKED = (
    f'{MARK} trained with the measured state: an upper reference, because the other models learn '
    'from images and actions alone'
)
USUAL, STRICT = 'usual', 'strict'  # judgements
BETTER, WORDS = 'is better by', ('shift', 'judgement')  # heads of columns of words
FEW_EPISODES = 10  # below which a note says what p can be
FEW_STARTS = 0.5  # share of frames that may be starts below which a note says so


class Judged(NamedTuple):
    """The outcomes of each method by one judgement; all pairs once for each repeat."""

    outcomes: dict[str, list[Outcome]]
    pairs: int  # tried

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the success of each method, with its interval."""
        return {
            name: summarise(outcomes, len(outcomes) // self.pairs)
            for name, outcomes in self.outcomes.items()
        }

    def compared(self) -> dict[str, dict[str, Any]]:
        """Compare the first method with each other one, pair by pair; repeats do not count."""
        once = {name: outcomes[: self.pairs] for name, outcomes in self.outcomes.items()}
        tried = {name: [one.success for one in outcomes] for name, outcomes in once.items()}
        first, *others = tried
        episodes = [one.episode for one in once[first]]
        return {name: compare(tried[first], tried[name], episodes)._asdict() for name in others}


class Round(NamedTuple):
    """The same pairs, tried with each method under the same conditions."""

    offset: int  # raw steps between start and goal
    budget: int
    shift: str  # '' for the arena as it is
    pairs: list[Pair]
    outcomes: dict[str, list[Outcome]]  # of each method; all pairs once for each repeat
    # The tolerances of a strict judgement in words, '' without one. It has pairs of its own: the
    # pairs after the first `asked` ones replace those that are solved at the start.
    strict: str = ''
    asked: int = 0  # 0 for all
    state_trained: frozenset[str] = frozenset()  # methods whose training used the measured state
    starts: float = 1.0  # share of the frames of all episodes that may be starts
    object: str = ''  # that alone counts, '' where the whole goal counts

    @property
    def title(self) -> str:
        """Return the conditions of this round in words."""
        words = f'goals {self.offset} raw steps away, {self.budget} to get there'
        words = f'{words}, the {self.object} alone' if self.object else words
        return f'{words}, {self.shift} shifted' if self.shift else words

    def usual(self) -> Judged:
        """Return the outcomes by the protocol of the paper."""
        asked, every = self.asked or len(self.pairs), len(self.pairs)
        return Judged(
            {
                name: [one for at, one in enumerate(outcomes) if at % every < asked]
                for name, outcomes in self.outcomes.items()
            },
            asked,
        )

    def strictly(self) -> Judged:
        """Return the outcomes by the strict judgement, without pairs solved at the start."""
        kept = {
            name: [one.strictly() for one in outcomes if not one.solved_at_start]
            for name, outcomes in self.outcomes.items()
        }
        first = next(iter(self.outcomes.values()))[: len(self.pairs)]
        return Judged(kept, sum(not one.solved_at_start for one in first))

    def judged(self) -> dict[str, Judged]:
        """Return the judgements that this round has, by their names."""
        strict = {STRICT: self.strictly()} if self.strict else {}
        return {USUAL: self.usual(), **strict}

    def shown(self, name: str) -> str:
        """Return the name of a method as tables show it."""
        return f'{name}{MARK}' if name in self.state_trained else name


def plain(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return rounds as plain data for JSON, with the outcome of every attempt."""
    return [_plain(one) for one in rounds]


def _plain(one: Round) -> dict[str, Any]:
    """Return a round as plain data."""
    usual = one.usual()
    found: dict[str, Any] = {
        'offset': one.offset,
        'budget': one.budget,
        'shift': one.shift,
        'share_of_frames_that_may_be_starts': one.starts,
        'object': one.object,
        'state_trained': sorted(one.state_trained),
        'pairs_of_the_usual_protocol': usual.pairs,  # the first ones
        'pairs': [{'start': p.start_row, 'goal': p.goal_row} for p in one.pairs],
        'results': {
            name: {**result, 'outcomes': [o._asdict() for o in one.outcomes[name]]}
            for name, result in usual.results().items()
        },
        'compared': usual.compared(),
    }
    if one.strict:
        judged = one.strictly()
        found['strict'] = {
            'tolerances': one.strict,
            'pairs': judged.pairs,
            'results': judged.results(),
            'compared': judged.compared(),
        }
    return found


def cells(one: Round, judgement: str) -> list[list[str]]:
    """Return the rows of a table of all methods, its head first."""
    judged = one.judged()[judgement]
    compared = judged.compared()
    first = next(iter(judged.outcomes))
    rows = [['', 'success', '95 % interval', 'without solved', 'median steps']]
    rows[0].append(f'{one.shown(first)} {BETTER} (95 %)')
    for name, result in judged.results().items():
        low, high = result['interval']
        rest, steps = result['success_without_solved'], result['median_steps']
        rows.append(
            [
                one.shown(name),
                f'{result["success"]:.1%}',
                f'{low:.1%} to {high:.1%}',
                '-' if rest is None else f'{rest:.1%}',
                '-' if steps is None else f'{steps:g}',
                difference(compared[name]) if name in compared else '',
            ]
        )
    if judgement == STRICT:  # no pair is solved at the start
        rows = [[*row[:3], *row[4:]] for row in rows]
    return rows


def notes(one: Round, judgement: str) -> list[str]:
    """Return what a reader must know of a table."""
    judged = one.judged()[judgement]
    first = next(iter(judged.outcomes.values()))[: judged.pairs]
    pairs, episodes = count_of(judged.pairs, 'pair'), len({outcome.episode for outcome in first})
    lines = [
        f'The {pairs} come from {count_of(episodes, "episode")}; intervals and p count episodes, '
        'because pairs of one episode are correlated.'
    ]
    if episodes < FEW_EPISODES:
        lines.append(
            f'So few allow no p below {2 * 0.5**episodes:.2g}, and make intervals too narrow; '
            'evaluate on more held-out episodes, or on --fresh ones with more evaluate.pairs.'
        )
    if judgement == STRICT:
        further = len(one.pairs) - one.asked
        lines.append(
            f'None is solved at the start; further pairs drawn instead: {further}. Each axis by '
            f'itself must be within its tolerance: {one.strict}.'
        )
    else:
        solved = sum(outcome.solved_at_start for outcome in first)
        lines.append(f'Solved at the start: {solved} of {pairs}.')
    if one.object:
        lines.append(
            f'Only where the {one.object} is counts. Goal pictures show the robot at a random '
            f'place; all methods but {WHOLE} have a mask of the {one.object} with them.'
        )
    if one.starts < FEW_STARTS:
        lines.append(
            f'Only the first {one.starts:.0%} of the frames can be starts, because the goal is '
            f'{one.offset} raw steps later in the same episode; longer episodes have more.'
        )
    return lines + ([f'{MARKED}.'] if one.state_trained else [])


def table(one: Round) -> str:
    """Return a table with the success of each method, by each judgement."""
    lines = list[str]()
    for judgement in one.judged():
        if one.strict:
            lines.append(f'{judgement} judgement:')
        lines += [*_aligned(cells(one, judgement)), *notes(one, judgement)]
    return '\n'.join(lines)


def difference(found: Mapping[str, Any]) -> str:
    """Return in words how much better the first of two methods is [percentage points]."""
    low, high = (100 * bound for bound in found['interval'])
    return f'{100 * found["difference"]:+.0f} ({low:+.0f} to {high:+.0f}), p {found["p"]:.2g}'


def sweep(rounds: Sequence[Round]) -> str:
    """Return one line for each round and judgement, and one column for each method."""
    names = list(rounds[0].outcomes)
    rows = [['shift', 'judgement', 'offset', 'budget', *map(rounds[0].shown, names)]]
    for one in rounds:
        for judgement, judged in one.judged().items():
            row = [one.shift or '-', judgement, str(one.offset), str(one.budget)]
            for result in judged.results().values():
                low, high = result['interval']
                row.append(f'{result["success"]:.0%} ({low:.0%}-{high:.0%})')
            rows.append(row)
    needed = [any(one.shift for one in rounds), any(one.strict for one in rounds)]
    needed += [True] * (len(rows[0]) - len(needed))
    return '\n'.join(_aligned([list(compress(row, needed)) for row in rows]))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; numbers are aligned to the right."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ['<' if not head or head in WORDS or BETTER in head else '>' for head in rows[0]]
    return [
        '   '.join(
            f'{cell:{side}{size}}' for cell, side, size in zip(row, sides, wide, strict=True)
        ).rstrip()
        for row in rows
    ]
