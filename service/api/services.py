"""What routes work with; the composition root puts it into the application's state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.bell import Bell
from service.artifacts import ArtifactStore
from service.domain.pruning import ShouldPrune
from service.settings import Settings
from service.storage import Storage


@dataclass(frozen=True, slots=True)
class Services:
    """The running server's parts."""

    settings: Settings
    store: Storage
    artifacts: ArtifactStore
    bell: Bell
    wake_planner: Callable[[], None]
    should_prune: ShouldPrune
    find_study: Callable[[str], int | None]
    has_study: Callable[[int], bool]

    def changed(self) -> None:
        """Something happened that the planner and waiting requests should look at."""
        self.wake_planner()
        self.bell.ring()


async def services_of(request: Request) -> Services:
    """Async, so that it costs no thread."""
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(services_of)]
