"""What a call brings along: variables that stand in the agent's texts, and the user's own marks."""

from typing import Annotated, Final

from msgspec import Meta

from turncall_proto.marks import PERSONAL

VariableName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$(?!\n)", description="A word, 64 letters at most.")
]
VariableText = Annotated[str, Meta(max_length=1000)]
Variables = Annotated[
    dict[VariableName, VariableText],
    Meta(max_length=50, description="What stands for {{name}} in the agent's texts."),
    PERSONAL,
]
"""Up to 50 KB of text: what a plan may spend of the 256 KiB that the bus carries."""

MOST_METADATA: Final = 50
MetadataKey = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$(?!\n)")]
MetadataText = Annotated[str, Meta(max_length=500)]
Metadata = Annotated[
    dict[MetadataKey, MetadataText],
    Meta(
        max_length=MOST_METADATA,
        description="The user's own marks on a call; calls are searched by them, agents do not see them.",
    ),
]
"""Flat and textual, so that one index answers every search for ``key=value``."""
