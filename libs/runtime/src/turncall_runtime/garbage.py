"""Python's collector of reference cycles, kept from looking through what a process holds for good."""

import gc
from typing import Final

YOUNG: Final = 10_000
"""How many more objects than were freed make a look at the young ones worth while; Python's own figure is 700."""


def spare_the_lasting() -> None:
    """Takes all that is alive out of the collector's sight. Call it once a process is ready to serve.

    What the frameworks made at the start is never garbage, and looking through it holds everything else up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
