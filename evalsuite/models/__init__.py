"""Language models: prompts, checkpoints, packed rows, scoring, sampling, rewards.

The only room of the core that knows torch. Importing the package itself loads nothing; its modules
load torch and transformers, so commands import them inside their functions.

    names.py        what a model is called: a folder, a short name, an id of the hub
    info.py         evalsuite.json, the record beside a checkpoint's weights
    checkpoints.py  policies and reward models in and out of Hugging Face folders
    limits.py       the pad token, the vocabulary, the context
    quiet.py        transformers without its bars, its errors as one line
    describe.py     what is known of a checkpoint without loading its weights
    fetch.py        a small pretrained model from the package index, where no hub answers
    prompts.py      the one place that renders a prompt
    packing.py      a prompt and its completions as rows, and the modules that read them
    prefix.py       a prompt's keys and values, computed once for all its completions
    scoring.py      log-probabilities and rewards of completions
    noise.py        the noise of sampling, by hash
    sampling.py     K samples a prompt
    parquet.py      samples and scores on file, block by block
    rewards.py      what is optimised: reward models, ensembles, text metrics
    bases/          tiny Llamas of three sizes, pretrained on the simulated world's posts
"""
