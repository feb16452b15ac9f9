"""A peer that vanished without a word, by a power cut say, is noticed within half a minute at both ends.

PostgreSQL's own end has to be told as well: it waits for hours by default, and until then what the peer had locked
stays locked, be it by an advisory lock on a connection that only rests. A Unix socket takes these and ignores them.
"""

_IDLE_SECONDS, _INTERVAL_SECONDS, _PROBES = 15, 5, 3
_UNACKNOWLEDGED_MS = 1000 * (_IDLE_SECONDS + _PROBES * _INTERVAL_SECONDS)

# For libpq, on our side.
OURS = {
    "keepalives_idle": _IDLE_SECONDS,
    "keepalives_interval": _INTERVAL_SECONDS,
    "keepalives_count": _PROBES,
    "tcp_user_timeout": _UNACKNOWLEDGED_MS,
}
# For the session, on PostgreSQL's.
THEIRS = {
    "tcp_keepalives_idle": str(_IDLE_SECONDS),
    "tcp_keepalives_interval": str(_INTERVAL_SECONDS),
    "tcp_keepalives_count": str(_PROBES),
    "tcp_user_timeout": str(_UNACKNOWLEDGED_MS),
}
