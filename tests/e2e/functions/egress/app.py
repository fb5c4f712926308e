"""Tries to reach what the event names, and says what came of it."""

import os
import pathlib
import socket
import urllib.request


def attempt(action):
    try:
        return action()
    except OSError as error:
        return type(error).__name__ + ": " + str(error)


def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(5)
        sender.sendto(b"ping", (host, port))
        return sender.recv(100).decode()


def at_init():
    """At once: a function's first line may need the network."""
    url = os.environ.get("AT_INIT")
    return attempt(lambda: urllib.request.urlopen(url, timeout=5).read().decode()) if url else None


opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
urllib.request.install_opener(opener)
first = at_init()


def handler(event, context):
    if event.get("read"):
        return pathlib.Path(event["read"]).read_text()
    if event.get("first"):
        return first
    if event.get("udp"):
        return attempt(lambda: udp(*event["udp"]))
    return attempt(lambda: urllib.request.urlopen(event["url"], timeout=5).read().decode())
