"""The GPU worker: leases tasks over HTTP, trains stages, reports."""

import os

# The profiler that measures memory would write lines of its own to stderr; it looks here when torch is loaded.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
# OpenMP's threads would spin while they wait for each other. Where something else runs on the same cores, an epoch
# then takes ten times as long. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
