"""An experiment's history as it happens: server-sent events, or JSON for those who rather ask again."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from contract.experiments import Event
from service.api.auth import READ, GuardedRoute, identity_of, note_refusal, still_identified
from service.api.limits import Limits
from service.api.problems import responses
from service.api.services import Served, Services
from service.domain.errors import DatabaseUnavailable, NotFound, TooManyRequests
from service.usecases.follow_experiment import EventsSince, follow_experiment

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["experiments"])

PAGE = 200
# Events of other servers on the same database ring no bell here, so every stream looks again about once a second.
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
RETRY_MS = 2_000
MAX_EVENT_ID = 2**63 - 1
# As OpenAPI 3.2 describes streams, which 3.1 passes over.
_EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "data", "id")}}


async def _until_the_end() -> AsyncIterator[ExitStack]:
    """What is entered here is left when the answer has ended, however it does."""
    with ExitStack() as stack:
        yield stack


@router.get(
    "/experiments/{experiment}/events",
    dependencies=[READ],
    response_model=list[Event],
    responses={
        200: {
            "description": "A stream that ends with the experiment, or a page of it with `format=json`",
            "content": {"text/event-stream": {"itemSchema": _EVENT}},
        },
        **responses("not-found", "too-many-requests"),
    },
)
async def follow_events(
    experiment: UUID,
    request: Request,
    services: Served,
    held: Annotated[ExitStack, Depends(_until_the_end)],
    after: Annotated[int, Query(ge=0, le=MAX_EVENT_ID, description="events with a higher id only")] = 0,
    form: Annotated[Literal["sse", "json"], Query(alias="format")] = "sse",
    last_event_id: Annotated[str | None, Header(description="sent by browsers that reconnect")] = None,
) -> Response:
    """What happened to an experiment since an event, oldest first."""
    last = max(after, _number(last_event_id))
    limits: Limits = request.app.state.limits

    def begin() -> EventsSince:
        if form == "sse":
            try:
                held.enter_context(limits.open_stream(identity_of(request)))
            except TooManyRequests as error:
                note_refusal(request, identity_of(request), "follow_events", error)
                raise
        # The first look comes before the answer: an experiment that does not exist is a 404, not an empty stream.
        return follow_experiment(services.store, experiment, last, PAGE)

    first = await run_in_threadpool(begin)
    if form == "json":
        return JSONResponse([Event.model_validate(event).model_dump(mode="json") for event in first.events])
    return StreamingResponse(
        _stream(services, request, experiment, last, first),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    services: Services, request: Request, experiment: UUID, last: int, since: EventsSince
) -> AsyncIterator[bytes]:
    """Holds neither thread nor connection between two looks; ends with experiment, server, or what let it in."""
    yield format_sse_event(comment="stagetune", retry=RETRY_MS)
    checked = time.monotonic()
    while True:
        for event in since.events:
            data = Event.model_validate(event).model_dump_json()
            yield format_sse_event(data_str=data, event=event.kind, id=str(event.id))
            last = event.id
        if since.ended and len(since.events) < PAGE:
            yield format_sse_event(data_str="{}", event="end")
            return
        if len(since.events) < PAGE:
            pause = LOOK_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - keeps streams from looking in step
            await services.bell.wait(pause)
        if services.bell.closed:
            return
        try:
            if time.monotonic() - checked > HEARTBEAT_SECONDS:
                if not await run_in_threadpool(still_identified, services, request):
                    return
                checked = time.monotonic()
                yield format_sse_event(comment="still here")
            since = await run_in_threadpool(follow_experiment, services.store, experiment, last, PAGE)
        except DatabaseUnavailable:
            since = EventsSince((), ended=False)
        except NotFound:
            # It was purged.
            since = EventsSince((), ended=True)


def _number(text: str | None) -> int:
    """The id that a browser sends back; anything else is no id."""
    return min(int(text), MAX_EVENT_ID) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0
