"""A server of the S3 protocol on loopback (moto's), which counts what it is asked and can be made to refuse."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from pyarrow import fs
from werkzeug.serving import make_server

REFUSAL = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class ObjectServer:
    """`endpoint` is where it listens; `asked` counts requests by method and kind of object."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.is_refusing: Callable[[str, str], bool] = lambda _method, _path: False
        self.app = DomainDispatcherApplication(create_backend_app)
        self.server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent
        )
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.num_buckets = 0

    def _answer(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        is_listing = method == "GET" and "list-type" in environ["QUERY_STRING"]
        self.asked["LIST" if is_listing else method] += 1
        if self.is_refusing(method, path):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [REFUSAL]
        return self.app(environ, start_response)

    @property
    def environment(self) -> dict[str, str]:
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def filesystem(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key="key",
            secret_key="secret",
            region="us-east-1",
            scheme="http",
            endpoint_override=self.endpoint.removeprefix("http://"),
            allow_bucket_creation=True,
        )

    def new_bucket(self) -> str:
        self.num_buckets += 1
        name = f"bucket-{self.num_buckets}"
        self.filesystem().create_dir(name)
        return name

    def names(self, bucket: str, pattern: str = "") -> list[str]:
        """Objects of a bucket whose names have the pattern in them."""
        listed = self.filesystem().get_file_info(fs.FileSelector(bucket, recursive=True))
        files = [each.path for each in listed if each.type == fs.FileType.File]
        return sorted(each for each in files if re.search(pattern, each))


class _Silent(MotoRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing to see."""


@contextmanager
def serving() -> Iterator[ObjectServer]:
    """A server that listens until the block ends."""
    served = ObjectServer()
    thread = Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        thread.join()
