"""Where Bedrock's models are asked."""

from typing import Annotated, Final

from msgspec import Meta

BEDROCK: Final = "https://bedrock-runtime.{region}.amazonaws.com"
Region = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,30}$(?!\n)", description="Where the model is asked.")]
