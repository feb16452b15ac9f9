"""Routes that read strictly: no unknown query parameter, no body but plain JSON without surprises."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.api.documents import read_json
from service.api.faults import MOST, path_of
from service.domain.errors import Fault, InvalidRequest, UnsupportedMediaType

# A larger body is read in a thread, so that meanwhile others are answered.
_LARGE = 2**16


class StrictRoute(APIRoute):
    """A route whose query and body are read by our rules before FastAPI looks at them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the reading."""
        handle = super().get_route_handler()
        known = frozenset(_query_names(self.dependant))
        reads_json = self.body_field is not None

        async def strict(request: Request) -> Response:
            _check_query(request, known)
            _check_encoding(request)
            if reads_json:
                request = _Parsed(request.scope, request.receive)
                await request.parse()
            return await handle(request)

        return strict


class _Parsed(Request):
    """A request whose body has been read by our parser."""

    document: Any = None

    async def parse(self) -> None:
        """Raises malformed-body, unsupported-media-type or invalid-request with a fault for every bad value."""
        body = await self.body()
        if not body:
            return
        content_type = self.headers.get("content-type", "")
        if len(body) > _LARGE:
            document, blemishes = await run_in_threadpool(read_json, body, content_type)
        else:
            document, blemishes = read_json(body, content_type)
        if blemishes:
            raise _invalid([Fault(path_of(each.location), each.message) for each in blemishes])
        self.document = document

    async def json(self) -> Any:
        return self.document


def _query_names(dependant: Dependant) -> Iterator[str]:
    """What may stand in the query; a model as parameter stands for its fields."""
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from annotation.model_fields
        else:
            yield field.alias
    for needed in dependant.dependencies:
        yield from _query_names(needed)


def _check_query(request: Request, known: frozenset[str]) -> None:
    seen: set[str] = set()
    faults: list[Fault] = []
    for name, _ in request.query_params.multi_items():
        if name not in known:
            here = f"known here: {', '.join(sorted(known))}" if known else "this address takes none"
            faults.append(Fault(path_of([name]), f"is not a known query parameter ({here}): remove it"))
        elif name in seen:
            faults.append(Fault(name, "stands twice in the query: keep one"))
        seen.add(name)
        if len(faults) > MOST:
            break
    if faults:
        raise _invalid(faults)


def _check_encoding(request: Request) -> None:
    encodings = {encoding.strip().lower() for encoding in request.headers.getlist("content-encoding")}
    if encodings - {"identity", ""}:
        raise UnsupportedMediaType("the body is compressed: send it without Content-Encoding")


def _invalid(faults: list[Fault]) -> InvalidRequest:
    count = f"more than {MOST}" if len(faults) > MOST else len(faults)
    return InvalidRequest(f"the request has {count} faults" if len(faults) > 1 else None, faults[:MOST])
