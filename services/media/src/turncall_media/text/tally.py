"""What asking models took."""

from turncall_proto.job import ModelUse


class Tally:
    """What a job used of models, also when it fails.

    ``is_repeat``: somebody began with the job before, and may have died over it.
    """

    def __init__(self, *, is_repeat: bool = False) -> None:
        self.is_repeat = is_repeat
        self._used: list[ModelUse] = []

    def add(self, used: ModelUse) -> None:
        """Counts one more answer of a model."""
        self._used.append(used)

    @property
    def used(self) -> tuple[ModelUse, ...]:
        """One entry for each model."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for use in self._used:
            read, written = sums.get((use.vendor, use.model), (0, 0))
            sums[use.vendor, use.model] = (read + use.input_tokens, written + use.output_tokens)
        return tuple(
            ModelUse(vendor=vendor, model=model, input_tokens=read, output_tokens=written)
            for (vendor, model), (read, written) in sums.items()
        )
