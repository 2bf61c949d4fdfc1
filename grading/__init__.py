"""The autograder's rooms: contract, references, mistakes, answers, worker, judge and report.

Imports go one way: references <- mistakes <- answers, and contract <- judge <- report. contract
asks for answers only where no key is read from a file; so a hand-out needs none of the first
three. worker stands alone, because it runs beside a student's code. NumPy is all that is needed.
"""
