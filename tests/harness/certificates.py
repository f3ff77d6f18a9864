"""A certificate authority of the tests' own, and what it has signed: as files, and as servers use them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """Signs for anybody; its files lie in *folder*."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        """What has to be trusted to trust it."""
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str, expired: bool = False, wants_client: bool = False) -> ssl.SSLContext:
        """Make what a server called *names* needs; *wants_client*: it talks to those only that we signed for."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, not_after=until).configure_cert(context)
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self._ca.configure_trust(context)
        return context

    def client(self, name: str, password: bytes | None = None) -> tuple[Path, Path]:
        """Sign for a client: its certificate's and its key's file."""
        signed = self._ca.issue_cert(f"{name}@example.org", common_name=name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in signed.cert_chain_pems))
        pem = signed.private_key_pem.bytes()
        if password is not None:
            pem = load_pem_private_key(pem, None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
            )
        key.write_bytes(pem)
        return certificate, key
