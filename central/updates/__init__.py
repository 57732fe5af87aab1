"""Updates of the gates' software: ring by ring, by signed command, with what came of each.

    settings    the rings of the configuration
    standing    how each gate stands: the version that runs, the one that was asked for, what came of it
    command     `central update` and `central updates`

What a gate does about it, and the files on the device: `gate.core.updates`, docs/updates.md.
"""
