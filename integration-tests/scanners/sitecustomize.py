# For scanners that cannot choose their address: whoever binds to any address gets that of BIND.
import os
import socket

_bind, _host = socket.socket.bind, os.environ.get("BIND")
if _host:
    socket.socket.bind = lambda self, to: _bind(self, (_host, to[1]) if to[0] in ("", "0.0.0.0") else to)
