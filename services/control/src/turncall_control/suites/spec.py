"""What a run needs of a suite, and of whoever asks for it: one shape for columns, requests and runs."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_proto.agent import VendorRef
from turncall_proto.scenario import Scenario


class SuiteSpec(Struct, frozen=True, kw_only=True):
    """What a run needs of a suite."""

    judge: VendorRef | None
    scenarios: tuple[Scenario, ...]

    def __post_init__(self) -> None:
        names = [scenario.name for scenario in self.scenarios]
        if len(names) != len(set(names)):
            raise ValueError("scenarios must have distinct names")


class Tries(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a suite is tried, and how often."""

    scenarios: Annotated[
        tuple[str, ...], Meta(max_length=100, description="Only those of these names; empty: all.", examples=[[]])
    ] = ()
    repeats: Annotated[int, Meta(ge=1, le=50, description="How often each scenario's conversation is had.")] = 1
    at_once: Annotated[int, Meta(ge=1, le=20, description="Conversations side by side.")] = 4
