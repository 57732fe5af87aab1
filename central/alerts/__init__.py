"""Immediate alerts: what a record calls for, who is told, who has answered, and what is still to be done.

    dispatcher = Dispatcher(store.engine, config.alerts, clock, zone)  # a thread of its own: start(), stop()
    centre = Centre(..., audience=[dispatcher])                  # which never blocks and never raises

`rules` says what a record means (pure), `settings` and `routing` who is told, `book` keeps alerts and tasks
until they are done with, `backlog` finds what was never noted, `outbox` says what is due to whom, `packing`
puts it into messages (pure), `messages` words them (pure), `send` talks to the outside, `dispatcher` runs it
all, and `commands` is for the people on duty.
"""
