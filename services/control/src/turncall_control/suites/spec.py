"""What a run needs of a suite: one shape for the suite's column and the run's."""

from msgspec import Struct

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
