# SPDX-License-Identifier: Apache-2.0
"""
Actions for recordings without commands: inferred by a latent-action model, or asked of people.

Read in this order: moments, latent_reading, pseudo_actions, questions, contact_sheet, answers.
"""
