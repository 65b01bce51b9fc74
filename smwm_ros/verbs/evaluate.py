# SPDX-License-Identifier: Apache-2.0
"""
Measure how often a checkpoint reaches its goals in an arena.

Start and goal are two frames of a held-out episode. Planner, random policy and scripted expert
try the same pairs, within the same budget of raw steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from smwm_ros.verbs import options

EXAMPLE = 'smwm evaluate runs/two_room --data data/two_room evaluate.pairs=100'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('checkpoint', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument('--data', type=Path, required=True, help='dataset folder with the pairs')
    parser.add_argument('--arena', default='two_room', help='which arena (two_room)')
    parser.add_argument('--out', type=Path, help='JSON file to write (RUN/evaluate.json)')
    options.add_config(parser, ('evaluate', 'planner'))


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from smwm_ros.arenas import make_arena, require_arena, require_fit
    from smwm_ros.core.checkpoint import load, require, write_atomic
    from smwm_ros.core.dataset import TransitionDataset
    from smwm_ros.core.evaluate import draw_pairs, evaluate
    from smwm_ros.load import to_dict

    require_arena(args.arena)
    checkpoint = load(args.checkpoint)
    config = options.config_of(args, {'planner': to_dict(checkpoint.planner)})
    dataset = TransitionDataset.open(args.data)
    info = dataset.info
    require(checkpoint, str(args.data), info.spec.size, info.spec.dt, info.image_size)
    if dataset.fingerprint != checkpoint.info['dataset']:
        print('note: the checkpoint was trained on another dataset than --data')
    pairs = draw_pairs(dataset, config.evaluate)
    arena = make_arena(args.arena, checkpoint.image_size)
    try:
        require_fit(arena, checkpoint.robot)
        results = evaluate(checkpoint, arena, pairs, config.planner, config.evaluate)
    finally:
        arena.close()
    out = args.out or args.checkpoint / 'evaluate.json'
    settings = {
        'checkpoint': str(args.checkpoint),
        'dataset': dataset.fingerprint,
        'arena': args.arena,
        'evaluate': to_dict(config.evaluate),
        'planner': to_dict(config.planner),
    }
    write_atomic(out, json.dumps({**settings, 'results': results}, indent=1).encode())
    print(table(results))
    print(f'The outcome of every attempt is in {out}.')
    return 0


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return success in lines that stand below each other."""
    lines = ['                success   95 % interval   without solved   median steps']
    for name, result in results.items():
        low, high = result['interval']
        rest, steps = result['success_without_solved'], result['median_steps']
        lines.append(
            f'{name:<14}  {result["success"]:7.1%}   {low:5.1%} to {high:6.1%}   '
            f'{"-" if rest is None else format(rest, ".1%"):>14}   '
            f'{"-" if steps is None else format(steps, "g"):>12}'
        )
    planner = results['planner']
    last = f'{planner["solved_at_start"]} of {planner["attempts"]} pairs are solved at the start'
    if times := planner.get('plan_ms'):
        last += f'; a plan takes {times["median"]:.1f} ms (p99 {times["p99"]:.1f})'
    lines.append(f'{last}.')
    return '\n'.join(lines)
