"""What can be wrong with an MCP server. Messages are for the agent's author: no answer's body, no address."""

from mcp.shared.exceptions import MCPError

from turncall_egress import EgressError


class ServerAway(Exception):
    """There is no connection to the server."""


def reason(error: BaseException) -> str:
    """Why a connection failed, out of the groups and chains in which tasks fail."""
    leaves = _leaves(error)
    match next((leaf for leaf in leaves if isinstance(leaf, EgressError | ServerAway)), leaves[0]):
        case EgressError() | ServerAway() as known:
            return str(known)
        case MCPError(code=code):
            return f"it answered with the error {code}"
        case TimeoutError():
            return "it took too long"
        case other:
            return f"it cannot be reached ({type(other).__name__})"


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    below = error.__cause__ or error.__context__
    return [error, *(_leaves(below) if below is not None else [])]
