# SPDX-License-Identifier: Apache-2.0
"""
From images and a goal to actions.

Read in this order: pilot, planner, search, solvers, noise, costs, bounds, guides, roadmap, policy,
drives, frame_bank.
"""
