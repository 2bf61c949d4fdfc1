"""The autograder's rooms: contract, references, mistakes, worker, judge and report.

Imports go one way: references <- mistakes <- contract <- judge <- report; worker stands alone,
because it runs beside a student's code. NumPy is all that is needed.
"""
