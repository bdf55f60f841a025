"""What each rule of the workflow does, from the files it reads to the files it writes.

One file per stage, glue only: the mathematics is in the modules it calls. A stage imports no more
than it needs, since every rule starts a process.
"""
