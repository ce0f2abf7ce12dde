"""The embedded default: a small world whose truth is known.

What is in it
    Posts in several subreddits tell nine hidden facts (whose relation to the writer, name, act,
    object, place, since when, feeling, what was tried, the question), among decoys that could be
    mistaken for them. A second domain looks like news: articles that begin with the facts, longer
    references, policies carried over from the first domain.
    Authors of three cares write the references. About forty policies, named as in the OpenAI
    release, differ in strength, wordiness, temperature and copying; best-of-N and PPO really
    optimise a proxy that likes length and cannot tell invented details from true ones, so much
    optimisation does harm. Labelers differ in skill, length taste, side bias, lapses, drift,
    boldness and leniency.

What is true in it
    `World.utility` gives the true utility of any text of a post, whoever wrote it, read back from
    the text: coverage - .5 contradictions - .5 garbled word pairs - .5 repeated word triples - .1
    tokens out of range. The half point for contradictions is a choice that keeps the utility
    learnable for small models; world.py says more. `truth` gives what statistics estimate: rates,
    agreement, where length control converges, ratings.

How it is used
    `write_release(folder, WorldConfig(seed=0))` writes files in the release's format. `answer` asks
    the simulated labelers about any two texts of a post, whoever wrote them. About 400 words; TL;DR
    posts are under 100 words.

Modules: language (words, sentences), ragged (rows of tokens), plans (facts to words), world
(posts, utility), policies and roster (who writes), labelers (who answers), design (what is
compared), release (files), truth (what is to be found).
"""

from evalsuite.simulation.labelers import Answers, Crowd, answer
from evalsuite.simulation.release import RELEASE_SIZE, SMALL, WorldConfig, write_release
from evalsuite.simulation.world import Posts, World

__all__ = [
    "RELEASE_SIZE",
    "SMALL",
    "Answers",
    "Crowd",
    "Posts",
    "World",
    "WorldConfig",
    "answer",
    "write_release",
]
