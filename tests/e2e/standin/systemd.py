#!/usr/bin/env python3
"""A stand-in for the user instance of systemd, where a test has no user bus.

It is called as systemctl, journalctl or loginctl. It reads units as systemd.syntax(7) says, as far as those of fumidai need
it, really starts and stops their processes with a clean environment, waits for READY=1, restarts them (after a tenth of a
second, not RestartSec) and keeps their output. What systemd does beyond that, such as sandboxing, is not played:
`systemd-analyze verify` reads the same unit in the tests.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

RUNTIME = os.environ["XDG_RUNTIME_DIR"]
STATE = os.path.join(RUNTIME, "standin")
UNITS = os.path.join(os.environ["XDG_CONFIG_HOME"], "systemd", "user")
WANTS = os.path.join(UNITS, "default.target.wants")
PAUSE = 0.01


def words(text):
    """Splits a value into words, and resolves quotes, escapes and specifiers."""
    found, at = [], 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        word, quoted = "", text[at] == '"'
        at += quoted
        while at < len(text) and text[at] != ('"' if quoted else " "):
            if text[at] == "\\" and text[at + 1] == "x":
                word, at = word + chr(int(text[at + 2 : at + 4], 16)), at + 4
            elif text[at] == "\\":
                word, at = word + text[at + 1], at + 2
            elif text[at : at + 2] == "%%":
                word, at = word + "%", at + 2
            else:
                word, at = word + text[at], at + 1
        found.append(word)
        at += quoted
    return found


def read(unit):
    values = {"Environment": []}
    with open(os.path.join(UNITS, unit), encoding="utf-8") as file:
        for line in file.read().splitlines():
            key, _, value = line.partition("=")
            if key == "Environment":
                values[key] += words(value)
            elif not key.startswith(("#", "[")):
                values[key] = value
    return values


def path(unit, kind):
    return os.path.join(STATE, f"{unit}.{kind}")


def note(unit, **facts):
    new = path(unit, f"{os.getpid()}.new")
    with open(new, "w", encoding="utf-8") as file:
        json.dump(facts, file)
    os.rename(new, path(unit, "state"))


def known(unit):
    try:
        with open(path(unit, "state"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"active": "inactive", "sub": "dead", "code": 0, "status": 0, "keeper": 0, "main": 0}


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return pid > 0
    except ProcessLookupError:
        return False


def end(pid):
    """Asks a process to end; one that has just ended needs no signal."""
    try:
        if pid > 0:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass


def keep(unit):
    """Runs a unit until it is stopped, or has failed for good. Ends too if the test's folder is gone."""
    values = read(unit)
    environment = {name: os.environ[name] for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")}
    environment["PATH"] = "/usr/bin:/bin"
    environment.update(word.split("=", 1) for word in values["Environment"])
    command = [word.replace("$$", "$") for word in words(values["ExecStart"])]
    prevented = [int(code) for code in values["RestartPreventExitStatus"].split()]
    while True:
        facts = {"keeper": os.getpid(), "code": 0, "status": 0}
        address = path(unit, "notify")
        if os.path.exists(address):
            os.unlink(address)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(address)
        ready.settimeout(PAUSE)
        with open(path(unit, "journal"), "ab") as journal:
            process = subprocess.Popen(
                command,
                env={**environment, "NOTIFY_SOCKET": address},
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
            )
        note(unit, active="activating", sub="start", main=process.pid, **facts)
        while process.poll() is None:
            try:
                if b"READY=1" in ready.recv(4096):
                    note(unit, active="active", sub="running", main=process.pid, **facts)
            except TimeoutError:
                pass
            if not os.path.isdir(STATE):
                process.kill()
                return
        status = process.returncode
        facts.update(code=1 if status >= 0 else 2, status=abs(status))
        if os.path.exists(path(unit, "stop")):
            return note(unit, active="inactive", sub="dead", main=0, **facts)
        if values["Restart"] != "always" or status in prevented:
            return note(unit, active="failed", sub="failed", main=0, **facts)
        note(unit, active="activating", sub="auto-restart", main=0, **facts)
        time.sleep(0.1)
        if os.path.exists(path(unit, "stop")) or not os.path.isdir(STATE):
            return note(unit, active="inactive", sub="dead", main=0, **facts)


def start(unit):
    if not os.path.exists(os.path.join(UNITS, unit)):
        sys.exit(f"Failed to start {unit}: Unit {unit} not found.")
    if not is_alive(known(unit)["keeper"]):
        if os.path.exists(path(unit, "state")):
            os.unlink(path(unit, "state"))
        subprocess.Popen(
            [sys.executable, os.path.realpath(__file__), "keep", unit],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=open(path(unit, "keeper"), "ab"),
        )
    while True:
        facts = known(unit)
        if facts["active"] == "active":
            return
        if facts["sub"] in ("auto-restart", "failed"):
            sys.exit(f"Job for {unit} failed because the control process exited with error code.")
        time.sleep(PAUSE)


def stop(unit):
    open(path(unit, "stop"), "w").close()
    while is_alive(known(unit)["keeper"]):
        end(known(unit)["main"])
        time.sleep(PAUSE)
    os.unlink(path(unit, "stop"))


def link(unit):
    return os.path.join(WANTS, unit)


def enable(unit):
    if not os.path.exists(os.path.join(UNITS, unit)):
        sys.exit(f"Failed to enable unit: Unit file {unit} does not exist.")
    os.makedirs(WANTS, exist_ok=True)
    if not os.path.islink(link(unit)):
        os.symlink(os.path.join(UNITS, unit), link(unit))


def disable(unit):
    if os.path.islink(link(unit)):
        os.unlink(link(unit))
    if os.path.isdir(WANTS) and not os.listdir(WANTS):
        os.rmdir(WANTS)


def show(unit):
    facts = known(unit)
    is_loaded = os.path.exists(os.path.join(UNITS, unit))
    file = "" if not is_loaded else "enabled" if os.path.islink(link(unit)) else "disabled"
    print(f"LoadState={'loaded' if is_loaded else 'not-found'}\nUnitFileState={file}")
    print(f"ActiveState={facts['active']}\nSubState={facts['sub']}")
    print(f"ExecMainCode={facts['code']}\nExecMainStatus={facts['status']}")


def reboot():
    """Ends every process at once, and starts what is enabled."""
    units = [name.removesuffix(".state") for name in os.listdir(STATE) if name.endswith(".state")]
    for unit in units:
        for pid in (known(unit)["keeper"], known(unit)["main"]):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        os.unlink(path(unit, "state"))
    for unit in os.listdir(WANTS) if os.path.isdir(WANTS) else []:
        start(unit)


def systemctl(args):
    if "--version" in args:
        return print("systemd 252 (stand-in)")
    if os.path.exists(os.path.join(RUNTIME, "no-bus")):
        sys.exit("Failed to connect to bus: No medium found")
    args = [arg for arg in args if arg != "--user" and not arg.startswith("--property=")]
    verb, units = args[0], [arg for arg in args[1:] if not arg.startswith("-")]
    if verb in ("show-environment", "daemon-reload", "reset-failed"):
        return None
    if verb == "show":
        return show(*units)
    # As systemd does, one job after the other.
    with open(path("all", "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if verb == "reboot":
            return reboot()
        for unit in units:
            if verb in ("stop", "restart") or "--now" in args:
                stop(unit)
            if verb in ("enable", "disable"):
                {"enable": enable, "disable": disable}[verb](unit)
            if verb in ("start", "restart"):
                start(unit)


def main():
    os.makedirs(STATE, exist_ok=True)
    name, args = os.path.basename(sys.argv[0]), sys.argv[1:]
    if args[:1] == ["keep"]:
        keep(args[1])
    elif name == "systemctl":
        systemctl(args)
    elif name == "loginctl":
        print("no")
    elif name == "journalctl":
        unit = args[args.index("--user-unit") + 1]
        with open(path(unit, "journal"), encoding="utf-8") as journal:
            print("".join(journal.readlines()[-int(args[args.index("--lines") + 1]) :]), end="")


main()
