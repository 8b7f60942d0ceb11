"""A model that streams, as a person writes it, and does what its text says.

It waits for files that the test makes when it has seen what came before: so a test knows, without a clock,
that a piece was there before the next one was made.
"""

import os
import time

CLOSED = []
"""What was begun and has ended: the host's own memory, which a later request asks for."""


def talk(text: str):
    """Say each word; some do something."""
    if text == "closed":
        yield " ".join(CLOSED)
        return
    word = ""
    try:
        for word in text.split():
            verb, _, rest = word.partition(":")
            if verb == "wait":
                while not os.path.exists(rest):
                    time.sleep(0.005)
            elif verb == "raise":
                raise RuntimeError("told to")
            elif verb == "refuse":
                raise ValueError("not this")
            elif verb == "die":
                os.abort()
            elif verb == "many":
                for at in range(int(rest)):
                    yield f"{at:08}" * 4096
            else:
                yield word + " "
    finally:
        CLOSED.append(text.partition(" ")[0])
