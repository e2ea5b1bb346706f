"""
What concerns the calls of one tool, gathered once per tool name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edictum.engine.outcome import PostDecision, PreDecision
from edictum.globs import glob_matcher, is_glob
from edictum.hooks import HookRegistration
from edictum.limits import OperationLimits
from edictum.ruleset.policy import Clue, CompiledRule, RuleTable
from edictum.ruleset.selectors import Reader, compile_selector
from edictum.snapshot import FrozenList
from edictum.tool_call import name_problem
from edictum.tools import SideEffect, ToolRegistry

Look: TypeAlias = tuple[Reader | None, tuple[tuple[str | None, frozenset[str], tuple[str, ...]], ...]]
"""
What :class:`~edictum.ruleset.policy.Clue` says for all rules of a tool.

The reader of a part of the call, None for what the tool returned; and what is looked for in it (None) or in what it
holds under a key.
"""

# Tool names come from a model, so the table of plans must not grow with them.
MAX_PLANS = 4096


@dataclass(frozen=True, slots=True)
class Limit:
    """
    A number and the session rule it came from, if any.
    """

    number: int
    rule: CompiledRule | None = None

    @property
    def message(self) -> str | None:
        """
        The rule's own words, or None.
        """
        limits = self.rule.limits if self.rule is not None else None
        return None if limits is None else limits.message


@dataclass(frozen=True, slots=True)
class Limits:
    """
    The limits in force: the guard's own and those of enforcing session rules.
    """

    max_attempts: Limit
    max_tool_calls: Limit
    per_tool: Mapping[str, Limit]

    @classmethod
    def merge(cls, own: OperationLimits | None, rules: Iterable[CompiledRule]) -> Limits:
        """
        Merge limits in document order.

        The first explicit number replaces the default, a later one counts only when it is stricter.  Rules
        in observe mode contribute nothing.

        Args:
            own: Limits given to the guard, or None for the defaults.
            rules: Session rules.
        """
        default = OperationLimits()
        chosen: dict[str, Limit] = {}
        per_tool: dict[str, Limit] = {}
        if own is not None:
            chosen = {"attempts": Limit(own.max_attempts), "calls": Limit(own.max_tool_calls)}
            per_tool = {tool: Limit(number) for tool, number in own.max_calls_per_tool.items()}
        for rule in rules:
            numbers = rule.limits
            if numbers is None or rule.observe or rule.candidate:
                continue
            _tighten(chosen, "attempts", numbers.max_attempts, rule)
            _tighten(chosen, "calls", numbers.max_tool_calls, rule)
            for tool, number in numbers.max_calls_per_tool.items():
                _tighten(per_tool, tool, number, rule)
        return cls(
            chosen.get("attempts", Limit(default.max_attempts)),
            chosen.get("calls", Limit(default.max_tool_calls)),
            per_tool,
        )

    def numbers(self) -> OperationLimits:
        """
        The bare numbers.
        """
        per_tool = {tool: limit.number for tool, limit in self.per_tool.items()}
        return OperationLimits(self.max_attempts.number, self.max_tool_calls.number, per_tool)


def _tighten(limits: dict[str, Limit], key: str, number: int | None, rule: CompiledRule) -> None:
    if number is not None and (key not in limits or number < limits[key].number):
        limits[key] = Limit(number, rule)


@dataclass(frozen=True, slots=True)
class ToolLimit:
    """
    A per-tool limit that concerns the planned tool.

    Attributes:
        pattern: Tool name or glob as given.
        limit: The number.
        counter: Position of its counter in :attr:`ToolPlan.counters`.
    """

    pattern: str
    limit: Limit
    counter: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # its repr would hold all rules
class ToolPlan:
    """
    Everything about one tool that does not depend on the single call.

    Attributes:
        tool_name: The tool.
        name_problem: What is wrong with the name; None as well when names are not checked.
        side_effect: How dangerous the tool is.
        idempotent: Whether running it twice equals running it once.
        shell: Whether its command is classified.
        before: Hooks before the tool.
        after: Hooks after the tool.
        pre: Pre rules, in declared order.
        sandbox: Sandbox rules, in declared order.
        session: Session rules, in declared order.
        rules: All of them: pre, sandbox, session.
        remarking: Those that may have a remark about a call that they let pass.
        post: Post rules.
        candidates: Pre, sandbox and session rules that are only measured.
        post_candidates: Post rules that are only measured.
        limits: The limits in force.
        tool_limits: Those that concern this tool.
        counters: Names of the session counters that a decision needs, in the order in which it takes them:
            attempts, executions, executions of this tool, and one for each glob with a limit.
        counter_of: Positions in ``counters`` by name or glob with a limit, also one that is only observed.
        reserved: Those that an execution counts, with their limits.
        passed: The decision when nothing fires; made once because it is the most frequent one.
        reviewed: Likewise for a successful result.
        max_attempts: The number of ``limits.max_attempts``.
        max_tool_calls: The number of ``limits.max_tool_calls``.
        only_limits: Whether nothing but these two can stop a call of the tool.
        plain: Whether nothing but limits and conditions can, so that a call for which no condition holds needs no
            further look.  No condition is foreign, because those that hold are judged twice.
        looks: The clues of all rules.
        unclear: The rules with a condition of which there are no clues.
        post_looks: The clues of all post rules; None where one of them has none, or is only measured.
    """

    tool_name: str
    name_problem: str | None
    side_effect: SideEffect
    idempotent: bool
    shell: bool
    before: tuple[HookRegistration, ...]
    after: tuple[HookRegistration, ...]
    pre: tuple[CompiledRule, ...]
    sandbox: tuple[CompiledRule, ...]
    session: tuple[CompiledRule, ...]
    rules: tuple[CompiledRule, ...]
    remarking: tuple[CompiledRule, ...]
    post: tuple[CompiledRule, ...]
    candidates: tuple[CompiledRule, ...]
    post_candidates: tuple[CompiledRule, ...]
    limits: Limits
    tool_limits: tuple[ToolLimit, ...]
    counters: tuple[str, ...]
    counter_of: Mapping[str, int]
    reserved: tuple[tuple[str, int | None], ...]
    passed: PreDecision
    reviewed: PostDecision
    max_attempts: int
    max_tool_calls: int
    only_limits: bool
    plain: bool
    looks: tuple[Look, ...]
    unclear: tuple[CompiledRule, ...]
    post_looks: tuple[Look, ...] | None


class Planner:
    """
    Makes and keeps the plans of one immutable set of rules, hooks, tools and limits.

    Attributes:
        plans: Those that are kept, by tool name.
    """

    __slots__ = ("_hooks", "limits", "plans", "post", "pre", "registry", "sandbox", "session", "strict_names")

    def __init__(
        self,
        rules: Iterable[CompiledRule],
        hooks: Iterable[HookRegistration],
        registry: ToolRegistry,
        own_limits: OperationLimits | None,
        *,
        strict_names: bool = True,
    ) -> None:
        rules = tuple(rules)
        self.pre = RuleTable(rule for rule in rules if rule.kind == "precondition")
        self.sandbox = RuleTable(rule for rule in rules if rule.kind == "sandbox")
        self.post = RuleTable(rule for rule in rules if rule.kind == "postcondition")
        self.session = tuple(rule for rule in rules if rule.kind == "session_contract")
        self.registry = registry
        self.limits = Limits.merge(own_limits, self.session)
        self.strict_names = strict_names
        self._hooks = tuple(hooks)
        self.plans: dict[str, ToolPlan] = {}

    def plan(self, tool_name: str) -> ToolPlan:
        """
        The plan for a tool; made when its name is seen first.
        """
        plan = self.plans.get(tool_name)
        if plan is None:
            plan = self._make(tool_name)
            if len(self.plans) >= MAX_PLANS:
                self.plans.clear()
            self.plans[tool_name] = plan
        return plan

    def _make(self, tool_name: str) -> ToolPlan:
        side_effect, idempotent = self.registry.classify(tool_name)
        hooks = tuple(hook for hook in self._hooks if glob_matcher(hook.tool)(tool_name))
        pre = self.pre.concerning(tool_name)
        sandbox = self.sandbox.concerning(tool_name)
        post = self.post.concerning(tool_name)
        session = tuple(rule for rule in self.session if not rule.candidate)
        pre_rules = tuple(rule for rule in pre if not rule.candidate)
        sandbox_rules = tuple(rule for rule in sandbox if not rule.candidate)
        rules = (*pre_rules, *sandbox_rules, *session)
        post_rules = tuple(rule for rule in post if not rule.candidate)
        counters = ["attempts", "execs", f"tool:{tool_name}"]
        tool_limits = []
        limit_of: dict[str, int] = {"execs": self.limits.max_tool_calls.number}
        patterns = dict.fromkeys(self.limits.per_tool)
        for rule in self.session:
            if rule.limits is not None:
                patterns |= dict.fromkeys(rule.limits.max_calls_per_tool)
        counter_of: dict[str, int] = {}
        for pattern in patterns:
            if not glob_matcher(pattern)(tool_name):
                continue
            key = f"glob:{pattern}" if is_glob(pattern) else f"tool:{tool_name}"
            if key not in counters:
                counters.append(key)
            counter_of[pattern] = counters.index(key)
            limit = self.limits.per_tool.get(pattern)
            if limit is not None:
                tool_limits.append(ToolLimit(pattern, limit, counters.index(key)))
                limit_of[key] = limit.number
        problem = name_problem(tool_name) if self.strict_names else None
        candidates = tuple(rule for rule in (*pre, *sandbox, *self.session) if rule.candidate)
        remarking = tuple(rule for rule in rules if rule.remark is not None)
        before = tuple(hook for hook in hooks if hook.phase == "before")
        judged = tuple(rule for rule in rules if rule.condition is not None)
        in_force = all(rule.limits is not None and not rule.observe for rule in rules if rule.condition is None)
        foreign = before or any(rule.foreign for rule in judged)
        plain = in_force and not (problem or foreign or candidates or remarking)
        return ToolPlan(
            tool_name=tool_name,
            name_problem=problem,
            side_effect=side_effect,
            idempotent=idempotent,
            shell=self.registry.is_shell(tool_name),
            before=before,
            after=tuple(hook for hook in hooks if hook.phase == "after"),
            pre=pre_rules,
            sandbox=sandbox_rules,
            session=session,
            rules=rules,
            remarking=remarking,
            post=post_rules,
            candidates=candidates,
            post_candidates=tuple(rule for rule in post if rule.candidate),
            limits=self.limits,
            tool_limits=tuple(tool_limits),
            counters=tuple(counters),
            counter_of=counter_of,
            reserved=tuple((key, limit_of.get(key)) for key in counters[1:]),
            passed=PreDecision("allow", contracts_evaluated=_passed(rules), clean=True),
            reviewed=PostDecision(contracts_evaluated=_passed(post_rules), clean=True),
            max_attempts=self.limits.max_attempts.number,
            max_tool_calls=self.limits.max_tool_calls.number,
            only_limits=in_force and not (judged or problem or tool_limits or before),
            plain=plain,
            looks=_looks(clue for rule in judged for clue in rule.clues or ()),
            unclear=tuple(rule for rule in judged if rule.clues is None),
            post_looks=None
            if any(rule.clues is None or rule.candidate for rule in post)
            else _looks(clue for rule in post for clue in rule.clues or ()),
        )


def _passed(rules: Iterable[CompiledRule]) -> FrozenList:
    return FrozenList(rule.passed for rule in rules)


def _looks(clues: Iterable[Clue]) -> tuple[Look, ...]:
    fields: dict[str, Clue] = {}
    for clue in clues:
        same = fields.get(clue.selector, clue)
        parts = tuple(dict.fromkeys((*same.parts, *clue.parts)))
        fields[clue.selector] = clue._replace(whole=same.whole | clue.whole, parts=parts)
    # Arguments that lie in one mapping are read together.
    looks: dict[str, Look] = {}
    for selector, clue in fields.items():
        folder, _, key = selector.rpartition(".")
        read = _reader_of_mapping(folder)
        if read is None:
            looks[selector] = (clue.read, ((None, clue.whole, clue.parts),))
        else:
            known = looks[folder][1] if folder in looks else ()
            looks[folder] = (read, (*known, (key, clue.whole, clue.parts)))
    return tuple(looks.values())


def _reader_of_mapping(selector: str) -> Reader | None:
    if selector == "args":
        return lambda call, result: call.args
    return compile_selector(selector, custom={}, environ={}) if selector.startswith("args.") else None
