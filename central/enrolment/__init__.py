"""How devices come to be known: one-time tokens, certificates of the centre's own authority, and their end.

    identity    what `central gates add` reads
    authority   the authority: certificates and the list of the revoked ones
    own_certificates   what the centre and the broker show, made and renewed
    book        who may have a certificate: decided and written in one transaction
    service     the HTTPS service in `central run` that devices ask
    keeper      the thread that renews the list and the centre's own certificates

docs/enrolment.md tells the whole of it.
"""
