"""Runs a program on a terminal, and answers its questions.

terminal.py COMMAND... with lines `QUESTION<tab>ANSWER` on standard input, in the order in which they are asked; `\\r`, `\\x03`
and so on are Python's. Prints what the terminal showed; exits as the program.
"""
import os, pty, select, sys

steps = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]
program, terminal = pty.fork()
if program == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, at = b"", 0
while True:
    select.select([terminal], [], [], 0.05)
    try:
        more = os.read(terminal, 4096)
    except OSError:  # the program has ended
        more = b""
    if not more:
        break
    shown += more
    if steps and (place := shown.find(steps[0][0].encode(), at)) >= 0:
        at = place + len(steps[0][0])
        os.write(terminal, steps.pop(0)[1].encode().decode("unicode_escape").encode())
_, status = os.waitpid(program, 0)
sys.stdout.buffer.write(shown)
print(f"\nnot asked: {steps}" if steps else "")
sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
