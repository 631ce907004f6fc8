"""Discovery, bootstrap, joining, membership changes and the removal of dead servers.

Decisions are pure: ``discovery_view``, ``bootstrap``, ``bootstrap_expect``, ``joining``,
``address_book``, ``member_rules``, ``autopilot``. ``bootstrap_io``, ``probes``, ``member`` and
``membership`` do the I/O. ``interface`` declares what the host of this package provides. Nothing
here knows log entries or the state machine.
"""
