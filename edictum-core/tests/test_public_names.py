"""
The public surface: what the package exports, and what importing it costs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import edictum
import edictum.testing
import pytest

SOURCE = Path(edictum.__file__).parents[1]

# Names that programs for the published package import and that this version has.
PUBLISHED = """
    __version__ ApprovalBackend ApprovalDecision ApprovalRequest ApprovalStatus LocalApprovalBackend Edictum
    EdictumConfigError EdictumDenied EdictumToolError SideEffect Principal ToolCall create_envelope ToolRegistry
    BashClassifier HookDecision HookRegistration HookResult Decision precondition postcondition session_contract
    OperationLimits Session StorageBackend MemoryBackend AuditAction AuditEvent AuditSink CollectingAuditSink
    CompositeSink FileAuditSink MarkEvictedError StdoutAuditSink RedactionPolicy CheckPipeline PreDecision
    PostDecision deny_sensitive_reads CompositionReport Finding PostCallResult EvaluationResult RuleResult
    TemplateInfo GovernanceTelemetry configure_otel has_otel get_tracer
    WorkflowApproval WorkflowCheck WorkflowDefinition WorkflowEvaluation WorkflowEvidence WorkflowGate
    WorkflowMetadata WorkflowRuntime WorkflowStage WorkflowState load_workflow load_workflow_string
"""
MODULES = (
    "approval",
    "audit",
    "builtins",
    "evaluation",
    "findings",
    "hooks",
    "limits",
    "otel",
    "pipeline",
    "rules",
    "session",
    "storage",
    "telemetry",
    "testing",
    "yaml_engine",
)

# Heavy parts of the standard library, optional packages, and parts of edictum that only some programs need.
NOT_LOADED = """
    asyncio concurrent.futures unittest http.client socket ssl subprocess multiprocessing argparse
    ruamel yaml jsonschema opentelemetry
    edictum.otel edictum.telemetry edictum.tool_span edictum.traced_call
    edictum.loading edictum.merging edictum.migrate edictum.cli edictum.lint edictum.testing edictum.ruleset.document
    edictum.template_files edictum.workflow edictum.ruleset.patterns.linear
    edictum.hash_chain edictum.chain_verification
"""


def loaded_by(script: str) -> set[str]:
    command = [sys.executable, "-c", f"{script}\nimport sys\nprint(*sys.modules)"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, sys.path)])}
    return set(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split())


def test_exported_names_are_sorted_and_exist() -> None:
    assert sorted(edictum.__all__) == edictum.__all__
    assert len(set(edictum.__all__)) == len(edictum.__all__)
    for name in edictum.__all__:
        assert hasattr(edictum, name)


def test_exported_names_are_all_public_ones() -> None:
    """
    A new import in the package root is either exported on purpose or private.
    """
    public = {
        name
        for name, value in vars(edictum).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    aliases = {"ContractResult"}
    assert (public - aliases) | edictum._ON_DEMAND.keys() == set(edictum.__all__) - {"__version__"}


def test_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'edictum' has no attribute 'LocalApproval'"):
        edictum.LocalApproval  # noqa: B018


def test_published_names_are_exported() -> None:
    assert set(PUBLISHED.split()) - set(edictum.__all__) == set()
    assert edictum.ContractResult is edictum.RuleResult


@pytest.mark.parametrize("name", MODULES)
def test_published_modules_can_be_imported(name: str) -> None:
    __import__(f"edictum.{name}")


def test_memory_backend_is_found_where_the_published_package_has_it() -> None:
    from edictum.storage import MemoryBackend

    assert MemoryBackend is edictum.MemoryBackend
    with pytest.raises(AttributeError, match=r"module 'edictum\.storage' has no attribute 'Memory'"):
        edictum.storage.Memory  # noqa: B018


def test_exported_names_say_where_they_come_from() -> None:
    for name in edictum.__all__:
        value = getattr(edictum, name)
        if isinstance(value, type):
            assert value.__module__.startswith("edictum.")
            assert value.__doc__


def test_testing_exports_what_it_says_and_loads_it_on_demand() -> None:
    assert sorted(edictum.testing.__all__) == edictum.testing.__all__
    assert set(edictum.testing.__all__) == set(edictum.testing._ON_DEMAND)
    for name in edictum.testing.__all__:
        value = getattr(edictum.testing, name)
        assert value.__module__.startswith(f"edictum.testing.{edictum.testing._ON_DEMAND[name]}")
        assert value.__doc__
    with pytest.raises(AttributeError, match=r"module 'edictum.testing' has no attribute 'Suites'"):
        edictum.testing.Suites  # noqa: B018


def test_testing_loads_nothing_that_is_not_asked_for() -> None:
    loaded = loaded_by("import edictum.testing\nedictum.testing.ManualClock()")
    assert {"hypothesis", "pytest", "unittest", "asyncio", "edictum.testing.suites"} & loaded == set()


def test_testing_strategies_without_hypothesis_name_the_extra() -> None:
    script = """
import sys
sys.modules["hypothesis"] = None
try:
    import edictum.testing.strategies
except ImportError as error:
    assert str(error) == 'generators need hypothesis; install it with: pip install "edictum-core[testing]"', error
else:
    raise AssertionError("it was imported")
"""
    assert "edictum.testing.strategies" not in loaded_by(script)


def test_testing_suites_need_neither_pytest_nor_hypothesis() -> None:
    assert {"hypothesis", "pytest"} & loaded_by("import edictum.testing.suites") == set()


def test_import_loads_nothing_heavy() -> None:
    assert set(NOT_LOADED.split()) & loaded_by("import edictum") == set()


def test_guard_without_a_document_loads_no_reader() -> None:
    loaded = loaded_by("import edictum\nedictum.Edictum(mode='observe').evaluate('read', {})")
    assert {"asyncio", "ruamel", "ruamel.yaml", "edictum.loading", "edictum.ruleset.yaml"} & loaded == set()


def test_json_ruleset_needs_no_yaml() -> None:
    script = """
import edictum
text = '''{"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "t"}, "defaults": {"mode": "enforce"},
  "rules": [{"id": "a", "type": "session", "limits": {"max_attempts": 1},
             "then": {"action": "block", "message": "m"}}]}'''
assert edictum.Edictum.from_yaml_string(text).limits.max_attempts == 1
"""
    assert {"ruamel", "ruamel.yaml"} & loaded_by(script) == set()


def test_synchronous_call_with_memory_only_loads_no_event_loop() -> None:
    script = "import edictum\nassert edictum.Edictum().run_sync('read', {}, lambda: 'done') == 'done'"
    assert "asyncio" not in loaded_by(script)


def test_version_is_that_of_the_distribution() -> None:
    assert edictum.__version__.count(".") == 2
