"""`make chaos`: gates, broker and centre as real processes, killed, frozen and flooded, and held to account.

Nothing inside is believed. What the simulated turnstiles wrote down (`drivers.sim.pulses`), what the ledgers
on disk hold and what the centre gives out are compared from outside when all processes have ended.

    faults     what goes wrong and when, from a seed
    plant      the processes: how each is set up, started, killed, stopped
    proxy      the wire between them: a process that freezes links and enforces Receive Maximum
    accounts   what was lost, doubled, undetected, passed without a record
    run        one run from the first visitor to the last line
"""
