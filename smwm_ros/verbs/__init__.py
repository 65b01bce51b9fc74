# SPDX-License-Identifier: Apache-2.0
"""The verbs of the command line: each wires rooms together and holds no mathematics."""
