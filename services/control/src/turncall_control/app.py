"""The composition root: every slice, in order, on one Litestar application."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import Any, Final

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control import __version__, late_bus, openapi
from turncall_control import config as configuration
from turncall_control.agents.routes import AGENTS
from turncall_control.analysis.routes import ANALYSIS
from turncall_control.audit.routes import AUDIT
from turncall_control.auth import Caller
from turncall_control.browser.routes import BROWSER
from turncall_control.calls.routes import CALLS
from turncall_control.changes.relay import CHANGES
from turncall_control.chat.routes import CHAT
from turncall_control.config import ControlConfig
from turncall_control.credentials.routes import CREDENTIALS
from turncall_control.db.engine import in_project
from turncall_control.dials.routes import DIALS
from turncall_control.docs.routes import DOCS
from turncall_control.donotcall.routes import DO_NOT_CALL
from turncall_control.erasure.routes import ERASURE
from turncall_control.fleet.routes import FLEET
from turncall_control.health.routes import HEALTH
from turncall_control.http import guard, methods, problems
from turncall_control.http.attribution import attributed, concluded
from turncall_control.http.body import MAX_BODY_BYTES, StrictRequest
from turncall_control.http.contract import Contract
from turncall_control.http.observation import observed, request_seconds
from turncall_control.http.paging import page_asked
from turncall_control.http.unread import answered_in_full
from turncall_control.ingress.routes import INGRESS
from turncall_control.keys.routes import KEYS
from turncall_control.knowledge.routes import KNOWLEDGE
from turncall_control.messaging.routes import MESSAGING
from turncall_control.numbers.routes import NUMBERS
from turncall_control.parked.routes import PARKED
from turncall_control.plane import ConnectBus, Plane, Slice, opened
from turncall_control.projects.routes import PROJECTS
from turncall_control.suites.routes import SUITES
from turncall_control.takeaways.routes import TAKEAWAYS
from turncall_control.texts.routes import TEXTS
from turncall_control.usage.routes import USAGE
from turncall_control.vendors import catalogue
from turncall_control.vendors.catalogue import Catalogue
from turncall_control.webhooks.routes import WEBHOOKS
from turncall_runtime import garbage, logs, metrics
from turncall_runtime.config import secrets_of

SLICES: Final[tuple[Slice, ...]] = (
    HEALTH,
    DOCS,
    AUDIT,
    PROJECTS,
    KEYS,
    AGENTS,
    NUMBERS,
    WEBHOOKS,
    CALLS,
    DO_NOT_CALL,
    DIALS,
    BROWSER,
    TEXTS,
    CHAT,
    MESSAGING,
    KNOWLEDGE,
    SUITES,
    TAKEAWAYS,
    ANALYSIS,
    USAGE,
    CREDENTIALS,
    INGRESS,
    FLEET,
    PARKED,
    ERASURE,
    CHANGES,
)
"""Lower ones first: a slice may use those before it. Tasks start in this order and stop in reverse."""

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_app(
    config: ControlConfig,
    *,
    connect_bus: ConnectBus = late_bus.connected,
    vendors: Catalogue | None = None,
    slices: Sequence[Slice] = SLICES,
) -> Litestar:
    """The application, ready for an ASGI server or a test client; its lifespan opens and closes the `Plane`.

    ``vendors`` is the catalogue that came with the contract unless another one is given.
    """
    registry = metrics.new_registry("control", __version__)
    resources = partial(opened, config, connect_bus, catalogue.packaged() if vendors is None else vendors, registry)
    app = assembled(slices, [_lifespan(resources, slices)], None)
    # Around the router: Litestar's own middleware does not see requests that no route takes.
    served = attributed(answered_in_full(app.asgi_handler), config.proxy_networks)
    app.asgi_handler = observed(served, request_seconds(registry))
    app.state.metrics = registry
    app.state.reference = cache(lambda: reference(slices))
    return app


def from_environment() -> Litestar:
    """The application as the environment configures it: what each serving process calls."""
    config = configuration.read()
    logs.configure("control", config.log_level, secrets_of(config))
    app = create_app(config)
    app.on_startup.append(garbage.spare_the_lasting)
    return app


def reference(slices: Sequence[Slice] = SLICES) -> bytes:
    """The OpenAPI document of the slices' routes."""
    return openapi.document(assembled(slices, [], openapi.configuration()))


def assembled(slices: Sequence[Slice], lifespan: list[Lifespan], described: OpenAPIConfig | None) -> Litestar:
    routes = [route for part in slices for route in part.routes]
    return Litestar(
        route_handlers=[*methods.told(routes), *routes],
        lifespan=list(lifespan),
        guards=[guard.admit],
        after_request=concluded,
        dependencies={
            "plane": Provide(_plane, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
            "session": Provide(_session),
            "page": Provide(page_asked, sync_to_thread=False),
        },
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers=problems.HANDLERS,
        plugins=[Contract()],
        openapi_config=described,
        logging_config=None,
        debug=False,
    )


def _lifespan(resources: Callable[[], AbstractAsyncContextManager[Plane]], slices: Sequence[Slice]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(resources())
            app.state.plane = plane
            for part in slices:
                for task in part.tasks:
                    await stack.enter_async_context(task(plane))
            yield

    return lifespan


def _plane(state: State) -> Plane:
    plane: Plane = state.plane
    return plane


def _caller(request: Request[Any, Any, Any]) -> Caller:
    return guard.caller_of(request)


async def _session(plane: NamedDependency[Plane], caller: NamedDependency[Caller]) -> AsyncGenerator[AsyncSession]:
    """One transaction in the caller's project; it is committed after the handler and before the answer is sent."""
    async with in_project(plane.database, caller.project_id) as session:
        yield session
