"""The sinks that a configuration switches on.

Owns that choice. Never asks a sink anything.
"""

from __future__ import annotations

from tasks.sinks.config import FolderSinkConfig, SqlSinkConfig, WebhookSinkConfig
from tasks.sinks.folder import FolderSink
from tasks.sinks.sink import Sink
from tasks.sinks.sql import SqlSink
from tasks.sinks.webhook import WebhookSink


def open_sinks(
    sql: SqlSinkConfig, folder: FolderSinkConfig, webhook: WebhookSinkConfig
) -> tuple[Sink, ...]:
    """The sinks that are switched on; who tells people comes last, when the data is there."""
    found: list[Sink] = []
    if sql.url is not None:
        found.append(SqlSink(sql))
    if folder.url is not None:
        found.append(FolderSink.configured(folder))
    if webhook.on:
        found.append(WebhookSink(webhook))
    return tuple(found)
