"""The one error a user can cause."""


class UserError(Exception):
    """A mistake of the user's: one line that names the file or field and the mend.

    `launch.py` prints the line on stderr and exits with code 2, without a traceback. Everything else that is
    raised is a defect of ours (exit code 1).
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Stopped(Exception):
    """The process was asked to end (SIGTERM) and has saved its work: the same command goes on from there."""
