"""Runs a program on a terminal of its own, with standard input elsewhere, and answers its question.

terminal.py ANSWER DELAY COMMAND...: prints what the terminal showed, then `echo on` or `echo off`; exits as the program.
"""
import os, pty, sys, termios, time

answer, delay, *command = sys.argv[1:]
program, terminal = pty.fork()
if program == 0:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.execv(command[0], command)
shown, answered = b"", False
while True:
    ended, status = os.waitpid(program, os.WNOHANG)
    os.set_blocking(terminal, False)
    try:
        shown += os.read(terminal, 4096)
    except OSError:  # not open yet, or closed already
        pass
    if ended:
        break
    if (b"MFA code" in shown or b"Reason for" in shown or b"[y/N]" in shown) and not answered:
        answered = True
        time.sleep(float(delay))
        os.write(terminal, answer.encode())
    time.sleep(0.02)
print(shown.decode())
print("echo on" if termios.tcgetattr(terminal)[3] & termios.ECHO else "echo off")
sys.exit(os.waitstatus_to_exitcode(status))
