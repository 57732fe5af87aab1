"""The whole gate in virtual time from one seed: the real actor and ledger in a simulated, faulty world."""
