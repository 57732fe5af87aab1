"""Commands to the gates: made, counted and signed here, sent by the running centre, answered by the gates.

    book        makes a command and keeps it, and reads what has become of it
    answers     which of a gate's records are the answer; pure
    courier     the thread of a running centre that sends, and raises an alarm for what is not answered
    unanswered  the alarm about a command without an answer
    verify      checks the book again, for `central verify`
    command     `central command` and `central commands`

The other side, and what a command is, stands in `gate.core.commands`.
"""
