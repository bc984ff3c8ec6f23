"""TLS towards one provider. Verification is always on; files are read again for new connections when they changed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from gateway.core.model import Tls

_log = logging.getLogger(__name__)


class TlsContext:
    """The current context. Files that cannot be loaded leave the previous context in place, with a warning."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._files = [Path(name) for name in (tls.ca_file, tls.client_cert_file, tls.client_key_file) if name]
        self._stamp = self._stamped()
        self._context = self._loaded()

    def current(self) -> ssl.SSLContext:
        stamp = self._stamped()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._loaded()
            except (OSError, ssl.SSLError):
                _log.warning("TLS files changed but cannot be loaded; the previous ones stay in use")
        return self._context

    def _stamped(self) -> tuple[tuple[int, int], ...]:
        found = []
        for file in self._files:
            try:
                status = file.stat()
                found.append((status.st_mtime_ns, status.st_size))
            except OSError:
                found.append((0, 0))
        return tuple(found)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._tls.client_cert_file:
            context.load_cert_chain(self._tls.client_cert_file, self._tls.client_key_file)
        return context
