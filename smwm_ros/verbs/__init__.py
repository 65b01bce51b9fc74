# SPDX-License-Identifier: Apache-2.0
"""
The commands of `smwm`, one file each: they parse arguments, call the rooms and print results.

Read in this order: options, record, inspect, inspect_run, convert, view, train, fine_tuning,
planner_choice, label, evaluation_pairs, swm_evaluate, evaluate, lam_report, check, topic_checks,
live, adapt, demo, demo_video, rehearsal, rehearse, swm_collect, collect, prepare, replay, goals,
goal, engage, stop, status, watch, import, import_model, export, export_model, toy, bench, doctor.
"""
