"""Addresses in front of a test's PostgreSQL: with TLS, with the logins of RDS, and with PgBouncer's pool."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.local.processes import child_command


def certificate(directory: Path) -> Path:
    """Write key and certificate of 127.0.0.1 (server.key, server.crt), and return the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.key").write_bytes(secret)
    (directory / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return directory / "server.crt"


def free_port() -> int:
    """Return a port that nobody uses, from those that a system does not give to others by itself."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Front:
    """A TCP address in front of PostgreSQL's unix socket: it terminates TLS, and can go silent.

    While it is silent, it keeps connections and forwards nothing. (The PostgreSQL of the tests is built without TLS.)
    """

    def __init__(self, upstream: Path, root: Path) -> None:
        self._upstream = upstream
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(root, root.with_suffix(".key"))
        self.root = root
        self.encrypted: list[bool] = []
        self.speaks = threading.Event()
        self.speaks.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, options: str, host: str = "127.0.0.1") -> str:
        return f"postgresql://postgres@{host}:{self.port}/postgres?{options}"

    def admit(self, client: socket.socket, first: bytes) -> bytes | None:
        """Return what PostgreSQL is to read first; None if the client was refused."""
        return first

    def close(self) -> None:
        self._listener.close()
        self.speaks.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._upstream))
        first = client.recv(8)
        encrypted = first == struct.pack("!ii", 8, 80877103)
        self.encrypted.append(encrypted)
        if encrypted:
            client.sendall(b"S")
            try:
                client = self._context.wrap_socket(client, server_side=True)
            except OSError:
                return  # the client does not trust the certificate
            first = b""
        if (start := self.admit(client, first)) is None:
            client.close()
            return
        server.sendall(start)
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.speaks.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


class RdsFront(Front):
    """A front that lets users in by tokens of IAM, as RDS does: by TLS only, and for 15 minutes.

    ``tokens`` are those that it has seen. ``secret`` is that of the AWS account.
    """

    def __init__(self, upstream: Path, root: Path, secret: str, region: str) -> None:
        self.tokens: list[str] = []
        self._secret = secret
        self._region = region
        super().__init__(upstream, root)

    def admit(self, client: socket.socket, first: bytes) -> bytes | None:
        if first:
            return self._refuse(client, "no pg_hba.conf entry, no encryption")
        start = _read(client, 4)
        start += _read(client, struct.unpack("!i", start)[0] - 4)
        words = start[8:].split(b"\0")
        user = dict(zip(words[::2], words[1::2], strict=False))[b"user"].decode()
        client.sendall(b"R" + struct.pack("!ii", 8, 3))  # asks for a password in clear text
        _, length = struct.unpack("!ci", _read(client, 5))
        token = _read(client, length - 4).rstrip(b"\0").decode()
        self.tokens.append(token)
        return start if self.accepts(token, user) else self._refuse(client, "PAM authentication failed for user")

    def accepts(self, token: str, user: str) -> bool:
        """Return whether RDS would let the user in now."""
        place, _, query = token.partition("/?")
        fields = dict(parse_qsl(query))
        signature = fields.pop("X-Amz-Signature", "")
        at = fields.get("X-Amz-Date", "")
        scope = f"{at[:8]}/{self._region}/rds-db/aws4_request"
        age = datetime.now(UTC) - datetime.strptime(at or "19700101T000000Z", "%Y%m%dT%H%M%S%z")
        canonical = "&".join(f"{quote(name, safe='')}={quote(fields[name], safe='')}" for name in sorted(fields))
        request = f"GET\n/\n{canonical}\nhost:{place}\n\nhost\n{sha256().hexdigest()}"
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        return (
            (fields.get("Action"), fields.get("DBUser")) == ("connect", user)
            and place.endswith(f":{self.port}")
            and timedelta(minutes=-5) <= age <= timedelta(minutes=15)
            and key.hex() == signature
        )

    def _refuse(self, client: socket.socket, message: str) -> bytes | None:
        body = f"SFATAL\0VFATAL\0C28000\0M{message}\0\0".encode()
        client.sendall(b"E" + struct.pack("!i", len(body) + 4) + body)
        return None


def _read(client: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = client.recv(length - len(data))
        if not part:
            raise ConnectionError("the client has closed the connection")
        data += part
    return data


def pgbouncer() -> str | None:
    """Return the path of PgBouncer, None if it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def pooled(program: str, sockets: Path, database: str, folder: Path) -> Iterator[str]:
    """Give the URL of a database behind PgBouncer in transaction mode, with two sessions for all clients."""
    port = free_port()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={sockets} port=5432 user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {folder}/users.txt\n"
        "pool_mode = transaction\ndefault_pool_size = 2\n"
    )
    for path in (folder, *folder.parents[:3], *folder.iterdir()):
        path.chmod(path.stat().st_mode | 0o055)
    command = child_command([program, str(folder / "pgbouncer.ini")], user="nobody")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "process up" in line:
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable"
        process.kill()
