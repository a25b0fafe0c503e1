"""A server on loopback that answers GET and HEAD with what a function says."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(answer):
    """`answer(path, headers)` gives status, headers and content. Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, content = answer(self.path, self.headers)
            self.send_response(status)
            for each in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(*each)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
