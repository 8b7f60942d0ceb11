"""The first part of a form, which is how ``curl -F`` sends a file. Source: RFC 7578."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelyard.core.errors import BadRequest

if TYPE_CHECKING:
    from modelyard.wire.binary import Buffer

FORM = "multipart/form-data"
_BOUNDARY = re.compile(r'boundary="?([^";\s]{1,70})"?')
_TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]{1,200})", re.IGNORECASE | re.MULTILINE)


def first_part(body: Buffer, content_type: str) -> tuple[bytes, str]:
    r"""The content of the first part and its type.

    >>> form = b"--x\r\nContent-Type: text/csv\r\n\r\n1,2\r\n--x--"
    >>> first_part(form, "multipart/form-data; boundary=x")
    (b'1,2', 'text/csv')

    Raises:
        BadRequest: no such form.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise BadRequest("the form's content type names no boundary")
    mark = b"--" + boundary[1].encode("latin-1", "replace")
    pieces = bytes(body).split(mark, 2)
    if len(pieces) != 3:
        raise BadRequest("the form has no part, or its end is missing")
    head, blank, content = pieces[1].partition(b"\r\n\r\n")
    if not blank or not content.endswith(b"\r\n"):
        raise BadRequest("the form's first part has no end")
    kind = _TYPE.search(head)
    return content[:-2], "" if kind is None else kind[1].decode("latin-1").strip()
