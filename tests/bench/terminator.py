"""Ends TLS in front of a plain listener: terminator.py HOST:PORT PLAIN-HOST:PORT CERTIFICATE KEY.

Passes bytes on as they come, a thread for each connection. Never looks into them, never offers HTTP/2.
"""

import select
import socket
import ssl
import sys
import threading

CHUNK = 65536


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def pass_on(tls, plain):
    """Both directions in one thread: an SSL object must not be read and written by two at once."""
    while True:
        ready = [tls] if tls.pending() else select.select([tls, plain], [], [])[0]
        for source in ready:
            data = source.recv(CHUNK)
            if not data:
                return
            (plain if source is tls else tls).sendall(data)


def connection(context, client, target):
    try:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(client, server_side=True) as tls, socket.create_connection(target) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pass_on(tls, plain)
    except OSError as error:  # a client that goes away is not worth more than a line
        print(error, flush=True)


def main():
    listen, target, certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(address(listen), backlog=128) as server:
        while True:
            client, _ = server.accept()
            arguments = (context, client, address(target))
            threading.Thread(target=connection, args=arguments, daemon=True).start()


main()
