"""A server on this machine that breaks off downloads as a bad line does."""

import http.server


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `body`, honours Range, and breaks off after `quota` bytes as often as `breaks` says."""

    body, breaks, quota, ranges = b"", 0, 40_000, []

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        Server.ranges.append(start)
        if self.path != "/file":
            return self.send_error(404)
        rest = self.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if Server.breaks:
            Server.breaks -= 1
            rest = rest[: self.quota]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass
