"""The one exception that is a message to the user."""


class UserError(ValueError):
    """A mistake in what the user gave: one sentence that says what to change.

    Programs print it without a traceback and end with exit status 2.
    """
