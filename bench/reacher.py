# SPDX-License-Identifier: Apache-2.0
"""
Measure the closed-loop success of a reaching arm of two links.

The rows also cover other kinds of model, the planner of the paper, a random policy and the
scripted expert. All try the same pairs.
"""

from common import main
from parts.success import measure

if __name__ == '__main__':
    main(lambda quick: measure('reacher', quick), __doc__)
