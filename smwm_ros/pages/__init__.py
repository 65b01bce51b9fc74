# SPDX-License-Identifier: Apache-2.0
"""Pages for people: charts, films, and the index of a folder."""
