# SPDX-License-Identifier: Apache-2.0
"""
Evaluation of models: in closed loop, by probes and by statistics, and the verdict.

Read in this order: closed_loop, pairs, agents, methods, planner_choice, scores, statistics,
examine, probes, verdict, fit_to_images, calibration, executed_motion, command_response, preflight,
replay, agreement, latent_actions, transitions, acceptance, map_decoder, latent_report,
latent_sweep.
"""
