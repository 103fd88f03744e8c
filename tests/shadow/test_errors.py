"""How a command ends: one line, whatever libraries say afterwards."""

import subprocess
import sys

BROKEN_OFF = """
import asyncio, atexit, os, sys, threading, time
from shadow.errors import UserError, exits

async def never():
    pass

async def waits():
    await asyncio.sleep(60)

def at_the_end():
    print("a library's farewell", file=sys.stderr)
    os.write(2, b"and one from C++\\n")

atexit.register(at_the_end)
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(waits(), loop)  # still pending when the interpreter ends
left = never()
if len(sys.argv) > 1:
    sys.stderr.write("progress\\n")
with exits(lambda: "here"):
    raise UserError("shadows/0003: damaged checkpoint\\n  of two lines")
"""


def test_the_error_is_the_last_word():
    found = subprocess.run([sys.executable, "-c", BROKEN_OFF], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (2, "error: shadows/0003: damaged checkpoint of two lines\n")


def test_what_was_said_before_stays():
    found = subprocess.run([sys.executable, "-c", BROKEN_OFF, "before"], capture_output=True, text=True, timeout=60)
    assert found.stderr.splitlines()[0] == "progress"


ORPHANS = """
import sys, threading
from shadow.training import checkpoint
from shadow.errors import UserError, exits

class Orphan:
    def __init__(self, message):
        self.message = message

    def __del__(self):  # nobody can catch what it raises
        raise RuntimeError(self.message)

class Stubborn:
    def __await__(self):
        try:
            yield
        finally:
            raise ValueError("a read was broken off")

async def reads():
    await Stubborn()

left = reads()
left.send(None)
del left  # closed by the collector: "Exception ignored in: <coroutine object reads>"
for message in sys.argv[1:]:
    thread = threading.Thread(target=lambda: Orphan(message))
    thread.start()
    thread.join()
with exits(lambda: "here"):
    raise UserError("damaged checkpoint")
"""


def test_reads_that_a_damaged_checkpoint_broke_off_say_nothing():
    command = [sys.executable, "-c", ORPHANS, "Event loop is closed"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stderr) == (2, "error: damaged checkpoint\n")
    found = subprocess.run([*command, "something else"], capture_output=True, text=True, timeout=120)
    assert found.stderr.count("RuntimeError: something else") == 1
    assert found.stderr.splitlines()[-1] == "error: damaged checkpoint"
