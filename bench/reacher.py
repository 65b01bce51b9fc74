# SPDX-License-Identifier: Apache-2.0
"""
Measure what driving and training are good for with a reaching arm of two links.

Beside the success stand other kinds of model, the planner of the paper, chance and the scripted
expert, all on the same pairs.
"""

from common import main
from parts.success import measure

if __name__ == '__main__':
    main(lambda quick: measure('reacher', quick), __doc__)
