"""Logs: one record a line, whatever it holds."""

import io
import json
import logging

from envoy_sidecar.telemetry import logs
from envoy_sidecar.telemetry.logs import LogFormat

LOG = logging.getLogger("test.logs")
FORGED = "one\n2026-01-01T00:00:00.000Z INFO forged\r\x1b[31mred\u2028\x85end"


def configured(log_format: LogFormat) -> io.StringIO:
    stream = io.StringIO()
    logs.configure("info", log_format, stream)
    return stream


def fail(text: str) -> None:
    raise ValueError(text)


def raise_and_log(text: str) -> None:
    try:
        fail(text)
    except ValueError:
        LOG.exception("caught")


def test_json_is_one_object_a_line_with_the_extra_fields() -> None:
    stream = configured("json")
    LOG.info("hello %s", "there", extra={"worker": 3, "level": "forged", "odd": {1}})
    LOG.debug("not this one")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info",
        "logger": "test.logs",
        "message": "hello there",
        "worker": 3,
        "odd": "{1}",
    }


def test_json_holds_any_message_and_traceback_in_one_line() -> None:
    stream = configured("json")
    LOG.warning("%s", FORGED)
    raise_and_log(FORGED)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == FORGED
    assert FORGED in second["exception"]


def test_text_escapes_what_would_forge_a_line_or_drive_a_terminal() -> None:
    stream = configured("text")
    LOG.warning("%s", FORGED, extra={"who": "a\nb"})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(
        r"WARNING test.logs one\n2026-01-01T00:00:00.000Z INFO forged\r\x1b[31mred\x2028\x85end who='a\nb'"
    )


def test_text_indents_a_traceback_so_that_it_forges_no_record() -> None:
    stream = configured("text")
    raise_and_log(FORGED)
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("ERROR   test.logs caught")
    assert others
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in stream.getvalue()


def test_a_chatty_library_is_quiet_at_info() -> None:
    stream = configured("text")
    logging.getLogger("httpx").info("chatter")
    logging.getLogger("httpx").warning("news")
    assert "chatter" not in stream.getvalue()
    assert "news" in stream.getvalue()


def test_a_name_that_is_not_utf_8_is_escaped() -> None:
    record = logging.makeLogRecord({"msg": "bad\udcff.yaml"})
    assert logs.TextFormatter().format(record).endswith("bad\\udcff.yaml")
    assert logs.JsonFormatter().format(record).encode()
