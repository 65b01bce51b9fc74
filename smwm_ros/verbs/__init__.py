# SPDX-License-Identifier: Apache-2.0
"""
The verbs of the command line, one file each; they connect rooms and hold no mathematics.

Read in this order: options, inspect, inspect_run, convert, view, train, evaluate, demo, rehearsal,
collect, prepare, replay, goals, goal, engage, stop, status, import, import_model, export,
export_model, toy, bench.
"""
