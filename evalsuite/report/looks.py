"""One look a policy: label, colour, marker and line style, from its name alone; sizes of text.

The reader wants another colour or a readable label for a policy. Any of it may be changed; what
must stay is that the look is a function of the name alone, so a policy looks the same in every
figure, run and machine, and that families differ in grey too (by marker, and most by lightness).
`tests/report/test_style.py` holds these. Names are read by `datasets.release.parse_policy`; here
is only how the parts are shown. Analyses use all of this through `report.style`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from evalsuite.datasets.release import PolicyName, parse_policy

TEXT, SMALL = 8.0, 7.0
"""Font sizes in points: labels and titles; ticks, legends, notes, direct labels."""

INK, MUTED, FAINT = "#1a1a1a", "#6b6b6b", "#d9d9d9"


class PolicyStyle(NamedTuple):
    """How a policy is drawn: readable label, hex colour, marker, line style, sort key."""

    label: str
    colour: str
    marker: str
    linestyle: str
    order: tuple[Any, ...]


class _Family(NamedTuple):
    """Hue in degrees, chroma and lightness (OKLCH), marker, line style."""

    hue: float
    chroma: float
    lightness: float
    marker: str
    linestyle: str


# Hues after Okabe and Ito; lightness and marker tell the families apart in grey.
_FAMILIES = {
    "reference": _Family(0, 0.00, 0.25, "s", "-"),
    "human": _Family(0, 0.00, 0.45, "P", "-"),
    "extractive": _Family(345, 0.13, 0.66, "v", ":"),
    "pretrained": _Family(90, 0.03, 0.68, "X", ":"),
    "supervised": _Family(250, 0.14, 0.50, "o", "-"),
    "best-of-n": _Family(165, 0.12, 0.62, "D", "--"),
    "ppo": _Family(48, 0.17, 0.60, "^", "-"),
    "other": _Family(300, 0.13, 0.52, "o", "-"),
}
FAMILIES = tuple(_FAMILIES)
"""Families of policies, in the order in which figures show them."""

_FAMILY_OF_METHOD = {"best_of_n": "best-of-n", "editor": "human"}
_BASE = re.compile(
    r"(?:sup|pretrain)(?P<run>\d*)(?:_(?P<data>(?!(?:small|medium|large)$)[a-z]+))?"
    r"(?:_(?P<size>small|medium|large|\d+(?:\.\d+)?[bm]))?"
)
_JOINT = re.compile(r"(?P<how>mean|worst|uncertainty)\(?(?P<of>rm\d+)\)?")
_SIZES = {"": 1.3, "6b": 6.7, "12b": 13.0, "small": 1.3, "medium": 4.0, "large": 13.0}
"""Billions of parameters where the release's word is not the paper's; words shade like them."""

_USUAL_COEF = 0.05  # of PPO's KL penalty, in the paper's main runs; labels name only others
_FINAL_RUN = 4  # of the release's supervised models sup1 to sup4; the paper's own models
_OTHER_MARKERS = "o^sDvP<>X"


def family(policy: str) -> str:
    """The family (one of `FAMILIES`) that a policy's name says it belongs to."""
    method = parse_policy(policy).method
    return _FAMILY_OF_METHOD.get(method, method)


@lru_cache(maxsize=4096)
def policy_style(policy: str) -> PolicyStyle:
    """Label, colour, marker and line style of a policy, from its name alone.

    The family gives hue, marker and line style; size, run, decoding, N and KL shade it, so the
    members of a family differ. A name of no known family gets hue, lightness and marker from a
    digest of its base, so two such policies may look alike: label them directly.
    """
    kind, name = family(policy), parse_policy(policy)
    look = _FAMILIES[kind]
    base = name.base or policy
    size, run, _, _ = _size_run_data(base)
    marker = look.marker if math.isnan(name.top_p) else "p"
    hue, chroma, lightness = look.hue, look.chroma, look.lightness
    if kind == "other":
        digest = hashlib.blake2b(base.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        hue, lightness = digest[0] * 360 / 256, 0.42 + 0.05 * (digest[1] % 5)
        marker = _OTHER_MARKERS[digest[2] % len(_OTHER_MARKERS)]
    elif size > 0:
        decades = math.log10(size / 1.3)
        lightness += 0.05 - (0.12 if decades > 0 else 0.03) * decades
        hue -= 14 * (_FINAL_RUN - run if run > 0 else 0)
    lightness += 0.16 * (min(_or(name.temperature, 0.35), 1.0) - 0.35)
    hue += 0 if math.isnan(name.top_p) else 40 + 100 * (name.top_p - 0.9)
    if kind == "best-of-n":
        lightness -= 0.025 * (math.log2(max(name.best_of_n, 1)) - 5)
    if kind == "ppo":
        hue -= 12 * (math.log2(max(_or(name.kl_nats, 8), 1)) - 3)
        hue += 10 * math.log2(min(max(_or(name.kl_coef, 0.05), 0.005), 0.5) / _USUAL_COEF)
        lightness -= 0.1 if name.value_network else 0.0
    if name.objective == "rouge":
        hue -= 60
    order = (
        FAMILIES.index(kind), size, run, _natural(base), not math.isnan(name.top_p),
        _or(name.temperature, -1), _or(name.top_p, -1), _or(name.best_of_n, -1),
        _natural(name.objective or ""), _or(name.kl_nats, -1), _or(name.kl_coef, -1),
        _natural(policy),
    )  # fmt: skip
    colour = _oklch(min(max(lightness, 0.2), 0.78), chroma, hue)
    return PolicyStyle(_label(policy, name), colour, marker, look.linestyle, order)


def model_label(policy: str) -> str:
    """A policy in words without its decoding: "6.7B supervised" of `sup4_6b_t.7`."""
    nan = math.nan
    return _label(policy, parse_policy(policy)._replace(temperature=nan, top_p=nan))


def _label(policy: str, name: PolicyName) -> str:
    """A policy in words: "6.7B supervised, T=0.7", "1.3B PPO (rm3), KL 9.4"; beta is the
    coefficient of PPO's KL penalty."""
    if name.method == "reference":
        return "reference"
    if name.method == "editor":
        return "human editor"
    base = name.base or policy
    size, run, data, word = _size_run_data(base)
    said = [word] if size > 0 else []
    if size > 0 and 0 <= run < _FINAL_RUN:
        said.append(f"sup{run}")
    elif size > 0 and name.method in {"supervised", "pretrained"}:
        said.append(name.method)
    elif size <= 0:
        said.append(base)
    if data:
        said.append(f"on {data}")
    if name.method == "best_of_n":
        said.append(f"best of {name.best_of_n:g}")
    if name.method == "ppo":
        said.append("PPO")
    if name.objective:
        objective = _JOINT.sub(r"\g<how> of \g<of>", name.objective.replace("rouge", "ROUGE"))
        said.append(f"({objective})")
    words = [" ".join(said)]
    if name.value_network:
        words.append(f"{name.value_network} value network")
    if not math.isnan(name.kl_coef) and name.kl_coef != _USUAL_COEF:
        words.append(f"β={name.kl_coef:g}")
    if not math.isnan(name.kl_nats):
        words.append(f"KL {name.kl_nats:g}")
    if not math.isnan(name.temperature) and name.method != "best_of_n":
        words.append(f"T={name.temperature:g}")
    if not math.isnan(name.top_p):
        words.append(f"top-p {name.top_p:g}")
    return ", ".join(words)


def _size_run_data(base: str) -> tuple[float, int, str, str]:
    """Billions of parameters, run, data and the size in words; 0, -1, "", "" of an unknown base."""
    found = _BASE.fullmatch(base)
    if found is None:
        return 0.0, -1, "", ""
    word = found["size"] or ""
    size = _SIZES.get(word) or float(word[:-1]) / (1000 if word.endswith("m") else 1)
    if not word.isalpha():
        word = f"{size:g}B" if size >= 1 else f"{1000 * size:g}M"
    return size, int(found["run"] or -1), found["data"] or "", word


def _or(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value


def _natural(text: str) -> str:
    """Sort key under which M8 comes before M10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(8), text)


def policy_order(policies: Iterable[str]) -> list[str]:
    """Distinct policies, references first, then by family, size and setting."""
    return sorted(set(policies), key=lambda policy: (policy_style(policy).order, policy))


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    """Hex sRGB of a colour in OKLCH (Ottosson 2020); chroma is lowered until it can be shown."""
    angle = math.radians(hue)
    while True:
        a, b = chroma * math.cos(angle), chroma * math.sin(angle)
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if all(-1e-4 <= c <= 1 + 1e-4 for c in linear) or chroma < 1e-3:
            break
        chroma *= 0.95
    channels = (min(max(c, 0.0), 1.0) for c in linear)
    encoded = (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in channels)
    return "#" + "".join(f"{round(255 * c):02x}" for c in encoded)
