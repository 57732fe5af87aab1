"""What all tests share."""

import os

from hypothesis import settings

# A failure prints how to replay it. In CI the examples are the same each time: a submission is not refused
# for a draw of the dice, and everybody's own runs go on searching.
settings.register_profile("gate", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("gate")
