"""Comparisons: one evaluation over several served models, and whether the differences are real.

`spec` says what to compare, `running` runs it, `assessing` finds the differences, `paired` and `resampling` are the
statistics, `gate` the decision, `folder` and `report` what is left for people and programs.
"""
