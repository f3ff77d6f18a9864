"""Forms with files."""

from __future__ import annotations

from collections.abc import Mapping

from llm_one_api.conformance.client import Ask

BOUNDARY = "conformance-boundary-7f3a"


def form(
    path: str, model: str, fields: Mapping[str, str], file: bytes, *, name: str = "file", kind: str = "audio/wav"
) -> Ask:
    """Ask with a form: its fields first, then its file."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in {"model": model, **fields}.items()
    ]
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\nContent-Type: {kind}\r\n\r\n'
    )
    body = b"".join((*parts, head.encode(), file, f"\r\n--{BOUNDARY}--\r\n".encode()))
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Ask(path=path, body=body, model=model, stream=fields.get("stream") == "true", headers=headers)
