"""Who was where, for those who may ask: sheets, rounds, risks, traces; and what is forgotten in time.

Records name a person by a pseudonym that changes every day (`subjects`); what a person has stated at a
registration comes sealed beside a record. Everything here is told to somebody who has said who he is and why
he asks, and only after that stands in the access log.

    subjects    the names of one person, day by day
    sightings   what records say, whoever stated it
    visits      visits and passages out of records
    presence    from when until when somebody was inside
    sheet rounds risk trace    the four questions
    access_log  who has asked, chained
    privacy     opening and erasing what is sealed
    retention   what is erased and retired when its time is over
    commands    the command line
"""
