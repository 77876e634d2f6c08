"""Find the differences between two records of a case. Imports nothing but the standard library."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"
NOT_COMPARED = ("seconds", "traceback")
"""Keys of a record that say nothing of what was computed."""
NOTES = ("text", "warnings")
"""Keys whose differences are told, and do not count: people read them."""
MOST_KIB, MOST_SHARE = 256, 0.01
"""Peaks of memory differ if they differ by more than both: the kernel counts pages in batches, and is that inexact."""
SHOWN = 3
"""Differences of one kind in one case that are told; the others are counted."""


@dataclass(frozen=True)
class Difference:
    """What the old and the new checkout recorded differently.

    Args:
        place: keys and positions in the record, between dots.
        note: whether it does not count.
    """

    place: str
    old: Any
    new: Any
    note: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {_short(self.old)} | {_short(self.new)}"


def _short(value: Any, most: int = 160) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def compare_records(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Differences of two records, in the order of the run; texts alone are notes."""
    outcomes = old.get("outcome"), new.get("outcome")
    if outcomes[0] != outcomes[1]:  # all else differs, too, and says no more
        return [Difference("outcome", *(f"{side.get('outcome')} {side.get('text')}".strip() for side in (old, new)))]
    found: list[Difference] = []
    both_failed = outcomes == ("failed", "failed")
    for key in [*old, *(key for key in new if key not in old)]:
        if key in NOT_COMPARED:
            continue
        left, right = old.get(key, ABSENT), new.get(key, ABSENT)
        if key in ("stopped", "resumed") and ABSENT not in (left, right):
            found += [_below(key, difference) for difference in compare_records(left, right)]
        elif key == "memory_kib" and ABSENT not in (left, right):
            found += [
                Difference(f"{key}.{peak}", left[peak], right[peak]) for peak in left if _differ(left, right, peak)
            ]
        elif key in NOTES and not (key == "text" and both_failed):
            found += [Difference(key, left, right, note=True)] if left != right else []
        else:
            found += differences(left, right, key)
    return found


def _below(key: str, difference: Difference) -> Difference:
    return Difference(f"{key}.{difference.place}", difference.old, difference.new, difference.note)


def _differ(old: Mapping[str, int], new: Mapping[str, int], peak: str) -> bool:
    return abs(new[peak] - old[peak]) > max(MOST_KIB, MOST_SHARE * old[peak])


def differences(old: Any, new: Any, place: str) -> list[Difference]:
    """Differences of two values of json; of lists the first differing position."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in [*old, *(key for key in new if key not in old)]:
            found += differences(old.get(key, ABSENT), new.get(key, ABSENT), f"{place}.{key}")
        return found
    if isinstance(old, list) and isinstance(new, list):
        return _of_lists(old, new, place)
    return [] if old == new else [Difference(place, old, new)]


def _of_lists(old: Sequence[Any], new: Sequence[Any], place: str) -> list[Difference]:
    found = [] if len(old) == len(new) else [Difference(f"length of {place}", len(old), len(new))]
    differing = [i for i, (left, right) in enumerate(zip(old, new, strict=False)) if left != right]
    if differing:
        first = differing[0]
        more = f" (first of {len(differing)})" if len(differing) > 1 else ""
        inner = differences(old[first], new[first], f"{place}[{first}]{more}")
        found += inner
    return found


def resume_differences(record: Mapping[str, Any]) -> list[Difference]:
    """Differences between a run in one go and the same run stopped and resumed: old is the former."""
    if record.get("outcome") != "trained" or "resumed" not in record:
        return []
    resumed = record["resumed"]
    if resumed["outcome"] != "trained":
        return [Difference("resumed against one go", "trained", f"{resumed['outcome']}: {resumed['text']}")]
    tail = record["steps"][len(record["steps"]) - len(resumed["steps"]) :]
    found = differences(tail, resumed["steps"], "resumed against one go: steps")
    for key in ("end", "target"):
        parts = [part.get(key) or part["files"].get(key) for part in (record, resumed)]
        found += differences(*parts, f"resumed against one go: {key}")
    return found


def told(found: Sequence[Difference]) -> Iterator[str]:
    """Lines for people: the first few of each kind, and how many more there are."""
    kinds: dict[str, list[Difference]] = {}
    for difference in found:
        kind = ".".join(difference.place.split(".")[:2]) if difference.place.count(".") > 1 else difference.place
        kinds.setdefault(kind, []).append(difference)
    for kind, members in kinds.items():
        yield from (f"{'note: ' if member.note else ''}{member}" for member in members[:SHOWN])
        if len(members) > SHOWN:
            yield f"{kind}: {len(members) - SHOWN} more"
