# SPDX-License-Identifier: Apache-2.0
"""
What a model is worth: closed loop, probes, statistics, verdict.

Read in this order: closed_loop, pairs, agents, methods, scores, statistics, examine, probes,
verdict, replay, agreement.
"""
