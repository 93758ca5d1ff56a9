"""Whatever comes from outside is accepted, or refused in one sentence; `make fuzz` tries far more of it."""

import hostile
import limits
import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distgan.config import command_line

if "preset" not in flags.FLAGS:
    command_line.define_flags()


def mutated(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    """Valid content with some bytes set, cut out or put in."""
    edit = st.tuples(
        st.sampled_from(["set", "cut", "insert"]), st.integers(0, 2**16), st.binary(min_size=1, max_size=8)
    )

    def apply(content: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
        for kind, place, new in edits:
            at = place % (len(content) + 1)
            kept = content[at:] if kind == "insert" else content[at + len(new) :]
            content = content[:at] + (b"" if kind == "cut" else new) + kept
        return content

    return st.builds(apply, st.sampled_from(valid), st.lists(edit, min_size=1, max_size=4))


@pytest.mark.parametrize("name", hostile.TARGETS)
def test_what_is_valid_is_accepted(name: str) -> None:
    target = hostile.TARGETS[name]
    assert all(hostile.meets(target, content) for content in target.valid())


@pytest.mark.parametrize("name", hostile.TARGETS)
def test_anything_else_gets_a_sentence(name: str) -> None:
    target = hostile.TARGETS[name]
    valid = target.valid()

    @settings(max_examples=100, deadline=1000 * limits.LIMIT_SECONDS, derandomize=True, database=None,
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(st.one_of(st.binary(max_size=300), mutated(valid)))
    def meets(content: bytes) -> None:
        hostile.meets(target, content)

    meets()
