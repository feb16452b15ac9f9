"""The pages are asked for as the API is, on the same kind of server."""

from tests.service.api.conftest import admin as admin
from tests.service.api.conftest import anonymous as anonymous
from tests.service.api.conftest import client_of as client_of
from tests.service.api.conftest import connect as connect
from tests.service.api.conftest import module_database as module_database
from tests.service.api.conftest import page as page
from tests.service.api.conftest import registered as registered
from tests.service.api.conftest import server as server
from tests.service.api.conftest import worker as worker
