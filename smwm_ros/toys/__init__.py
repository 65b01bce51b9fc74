# SPDX-License-Identifier: Apache-2.0
"""
Toy worlds: drawings with a known number of controllable dimensions.

Read in this order: worlds, dots, arrow, study, judge, decoder.
"""
