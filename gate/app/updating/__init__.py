"""What runs as root to bring a device to another version, and back: `gate update`.

    packages    apt and dpkg: our packages from our own signed source, and the ones to go back to
    health      is the gate at work, and no worse than before?
    rescue      the code that began an attempt, kept to finish it
    attempt     one attempt: its steps, each of which may be the last before a power cut

Files (`gate.core.updates` has the two that are shared with the service):

    /var/cache/health-gate/debs/          the packages of the running version and of the one that is wanted
    /var/cache/health-gate/lists/         the index of the source, new for each attempt, and gone after it
    /var/cache/health-gate/rescue/        the code of the version that began, while an attempt is open
    /var/cache/health-gate/attempt.json   how far the attempt has come, or how the last one ended

Who controls the service can ask for any version that the source has signed, and no more than that.
"""
