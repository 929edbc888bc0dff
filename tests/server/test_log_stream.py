"""Log lines that are written without blocking: what is logged while that ends."""

from __future__ import annotations

import logging
import sys

from extframe.server.log_stream import LogStream, without_blocking


def test_a_line_that_another_thread_logs_at_the_end_is_not_lost(tmp_path, monkeypatch):
    logger, close = logging.getLogger("extframe"), LogStream.close

    def close_and_log(stream: LogStream) -> None:
        close(stream)
        logger.warning("late")

    monkeypatch.setattr(LogStream, "close", close_and_log)
    with (tmp_path / "stderr").open("w", buffering=1) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        handler = logging.StreamHandler()
        logger.addHandler(handler)
        try:
            with without_blocking():
                logger.warning("early")
        finally:
            logger.removeHandler(handler)
    assert (tmp_path / "stderr").read_text() == "early\nlate\n"
