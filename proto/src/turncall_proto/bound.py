"""Arguments of tools that the platform sets, so that no caller can talk a model into others."""

from typing import Annotated

from msgspec import Meta

BoundText = Annotated[
    str, Meta(min_length=1, max_length=1000, description="Sent as it is once {{name}} and {{call.…}} are filled in.")
]
Bound = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=128)], BoundText],
    Meta(
        max_length=20,
        description="Arguments that we set and the model neither sees nor sets: who is calling, which account. While "
        "one of them is empty, as the number of a caller who withholds it, the tool is not used.",
    ),
]
