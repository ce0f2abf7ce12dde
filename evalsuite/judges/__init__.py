"""Judges: who says which of two summaries of a post is better.

    judge.py      Question, Answer, and what every judge keeps to
    file.py       labels on file
    simulated.py  the simulated world's labelers, and its truth
    gold.py       a reward model
    llm.py        a language model behind an OpenAI-compatible endpoint, with
                  prompt.py (what it is asked), endpoint.py (HTTP), cache.py (replies on disk)
    pairs.py      which pairs to ask
    words.py      a judge from words
    lines.py      answers as lines of labels

Importing any of them loads no torch; a reward model loads it when it is made.
"""

from evalsuite.judges.judge import Answer, Judge, Question, Tally, tally

__all__ = ["Answer", "Judge", "Question", "Tally", "tally"]
