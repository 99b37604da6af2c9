"""nginx's directives that end or decide connections, with their defaults of 1.22 (nginx.org/en/docs, each
module's page; the sources' ngx_conf_merge_*_value)."""

from __future__ import annotations

VERSION = "1.22"

# Of what passes requests on, by the beginning of its directives; each has _pass.
PASSING = ("proxy", "fastcgi", "uwsgi", "scgi", "grpc", "memcached")

HTTP = {
    "client_header_timeout": "60s",
    "client_body_timeout": "60s",
    "send_timeout": "60s",
    "keepalive_timeout": "75s",
    "keepalive_time": "1h",
    "keepalive_requests": "1000",
    "lingering_close": "on",
    "lingering_time": "30s",
    "lingering_timeout": "5s",
    "reset_timedout_connection": "off",
    "resolver_timeout": "30s",
    "timer_resolution": "0",
    "worker_shutdown_timeout": "0",
    "error_log": "logs/error.log error",
    "proxy_cache_lock": "off",
    "proxy_cache_lock_timeout": "5s",
    **{
        f"{passing}_{what}": default
        for passing in PASSING
        for what, default in {
            "connect_timeout": "60s",
            "send_timeout": "60s",
            "read_timeout": "60s",
            "next_upstream_timeout": "0",
            "next_upstream_tries": "0",
            "ignore_client_abort": "off",
            "socket_keepalive": "off",
        }.items()
    },
}
STREAM = {
    "proxy_timeout": "10m",
    "proxy_connect_timeout": "60s",
    "proxy_next_upstream_timeout": "0",
    "proxy_half_close": "off",
    "proxy_socket_keepalive": "off",
    "preread_timeout": "30s",
    "proxy_protocol_timeout": "30s",
    "ssl_handshake_timeout": "60s",
    "resolver_timeout": "30s",
    "timer_resolution": "0",
    "worker_shutdown_timeout": "0",
    "error_log": "logs/error.log error",
}
UPSTREAM = {
    "keepalive_timeout": "60s",
    "keepalive_time": "1h",
    "keepalive_requests": "1000",
}
DEFAULTS = {"http": HTTP, "stream": STREAM, "upstream": UPSTREAM}
WHOLE_SECONDS = ("lingering_time", "fail_timeout")  # ngx_time() counts those, or the slot is ngx_conf_set_sec

# The levels of error_log, the most important first; a log takes its own and those before it.
LEVELS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
