"""
Models that need no key and no network: they say what is written here, whatever they are asked.
"""

from __future__ import annotations

from edictum_crewai.scripted import ScriptedLLM, use

SUMMARY = "The roof is repaired.\n"

# The decision log that the calls below lead to.
EXPECTED = [
    "chief: delegate_work_to_coworker: blocked by delegate-to-the-clerk-only",
    "clerk: read_file .env: blocked by no-secret-files",
    "clerk: read_file minutes.txt: executed, masked by mask-keys",
    "clerk: write_file summaries/../../diary.txt: blocked by stay-in-project",
    "clerk: write_file summary.txt: blocked by only-summaries",
    "clerk: write_file summaries/may.txt: executed",
    "chief: delegate_work_to_coworker: executed",
]


def chief_model() -> ScriptedLLM:
    """
    Asks the wrong coworker first.
    """
    job = {"task": "Summarize the minutes of May.", "context": "They are in minutes.txt."}
    return ScriptedLLM.of(
        [use("delegate_work_to_coworker", coworker="chief", **job)],
        [use("delegate_work_to_coworker", coworker="clerk", **job)],
        "summaries/may.txt",
    )


def clerk_model() -> ScriptedLLM:
    """
    Tries what it may not, and corrects itself.
    """
    return ScriptedLLM.of(
        [use("read_file", path=".env")],
        [use("read_file", path="minutes.txt")],
        [use("write_file", path="summaries/../../diary.txt", text=SUMMARY)],
        [use("write_file", path="summary.txt", text=SUMMARY)],
        [use("write_file", path="summaries/may.txt", text=SUMMARY)],
        "summaries/may.txt is written.",
    )
