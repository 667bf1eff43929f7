"""How to reach a gateway over TLS."""

from __future__ import annotations

from dataclasses import dataclass

import grpc


@dataclass(frozen=True)
class TlsOptions:
    """Certificates of a connection. Everything left out takes the system's defaults.

    Attributes:
        root_certificates: PEM of the authorities to trust instead of the system's.
        private_key: PEM of this side's key, for mutual TLS; needs `certificate_chain`.
        certificate_chain: PEM of this side's certificate and its issuers, for mutual TLS.
        server_name: name to expect in the server's certificate instead of the address's host.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """These options as gRPC wants them."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)
