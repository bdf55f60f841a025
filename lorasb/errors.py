"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Bad input. Its message is one line: what is wrong, where, and what would be right.

    The command line prints the message without a traceback and exits with status 1.
    """
