# SPDX-License-Identifier: Apache-2.0
"""
Drive an arena and record it.

Read in this order: record, pool, fresh.
"""
