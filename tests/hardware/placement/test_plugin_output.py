"""The parser on recorded texts of the real compiler, and on texts that nobody should believe."""

from __future__ import annotations

import pytest

from mhmodels.hardware.placement.plugin_output import NOT_KNOWN, last_words, read_plugin_output

from .conftest import printed

COUNTS = {
    # operators, taken, partitions, bytes read and written
    "whole": (2, 2, 1, 10240, 2048),
    "unknown_operator": (3, 2, 2, 12288, 4096),
    "refused_type": (3, 2, 2, 12288, 4096),
    "custom": (3, 2, 2, 12288, 4096),
    "no_float": (3, 2, 1, 6144, 2048),
    "nothing_taken": (1, 0, 0, None, None),
}
REASONS = {
    "whole": {},
    "custom": {},
    "unknown_operator": {1: NOT_KNOWN},
    "refused_type": {1: "Qualcomm's library refuses it as ElementWiseUnary Sin"},
    "no_float": {2: "Qualcomm's library refuses it as ElementWiseUnary Sin: The SocModel doesn't support FP16"},
    "nothing_taken": {
        0: "Qualcomm's library refuses it as Conv2d: Unsupported input/output datatypes requested for the HTP Op 'Conv2d' in the "
        "node 'Conv2d_0'. There is a mismatch for the combination of inputs and outputs."
    },
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_traffic_and_reasons(name: str) -> None:
    found = read_plugin_output(*printed(name))
    assert (found.operators, found.taken, found.partitions, found.read_bytes, found.write_bytes) == COUNTS[name]
    assert found.reasons == REASONS[name]
    expected = (35, 68) if name == "no_float" else (57, 75)
    assert (found.soc_model, found.generation) == expected


def test_a_run_that_ended_early_has_no_verdict() -> None:
    stdout, stderr = printed("gave_up")
    with pytest.raises(ValueError, match="ended before it partitioned"):
        read_plugin_output(stdout, stderr)
    assert last_words(stdout, stderr).startswith("ERROR: [apply_plugin.cc:455]")
    assert last_words("", "") == ""


STATISTICS = "Partitioned subgraph<0>, selected 2 ops, from a total of 2 ops. resulted in 1 partitions."


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (STATISTICS, f"{STATISTICS}\n{STATISTICS}", "partitioned 2 graphs"),
        (STATISTICS, STATISTICS.replace("<0>", "<1>"), "partitioned 1 graphs"),
        (STATISTICS, "Partitioned subgraph<0>, selected many ops", "ended before"),
        ("SoC model: 57", "SoC model: none", "named 0 SoCs"),
        ("SoC model: 57", "SoC model: 57\nInitializing QNN backend for SoC model: 30", "named 2 SoCs"),
        (
            "overwrite it to 75",
            "overwrite it to 75\nis different from arch associated with SoC 57, will overwrite it to 79",
            "2 HTP",
        ),
        ("write_total_bytes", "other_bytes", "1 numbers of bytes read and 0"),
    ],
)
def test_what_is_absent_or_there_twice_is_an_error(old: str, new: str, message: str) -> None:
    stdout, stderr = printed("whole")
    assert old in stdout + stderr
    with pytest.raises(ValueError, match=message):
        read_plugin_output(stdout.replace(old, new), stderr.replace(old, new))
