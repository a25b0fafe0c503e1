"""A server of the S3 protocol on loopback (moto's), which counts what it is asked and can be made to refuse.

It is a process of its own, since vLLM does not start in one that has imported the server's Flask.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread

from pyarrow import fs

REFUSAL = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}
METHODS = frozenset({"DELETE", "GET", "HEAD", "POST", "PUT"})


class ObjectServer:
    """`endpoint` is where it listens; `orders` leads to its process."""

    def __init__(self, orders: Connection) -> None:
        self._orders = orders
        self.endpoint = f"http://127.0.0.1:{orders.recv()}"
        self.num_buckets = 0

    @property
    def asked(self) -> Counter[str]:
        """Requests since `forget`, by method and kind of object."""
        return self._order("asked")

    def forget(self) -> None:
        self._order("forget")

    def refuse(self, *methods: str) -> None:
        """From now on requests with these methods are forbidden, and no others."""
        self._order("refuse", *methods)

    def _order(self, *order: str) -> Counter[str]:
        self._orders.send(order)
        return self._orders.recv()

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


@contextmanager
def serving() -> Iterator[ObjectServer]:
    """A server that listens until the block ends."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        yield ObjectServer(here)
    finally:
        here.close()
        process.join()


def _serve(orders: Connection) -> None:
    """The server's process: tells its port, then answers orders until whoever gives them is gone."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    class Silent(MotoRequestHandler):
        def log_request(self, *_: object) -> None:
            """Nothing to see."""

    moto = DomainDispatcherApplication(create_backend_app)
    asked: Counter[str] = Counter()
    refused: set[str] = set()

    def answer(environ: dict, start_response: Callable) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        is_listing = method == "GET" and "list-type" in environ["QUERY_STRING"]
        asked["LIST" if is_listing else method] += 1
        if method in refused:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [REFUSAL]
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Silent)
    Thread(target=server.serve_forever, daemon=True).start()
    orders.send(server.server_port)
    with suppress(EOFError):
        while True:
            match orders.recv():
                case ("forget",):
                    asked.clear()
                case ("refuse", *methods):
                    refused.clear()
                    refused.update(methods)
            orders.send(asked)
