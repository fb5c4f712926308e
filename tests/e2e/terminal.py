"""A program on a terminal of its own, as a person has it."""

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time

import harness

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    def __init__(self, words, env):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            words,
            env={**env, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.shown = ""
        self.seen = 0

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(harness.HANG_S)
        os.close(self.master)

    def type(self, text):
        os.write(self.master, text.encode())

    def take(self, timeout_s):
        """False once nobody can write any more."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return True
        try:
            piece = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown += piece.decode(errors="replace")
        return bool(piece)

    def until(self, text):
        """Waits until text is shown, behind what was waited for before; all that was shown up to it."""
        until = time.monotonic() + harness.HANG_S
        while True:
            screen = CONTROL.sub("", self.shown)
            at = screen.find(text, self.seen)
            if at >= 0:
                before, self.seen = screen[self.seen : at + len(text)], at + len(text)
                return before
            assert time.monotonic() < until, f"waited for {text!r}; shown: {screen!r}"
            assert self.take(0.05), f"the end came before {text!r}; shown: {screen!r}"

    def exit_status(self, key=""):
        """Of the program, once it has ended; key is typed until it has. The line editor takes over the terminal behind
        its prompt: a ctrl-D that comes before is the kernel's, and gone when the editor looks."""
        until = time.monotonic() + harness.HANG_S
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it does not end; shown: {self.shown!r}"
            if key:
                self.type(key)
            if not self.take(0.2):
                break
        return self.process.wait(harness.HANG_S)
