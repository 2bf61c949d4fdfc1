"""The autograder's rooms: courses, contract, judge and report; what computes answers; the worker.

Imports go one way: courses <- contract <- judge <- report, and references <- cases, mistakes <-
answers, each with a second part for the layers of deeper networks (more_cases, more_mistakes).
contract asks for answers only where no key is read from a file; so a hand-out (handout writes it)
needs none of the six files that compute them. worker stands alone, because it runs beside a
student's code. NumPy is all that is needed.
"""
