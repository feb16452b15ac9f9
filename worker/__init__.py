"""The GPU worker: leases tasks over HTTP, trains stages, reports."""

import os

# The profiler that measures memory would write lines of its own to stderr; it looks here when torch is loaded.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
