"""How nodes find each other, found a cluster, join one, and move within it.

Decisions are pure (``survey``, ``founding``, ``forming``, ``joining``, ``addresses``, ``steady``);
``contact`` and ``coordinator`` do the I/O beside them; ``ports`` says what the runtime provides.
Knows nothing of log entries or the state machine.
"""
