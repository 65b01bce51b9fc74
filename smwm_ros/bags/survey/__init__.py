# SPDX-License-Identifier: Apache-2.0
"""
Describe the content of a bag, and propose a configuration that converts it.

Read in this order: survey, scan, delay, propose, merge, traffic.
"""
