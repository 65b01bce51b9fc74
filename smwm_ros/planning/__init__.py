# SPDX-License-Identifier: Apache-2.0
"""
Planning: from an image and a goal image to actions.

Read in this order: pilot, image_history, planner, search, solvers, noise, costs, bounds,
latent_space, guides, roadmap, actor_rollout, goal_network, policy, time_to_go, support, retrieval,
drives, goal_states, masked_goals, predicted_path, frame_bank.
"""
