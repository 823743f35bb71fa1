#!/usr/bin/env python3
"""Measures `fumidai forward` with the simulator on this machine, and prints ratios of measurements of one run."""

import argparse
import os
import pathlib
import re
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

TARGET = "i-0123456789abcdef0"
REQUEST = b"r" * 100
CHUNK = b"d" * 65536
ECHO, SEND, TAKE = b"E", b"S", b"T"


def read_exactly(connection, length):
    pieces = []
    while length > 0:
        piece = connection.recv(min(length, 1 << 20))
        if not piece:
            raise EOFError("the connection ended")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def serve(connection):
    """The destination: echoes requests, sends a number of bytes, or reads to EOF."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            what = read_exactly(connection, 1)
            if what == ECHO:
                connection.sendall(read_exactly(connection, len(REQUEST)))
            elif what == SEND:
                (left,) = struct.unpack("!Q", read_exactly(connection, 8))
                while left > 0:
                    piece = CHUNK[:left]
                    connection.sendall(piece)
                    left -= len(piece)
            elif what == TAKE:
                while connection.recv(1 << 20):
                    pass
                return
    except (EOFError, OSError):
        pass
    finally:
        connection.close()


def far_side():
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


class Bench:
    def __init__(self, binaries, delay, folder):
        self.binaries = binaries
        self.children = []
        far = self.start([sys.executable, os.path.abspath(__file__), "--far-side"], os.environ)
        self.far_port = int(far.stdout.readline())
        home = {name: folder for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        # The user's environment is not used; the simulator prints the variables to set.
        self.environment = {**{"PATH": os.environ["PATH"]}, **home}
        simulator = self.start([f"{binaries}/fumidai-sim", "serve", "--delay", str(delay)], self.environment)
        for line in simulator.stdout:
            found = re.match(r"export (\w+)='(.*)';$", line)
            if found:
                self.environment[found[1]] = found[2]
            if found and found[1] == "FUMIDAI_SIM_PID":
                break

    def start(self, words, environment):
        child = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.children.append(child)
        return child

    def forward(self, sessions):
        words = ["forward", TARGET, "-L", f"0:{self.far_port}", "--sessions", str(sessions), "--json"]
        child = self.start([f"{self.binaries}/fumidai", *words], self.environment)
        line = child.stdout.readline()
        found = re.search(r'"local":"127\.0\.0\.1:(\d+)"', line)
        if not found:
            raise RuntimeError(f"fumidai forward did not listen: {line!r}")
        return child, int(found[1])

    def stop(self, child):
        child.terminate()
        child.wait(timeout=10)
        self.children.remove(child)

    def end(self):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            child.wait(timeout=10)


def connect(port):
    """Returns a connection on which one request was answered, so that its session is open."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(120)
    ask(connection)
    return connection


def ask(connection):
    began = time.monotonic()
    connection.sendall(ECHO + REQUEST)
    if read_exactly(connection, len(REQUEST)) != REQUEST:
        raise RuntimeError("the response differs from the request")
    return time.monotonic() - began


def run_all(connections, act):
    """Runs `act` for all connections at once; returns the seconds until the last has finished."""
    failures = []

    def one(connection):
        try:
            act(connection)
        except Exception as error:  # raised by the caller below
            failures.append(error)

    threads = [threading.Thread(target=one, args=(connection,)) for connection in connections]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.monotonic() - began


def download(bench, sessions, connections, each):
    """Returns bytes a second, over all connections."""
    child, port = bench.forward(sessions)
    connected = connect_all(port, connections)

    def act(connection):
        connection.sendall(SEND + struct.pack("!Q", each))
        read_exactly(connection, each)

    seconds = run_all(connected, act)
    for connection in connected:
        connection.close()
    bench.stop(child)
    return connections * each / seconds


def connect_all(port, count):
    found = []
    run_all(range(count), lambda _: found.append(connect(port)))
    return found


def latencies(bench, requests):
    """Returns round-trip times of requests alone and beside an upload, and the upload's rate."""
    child, port = bench.forward(1)
    connection, bulk = connect_all(port, 2)
    idle = [ask(connection) for _ in range(requests)]
    stop, sent = threading.Event(), [0]

    def upload():
        bulk.sendall(TAKE)
        while not stop.is_set():
            bulk.sendall(CHUNK)
            sent[0] += len(CHUNK)

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    # The first bytes only fill buffers and are not part of the rate.
    time.sleep(2)
    before, began = sent[0], time.monotonic()
    beside = [ask(connection) for _ in range(requests)]
    rate = (sent[0] - before) / (time.monotonic() - began)
    stop.set()
    thread.join(timeout=60)
    connection.close()
    bulk.close()
    bench.stop(child)
    return idle, beside, rate


def resident(child):
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def memory(bench, count):
    """Returns resident kilobytes with one connection and with `count`."""
    child, port = bench.forward(1)
    kept = [connect(port)]
    one = resident(child)
    kept += connect_all(port, count - 1)
    for connection in kept:
        ask(connection)
    many = resident(child)
    for connection in kept:
        connection.close()
    bench.stop(child)
    return one, many


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--far-side", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--binaries", default=root / "target/debug", metavar="FOLDER", help="folder of fumidai and fumidai-sim")
    parser.add_argument("--delay", type=int, default=10, metavar="MS", help="delay of the simulated path, each way [10]")
    parser.add_argument("--megabytes", type=float, default=3.0, metavar="N", help="megabytes to download per session [3]")
    parser.add_argument("--requests", type=int, default=200, metavar="N", help="requests to time [200]")
    parser.add_argument("--connections", type=int, default=200, metavar="N", help="connections to hold open [200]")
    given = parser.parse_args()
    if given.far_side:
        return far_side()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given.binaries, given.delay, folder)
        try:
            size = int(given.megabytes * 1e6)
            alone = download(bench, 1, 4, size // 4)
            spread = download(bench, 4, 4, size)
            print(f"download, 4 connections in 4 sessions against in 1: {spread / alone:.2f} times", flush=True)
            idle, beside, upload = latencies(bench, given.requests)
            print(f"upload against download, in 1 session: {upload / alone:.1f} times")
            print(
                "100-byte requests beside an upload against alone: "
                f"median {statistics.median(beside) / statistics.median(idle):.2f} times, "
                f"95th percentile {percentile(beside) / percentile(idle):.2f} times",
                flush=True,
            )
            one, many = memory(bench, given.connections)
            print(f"memory with {given.connections} open connections against with 1: {many / one:.2f} times")
        finally:
            bench.end()


def percentile(samples):
    return sorted(samples)[int(len(samples) * 0.95)]


if __name__ == "__main__":
    main()
