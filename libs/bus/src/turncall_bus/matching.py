"""Which subjects a filter covers, by the rules of NATS (https://docs.nats.io/nats-concepts/subjects)."""


def matches(pattern: str, subject: str) -> bool:
    """Whether ``subject`` falls under ``pattern``: ``*`` stands for one token, a last ``>`` for one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)
