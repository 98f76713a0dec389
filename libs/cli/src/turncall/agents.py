"""``turncall agents``: agents as code. Files are YAML or JSON, what `import_agent` takes; exit codes are for CI.

0: done, or nothing to do. 1: refused, or out of reach. 3: a dry run that found something to change.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from turncall.client import ApiError, TurnCall
from turncall.client.shapes import AgentApplied, AgentSummary

OK, REFUSED, WOULD_CHANGE = 0, 1, 3
Tell = Callable[[str], None]
_STEP: Final = re.compile(r"[^.\[\]]+")
_LONGEST_VALUE: Final = 60


class FileRefused(Exception):
    """The file cannot be read as an agent; the message says where."""


async def listed(api: TurnCall, tell: Tell) -> int:
    """Prints every agent of the project."""
    async for agent in _all(api):
        numbers = f"published {agent.published_number or '-'}, draft {agent.draft_number or '-'}"
        tell(f"{agent.id}  {agent.environment:<11}  {agent.name}  ({numbers})")
    return OK


async def exported(api: TurnCall, name: str, environment: str, *, is_draft: bool, as_json: bool) -> str:
    """The agent as a file. Raises `FileRefused` when there is no such agent."""
    async for agent in _all(api, name=name, environment=environment):
        file = msgspec.to_builtins(await api.export_agent(agent.id, "draft" if is_draft else "published"))
        return msgspec.json.format(msgspec.json.encode(file)).decode() if as_json else written(file)
    raise FileRefused(f"there is no agent named {name} in {environment}")


async def applied(api: TurnCall, paths: Iterable[Path], tell: Tell, *, publish: bool, dry_run: bool) -> int:
    """Brings each file's agent to what the file says; goes on with the next file when one is refused."""
    code = OK
    for path in paths:
        try:
            document, text = read(path)
            done = await api.import_agent(document, publish=publish, dry_run=dry_run)
        except FileRefused as error:
            tell(str(error))
            code = REFUSED
        except ApiError as error:
            tell(explained(path, text, error))
            code = REFUSED
        else:
            _report(path, done, tell, dry_run=dry_run)
            if dry_run and done.outcome != "unchanged" and code == OK:
                code = WOULD_CHANGE
    return code


async def validated(api: TurnCall, paths: Iterable[Path], tell: Tell) -> int:
    """Checks each file and stores nothing."""
    code = OK
    for path in paths:
        try:
            document, text = read(path)
            await api.import_agent(document, dry_run=True)
            verdict = await api.validate_agent(document["config"])
        except FileRefused as error:
            tell(str(error))
            code = REFUSED
        except ApiError as error:
            tell(explained(path, text, error))
            code = REFUSED
        else:
            tell(f"{path}: valid")
            for vendor in verdict.missing_vendor_keys:
                tell(f"{path}: warning: no key for {vendor}; it cannot be published")
            for name in verdict.undefined_variables:
                tell(f"{path}: warning: {{{{{name}}}}} has no default")
    return code


def read(path: Path, holds: str = "an agent's file holds name, environment and config") -> tuple[dict[str, Any], str]:
    """The document in a YAML or JSON file, and its text. Raises `FileRefused`, saying what such a file ``holds``."""
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise FileRefused(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise FileRefused(f"{where}: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(document, dict):
        raise FileRefused(f"{path}:1: {holds}")
    return document, text


def written(document: dict[str, Any]) -> str:
    """A document as YAML that reads well: order kept, long texts folded."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def explained(path: Path, text: str, error: ApiError) -> str:
    """Why the API refused the file, each fault with the line that it is about."""
    if not error.problem.errors:
        return f"{path}: {error}"
    return "\n".join(
        f"{path}:{line_of(text, fault.field)}: {fault.field}: {fault.message}" for fault in error.problem.errors
    )


def line_of(text: str, field: str) -> int:
    """The line, from 1, of a field like ``config.tools[0].url``, or of the nearest that is there around it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 0 if node is None else node.start_mark.line
    for step in _STEP.findall(field):
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def _report(path: Path, done: AgentApplied, tell: Tell, *, dry_run: bool) -> None:
    would = "would be " if dry_run and done.outcome != "unchanged" else ""
    tell(f"{path}: {would}{done.outcome}{' and published' if done.publishes else ''}")
    for change in done.changes:
        tell(f"  {change.field}: {_short(change.before)} -> {_short(change.after)}")


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


async def _all(api: TurnCall, **filters: str) -> AsyncIterator[AgentSummary]:
    cursor: str | None = None
    while True:
        page = await api.agents(cursor=cursor, **filters)
        for agent in page.items:
            yield agent
        cursor = page.next_cursor
        if cursor is None:
            return
