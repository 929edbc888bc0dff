"""The estimate of what JSON needs: what would need hundreds of MiB is found, text is not mistaken for it."""

from __future__ import annotations

import tracemalloc

import pytest

from extframe.errors import ProtocolError
from extframe.protocol import decode_json
from extframe.text import memory_limit, needs_more_than

SIZE = 16 << 20


def filled(item: bytes, size: int = SIZE, start: bytes = b"[", end: bytes = b"null]") -> bytes:
    return start + (item + b",") * ((size - len(start) - len(end)) // (len(item) + 1)) + end


VOLUME = b'{"Name":"photos","Mountpoint":"/mnt/photos"}'
TOO_MANY = {
    "empty lists": filled(b"[]"),
    "empty objects": filled(b"{}"),
    "small objects": filled(b'{"a":0}'),
    "small strings": filled(b'"a"'),
    "lists in lists": filled(b"[[]]"),
    "text with colons": filled(b'[],":::::"'),
}
FEW_ENOUGH = {
    "volumes": filled(VOLUME),
    "names": filled(b'"volume-1"'),
    "one string": b'["' + b"x" * (SIZE - 4) + b'"]',
    "text that looks like lists": b'["' + b"[]," * (SIZE // 3 - 2) + b'"]',
    "text with quotes that looks like objects": b'["' + b'{\\"a\\":\\"\\\\\\"},' * (SIZE // 18) + b'"]',
    "1 MiB of anything": filled(b"[]", 1 << 20),
}


@pytest.mark.parametrize("body", TOO_MANY.values(), ids=TOO_MANY)
def test_json_that_would_need_too_much_memory_is_refused_before_it_is_decoded(body):
    with pytest.raises(ProtocolError, match=r"would take over 192 MiB of memory, the limit; request less at a time"):
        decode_json(body)


@pytest.mark.parametrize("body", FEW_ENOUGH.values(), ids=FEW_ENOUGH)
def test_large_json_that_needs_less_is_decoded(body):
    assert not needs_more_than(body, memory_limit(len(body)))
    decode_json(body)


@pytest.mark.parametrize("item", [b"[]", b"{}", b'{"a":0}', b'"a"', b"1.5", b"12345", VOLUME])
def test_the_estimate_is_not_far_from_the_memory_that_values_need(item):
    body = filled(item, 2 << 20)
    tracemalloc.start()
    value = decode_json(body)
    needed = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert value
    assert needs_more_than(body, needed // 2)
    assert not needs_more_than(body, 3 * needed)


def test_the_limit_grows_with_json_whose_limit_was_raised():
    body = filled(VOLUME, 48 << 20)
    assert needs_more_than(body, memory_limit(SIZE))
    assert not needs_more_than(body, memory_limit(len(body)))
