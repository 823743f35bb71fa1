#!/usr/bin/env python3
"""Measures uploads of `fumidai connect` over simulated paths, and prints ratios of measurements of one run."""

import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

TARGET = "i-0123456789abcdef0"
# Milliseconds each way, and the largest random addition.
PATHS = {
    "20 ms each way, up to 40 ms of jitter": (["--delay", "20", "--jitter", "40"], False),
    "20 ms each way, up to 80 ms of jitter": (["--delay", "20", "--jitter", "80"], False),
    "a proxy that collects small segments": ([], True),
}
STEADY = ["--delay", "40"]


class Sink:
    """The destination: reads so many bytes, and answers with one."""

    def __init__(self, length):
        self.length, self.listener = length, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            left = self.length
            while left > 0 and (piece := connection.recv(1 << 16)):
                left -= len(piece)
            connection.sendall(b"!")
            connection.close()


def serve(binaries, options, environment, children):
    """Starts a simulator; returns the environment of its clients."""
    command = [f"{binaries}/fumidai-sim", "serve", "--quick-resend", *options]
    simulator = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    children.append(simulator)
    found = {}
    for line in simulator.stdout:
        if given := re.match(r"export (\w+)='(.*)';$", line):
            found[given[1]] = given[2]
    return {**environment, **found}


def proxied(environment, children):
    """Starts microsocks, which leaves Nagle's algorithm on; returns the environment that uses it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children.append(subprocess.Popen(["microsocks", "-i", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL))
    while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
        time.sleep(0.01)
    without = {name: value for name, value in environment.items() if name != "NO_PROXY"}
    return {**without, "ALL_PROXY": f"socks5://127.0.0.1:{port}"}


def rate(program, binaries, path, through_proxy, length):
    """Returns the bytes a second of the second of two uploads: the first one fills the cache of message sizes."""
    children, sink = [], Sink(length)
    with tempfile.TemporaryDirectory() as folder:
        homes = {name: folder for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        try:
            environment = serve(binaries, path, {"PATH": os.environ["PATH"], **homes}, children)
            if through_proxy:
                environment = proxied(environment, children)
            return [upload(program, sink, length, environment) for _ in range(2)][1]
        finally:
            for child in children:
                child.kill()
                child.wait()


def upload(program, sink, length, environment):
    began = time.monotonic()
    command = [program, "connect", TARGET, str(sink.port), "--linger", "600"]
    done = subprocess.run(command, input=bytes(length), stdout=subprocess.PIPE, env=environment, check=True)
    assert done.stdout == b"!", done.stdout
    return length / (time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", default="target/debug", help="the folder of both programs")
    parser.add_argument("--against", metavar="PROGRAM", help="another build of fumidai, to compare with")
    parser.add_argument("--megabytes", type=int, default=8)
    given = parser.parse_args()
    length, ours = given.megabytes * 1_000_000, str(pathlib.Path(given.binaries, "fumidai"))
    steady = rate(ours, given.binaries, STEADY, False, length)
    if given.against:
        theirs = rate(given.against, given.binaries, STEADY, False, length)
        print(f"40 ms each way, against the other build: {steady / theirs:.2f} times")
    for name, (path, through_proxy) in PATHS.items():
        if through_proxy and not shutil.which("microsocks"):
            print(f"{name}: left out, microsocks is missing")
            continue
        mine = rate(ours, given.binaries, path, through_proxy, length)
        print(f"{name}, against 40 ms each way: {mine / steady:.2f} times")
        if given.against:
            theirs = rate(given.against, given.binaries, path, through_proxy, length)
            print(f"{name}, against the other build: {mine / theirs:.2f} times")


if __name__ == "__main__":
    main()
