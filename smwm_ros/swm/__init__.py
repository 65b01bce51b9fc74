# SPDX-License-Identifier: Apache-2.0
"""
The environments of stable-worldmodel; the only room that imports that package.

PlannerPolicy and CostModel also serve its users: World.set_policy(PlannerPolicy(run)) and
CEMSolver(CostModel(run)).

Read in this order: environments, installed, recorder, observations, policy, cost_model, judge.
"""
