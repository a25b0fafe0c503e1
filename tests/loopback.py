"""A server on loopback that answers with what a function says."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(answer):
    """`answer(path, headers, content)` of a request gives status, headers and content, or None for no answer at all.
    Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answered = answer(self.path, self.headers, sent)
            if answered is None:
                return
            status, headers, content = answered
            self.send_response(status)
            for each in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(*each)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
