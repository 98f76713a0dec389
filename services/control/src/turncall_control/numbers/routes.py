"""/v1/numbers: phone numbers and what answers them."""

from typing import Annotated, Final

from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Finds, Permission, in_path, needs
from turncall_control.db.engine import in_project
from turncall_control.errors import CarrierFailed, Unavailable
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.numbers import check, repository, service
from turncall_control.numbers.model import NumberRow
from turncall_control.numbers.schemas import NumberChange, NumberCheck, NumberNew, NumberView, OwnedNumber, OwnedNumbers
from turncall_control.plane import Plane, Slice
from turncall_control.routing import Settings
from turncall_proto import ids
from turncall_proto.ids import AgentId, NumberId

_NUMBER: Final[Finds] = in_path("number_id", ids.NUMBER)
_CARRIER: Final = (CarrierFailed, service.CredentialsRefused, Unavailable)
_READ, _WRITE = Permission.NUMBERS_READ, Permission.NUMBERS_WRITE


@post(
    "/v1/numbers",
    tags=["numbers"],
    opt=needs(_WRITE, IN_PROJECT, fails=[service.NumberTaken, *_CARRIER], idempotent=True),
)
async def bind_number(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[NumberNew]
) -> NumberView:
    """Binds a number of the carrier's account, and has the carrier send its calls here."""
    settings = Settings(routing=data.routing, fallback=data.fallback, busy=data.busy, channels=data.channels)
    if data.carrier == "whatsapp":
        return _view(await service.bind_sender(plane, caller.project_id, data.number, settings))
    return _view(await service.bind(plane, caller.project_id, data.number, settings, data.max_concurrent_calls))


@get("/v1/numbers", tags=["numbers"], opt=needs(_READ, IN_PROJECT))
async def list_numbers(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    agent_id: Annotated[
        str | None,
        QueryParameter(
            pattern=r"^agt_[0-9a-f]{32}$(?!\n)",
            description="Numbers that it may answer: as their agent, a variant or the fallback.",
        ),
    ] = None,
) -> Page[NumberView]:
    """The project's numbers, newest first."""
    answered_by = None if agent_id is None else AgentId(agent_id)
    rows = await repository.page(session, caller.project_id, page, agent_id=answered_by)
    return paged(rows, page, _view, lambda row: (row.id,))


@get("/v1/numbers/available", tags=["numbers"], opt=needs(_WRITE, IN_PROJECT, fails=_CARRIER))
async def list_owned_numbers(plane: NamedDependency[Plane], caller: NamedDependency[Caller]) -> OwnedNumbers:
    """What the carrier's account owns, so that it can be bound."""
    carrier = await plane.carrier(caller.project_id, service.CARRIER)
    with service.carrier_errors():
        numbers = await carrier.list_numbers()
    async with in_project(plane.database, caller.project_id) as session:
        bound = await repository.bound_sids(session, caller.project_id, carrier.provider)
    return OwnedNumbers(
        items=tuple(
            OwnedNumber(
                carrier=carrier.provider,
                carrier_sid=number.sid,
                e164=number.e164,
                label=number.label,
                can_voice=number.can_voice,
                can_sms=number.can_sms,
                is_bound=number.sid in bound,
            )
            for number in numbers
        )
    )


@get("/v1/numbers/{number_id:str}", tags=["numbers"], opt=needs(_READ, _NUMBER))
async def get_number(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], number_id: FromPath[str]
) -> NumberView:
    """One number."""
    return _view(await repository.get(session, caller.project_id, NumberId(number_id)))


@patch("/v1/numbers/{number_id:str}", tags=["numbers"], opt=needs(_WRITE, _NUMBER))
async def change_number(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    number_id: FromPath[str],
    data: JSONBody[NumberChange],
) -> NumberView:
    """Changes what answers, from the next call on; the carrier is not asked."""
    changes = {name: value for name, value in asdict(data).items() if value is not UNSET}
    limit = changes.pop("max_concurrent_calls", UNSET)
    return _view(await service.change(plane, caller.project_id, NumberId(number_id), changes, limit))


@post(
    "/v1/numbers/{number_id:str}/configure",
    status_code=200,
    tags=["numbers"],
    opt=needs(_WRITE, _NUMBER, fails=_CARRIER),
)
async def configure_number(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], number_id: FromPath[str]
) -> NumberView:
    """Has the carrier send the number's calls here once more: after the public address moved, or by way of repair."""
    return _view(await service.configure(plane, caller.project_id, NumberId(number_id)))


@get("/v1/numbers/{number_id:str}/check", tags=["numbers"], opt=needs(_READ, _NUMBER))
async def check_number(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], number_id: FromPath[str]
) -> NumberCheck:
    """Whether the number would work if it were called: asks the carrier, changes nothing."""
    return await check.check(plane, caller.project_id, NumberId(number_id))


@delete("/v1/numbers/{number_id:str}", tags=["numbers"], opt=needs(_WRITE, _NUMBER, fails=_CARRIER))
async def unbind_number(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], number_id: FromPath[str]
) -> None:
    """Takes our addresses off the number at the carrier and forgets it; the account keeps it."""
    await service.unbind(plane, caller.project_id, NumberId(number_id))


def _view(row: NumberRow) -> NumberView:
    settings = row.settings
    return NumberView(
        id=row.id,
        e164=row.e164,
        carrier=row.carrier,
        carrier_sid=row.carrier_sid,
        routing=settings.routing,
        fallback=settings.fallback,
        busy=settings.busy,
        channels=settings.channels,
        max_concurrent_calls=row.max_concurrent_calls,
        created_at=row.created_at,
        configured_at=row.configured_at,
    )


NUMBERS: Final = Slice(
    name="numbers",
    routes=(
        bind_number,
        list_numbers,
        list_owned_numbers,
        get_number,
        change_number,
        configure_number,
        check_number,
        unbind_number,
    ),
)
