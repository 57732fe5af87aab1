"""The daily reports: what happened at the gates on one local day, and what can be vouched for.

    report = day.make(found, scope, span)            # pure: the same store, day and cut-off, the same bytes
    document = sealing.sealed(report, centre_key)    # with its SHA-256 and the centre's signature

Three levels report upwards (GR-1): 3 one gate, 2 one site or a named unit of sites, 1 everything. A day
without anything to report has a report as well (GR-2), and one that is late or absent is an alarm (BU-3).

`spans` local days and cut-offs, `figures` counting, `proofs` what is complete, `cases` the list of names,
`reading` what the store has to say, `schedule` what is due, `keeping` reports that were made, `page`,
`workbook` and `words` the forms, `command` the command.
"""
