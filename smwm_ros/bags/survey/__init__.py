# SPDX-License-Identifier: Apache-2.0
"""
What a recording holds, and the configuration that would convert it.

Read in this order: survey, scan, delay, propose, merge.
"""
