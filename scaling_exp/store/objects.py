"""Objects: what S3, Google Cloud Storage and servers that speak like them hold under a prefix of a bucket.

An object appears whole or not at all, and a listing shows what was put before it. There is no rename, no append and no
lock, and nothing here deletes: a key that may list, read and write is enough.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path as FilePath
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from scaling_exp.store.files import StoreError, Unreachable, replacing

NUM_AT_ONCE = 16
CHUNK_BYTES = 8 << 20
RETRY_SECONDS = 15
YOUNG_SECONDS = 2.0
"""Listings tell ages by the second."""
OPTIONS = ("endpoint_override", "region", "scheme")
"""What may follow a `?` in a store's URL; none of it is secret."""
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's service account",
}


ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST",),
}
"""Variables that name another server than the provider's."""
REFUSED = (
    r"ACCESS_DENIED|PERMISSION_DENIED|INVALID_ACCESS_KEY|SIGNATURE|EXPIRED|CLIENT_TOKEN|UNAUTHENTICATED"
    r"|HTTP status 40[13]|[Cc]redential|access token"
)
_putting = ThreadPoolExecutor(NUM_AT_ONCE, "put")


@dataclass(frozen=True)
class Address:
    """`s3://BUCKET/PREFIX`, and how to get there where that is not the usual way."""

    scheme: str
    bucket: str
    prefix: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises StoreError for what is no such URL, or carries a secret."""
        parts = urlsplit(url)
        told = url.partition("?")[0]  # what follows may be a secret
        if parts.scheme not in CREDENTIALS:
            known = ", ".join(f"{each}://BUCKET/PREFIX" for each in CREDENTIALS)
            raise StoreError(f"store {told!r} is none of a folder, file://FOLDER, {known}")
        if "@" in parts.netloc:
            raise StoreError(
                f"store has credentials in its URL, and a run's manifest keeps that: give them as"
                f" {CREDENTIALS[parts.scheme]}"
            )
        options = tuple(sorted(parse_qsl(parts.query)))
        if unknown := [name for name, _ in options if name not in OPTIONS]:
            raise StoreError(
                f"store {told!r} has {unknown[0]}=, which is none of {', '.join(OPTIONS)}"
            )
        prefix = unquote(parts.path).strip("/")
        if not parts.netloc:
            raise StoreError(f"store {told!r} names no bucket: s3://BUCKET/PREFIX")
        return cls(parts.scheme, parts.netloc, prefix, options)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.base}"

    @property
    def base(self) -> str:
        """Bucket and prefix."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def endpoint(self) -> str:
        """Where it is, if that is not the provider: by the URL or the environment; empty if it is."""
        given = dict(self.options)
        named = filter(None, map(os.environ.get, ENDPOINTS[self.scheme]))
        told = given.get("endpoint_override") or next(named, "")
        if told and "://" not in told:
            return f"{given.get('scheme', 'https')}://{told}"
        return told.rstrip("/")


@dataclass(frozen=True)
class Stat:
    """What a listing says of an object. `modified` is in nanoseconds, by the clock of whoever keeps it."""

    size: int
    modified: int

    @classmethod
    def of(cls, file: FilePath) -> Stat | None:
        """Of a local file; None when there is none."""
        if not file.is_file():
            return None
        stat = file.stat()
        return cls(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class Objects:
    """The objects under an address. Names are relative to it. Every method raises Unreachable."""

    address: Address
    _files: fs.FileSystem = field(repr=False)

    @classmethod
    def at(cls, address: Address) -> Objects:
        with _asking(address):
            return cls(address, _filesystem(address, address.endpoint))

    def listing(self, under: str = "") -> dict[str, Stat]:
        """All of them whose names begin with `under` and a slash."""
        selector = fs.FileSelector(
            self._path(under).rstrip("/"), allow_not_found=True, recursive=True
        )
        with _asking(self.address):
            found = self._files.get_file_info(selector)
            if not found:
                self._check_bucket()
        return {
            each.path.removeprefix(f"{self.address.base}/"): Stat(each.size, each.mtime_ns)
            for each in found
            if each.type == fs.FileType.File
        }

    def _check_bucket(self) -> None:
        """A listing of a bucket that is not there is empty."""
        bucket = self._files.get_file_info(self.address.bucket)
        if bucket.type == fs.FileType.NotFound:
            raise Unreachable(
                f"there is no bucket {self.address.bucket!r}; make it, or correct store"
            )

    def put(self, file: FilePath, name: str) -> None:
        """Put a file. It is there as a whole when this returns, and not at all if it raises."""
        is_empty = not file.stat().st_size
        self.write(name, pa.py_buffer(b"") if is_empty else pa.memory_map(str(file)).read_buffer())

    def write(self, name: str, content: pa.Buffer) -> None:
        """Put an object.

        A thread does it, and one call gives all of its content: closing a stream publishes what it was given, so
        neither Ctrl-C nor a disk may come between.
        """
        _putting.submit(self._write, name, content).result()

    def _write(self, name: str, content: pa.Buffer) -> None:
        with _asking(self.address), self._files.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes:
        """What an object holds."""
        with _asking(self.address), self._files.open_input_stream(self._path(name)) as stream:
            return stream.read()

    def fetch(self, name: str, stat: Stat, target: FilePath) -> None:
        """Make a file of an object, as old as it is; of one that may be put again within its second, a second older."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            with open(partial, "wb") as file:
                for chunk in self._chunks(name):
                    file.write(chunk)
            is_young = time.time() - stat.modified / 1e9 < YOUNG_SECONDS
            age = stat.modified - (10**9 if is_young else 0)
            os.utime(partial, ns=(age, age))

    def _chunks(self, name: str) -> Iterator[bytes]:
        with _asking(self.address), self._files.open_input_stream(self._path(name)) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def _path(self, name: str) -> str:
        return f"{self.address.base}/{name}"


def each_at_once(call: Callable[..., None], arguments: Iterable[Sequence[object]]) -> None:
    """Call it with every set of arguments, a few at a time; the first exception is raised."""
    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        for called in [threads.submit(call, *each) for each in arguments]:
            called.result()


@lru_cache(maxsize=8)
def _filesystem(address: Address, endpoint: str) -> fs.FileSystem:
    scheme, _, host = endpoint.partition("://")
    there: Mapping[str, str] = {"scheme": scheme, "endpoint_override": host} if host else {}
    if address.scheme == "gs":
        is_anonymous = bool(host)  # an emulator asks for no credentials
        limit = timedelta(seconds=RETRY_SECONDS)
        return fs.GcsFileSystem(anonymous=is_anonymous, retry_time_limit=limit, **there)
    region = dict(address.options).get("region") or _region(address.bucket, endpoint)
    # Delayed: an object that fits one part costs one request, not three. Not in the background: that queues copies of
    # all the parts of a large one.
    return fs.S3FileSystem(region=region, allow_delayed_open=True, background_writes=False, **there)


def _region(bucket: str, endpoint: str) -> str:
    """As the environment says, else where the bucket is; of other servers what they take by default."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or ("us-east-1" if endpoint else fs.resolve_s3_region(bucket))


@contextmanager
def _asking(address: Address) -> Iterator[None]:
    """Turn what a provider's library raises into one line."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        raise Unreachable(f"{address}: {_reason(address, str(error))}") from error


def _reason(address: Address, text: str) -> str:
    told = f"({_short(text)})"
    if re.search(r"NO_SUCH_BUCKET|[Bb]ucket '?\S+'? not found", text):
        return f"there is no bucket {address.bucket!r}; make it, or correct store"
    if re.search(REFUSED, text):
        return (
            f"the bucket refused {told}; give credentials that may list, read and write it:"
            f" {CREDENTIALS[address.scheme]}"
        )
    if re.search(r"NETWORK_CONNECTION|curlCode|UNAVAILABLE|[Tt]imed? ?out", text):
        where = address.endpoint or "its provider"
        named = f", or correct {ENDPOINTS[address.scheme][-1]}" if address.endpoint else ""
        return f"{where} cannot be reached {told}; look at the network{named}"
    return _short(text)


def _short(text: str) -> str:
    """The telling part of a message that can have a page."""
    line = text.splitlines()[0] if text else "no reason given"
    found = re.search(r"(?:AWS Error|last message of) (.*)", line)
    return re.split(r" \(Request ID| error_info", found[1] if found else line)[0][:200]
