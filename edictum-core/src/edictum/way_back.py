"""
The way of one tool call from the tool to its outcome: the only place where this sequence is written down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Sequence
from typing import Any

from edictum.call_state import CallState, Steps
from edictum.engine.outcome import PostDecision, Question
from edictum.engine.review import ReviewSteps, review
from edictum.findings import Finding, PostCallResult, build_findings
from edictum.pipeline import after_hooks, answer


class WayBack(CallState):
    """
    A call that ends by one of :meth:`_way_back`, :meth:`_way_past_tool` and :meth:`_way_out`.
    """

    __slots__ = ()

    def _way_back(self, value: Any, error: BaseException | None, failed: bool = False) -> Steps | None:
        """
        Go back from the tool, nearly always without anything to wait for.

        Args:
            value: What the tool returned.
            error: What it raised instead.
            failed: Whether the caller knows that the value means failure.

        Returns:
            What is left of the way, to be walked; None where the call has ended.

        Raises:
            RuntimeError: The call was not allowed, or has ended before.
        """
        if self._stage != "allowed":
            raise self._misused("allowed")
        self._stage = "done"
        guard, plan = self._guard, self._plan
        now = guard._monotonic()
        duration = 0 if now is None or self._started is None else round((now - self._started) * 1000)
        success = error is None and not failed and guard._succeeded(self._tool_name, value)
        at_once = self._session.immediate is not None and guard._decision_log.collect is not None
        if not (success and at_once) or plan.after or self._workflow is not None:
            return self._long_way_back(value, error, success, duration)
        try:
            if plan.post or plan.post_candidates:
                reviews = review(plan, self.call, value, success, guard.redaction.redact_whole)
                if reviews is not plan.reviewed:
                    return self._long_way_back(value, None, success, duration, reviews)
            if self._reserved:
                self._settle(success)
        except BaseException as failure:
            return self._long_way_back(value, None, success, duration, failure=failure)
        self._success, self._post, self._violations, self._shown = success, plan.reviewed, (), value
        self._log.ended(plan.reviewed, duration, None)
        return None

    def _long_way_back(
        self,
        value: Any,
        error: BaseException | None,
        success: bool,
        duration: int,
        reviews: PostDecision | ReviewSteps | None = None,
        failure: BaseException | None = None,
    ) -> Steps:
        """
        The way back, or the rest of it, where somebody is asked or told, or the tool has failed.

        Args:
            value: What the tool returned.
            error: What it raised instead.
            success: Whether it did its work.
            duration: How long it took, in milliseconds.
            reviews: The review of the result, begun already.
            failure: What went wrong up to here.
        """
        plan = self._plan
        post = plan.reviewed
        recorded: list[dict[str, Any]] = []
        interrupted = error is not None and not isinstance(error, Exception)
        try:
            if failure is not None:
                raise failure
            if interrupted:
                # A cancelled or interrupted tool gets no further code of others run on its behalf.
                value, post = "cancelled", PostDecision(tool_success=False)
            elif plan.post or plan.post_candidates or not success:
                value = value if error is None else _text(error)
                post = yield from self._answered(reviews or self._review(value, success), value)
            if plan.after and not interrupted:
                yield after_hooks(plan, self.call, value)
            if self._workflow is not None and success:
                recorded = yield self._workflow.record(value)
            if self._reserved:
                pending = self._settle(success)
                if pending is not None:
                    yield pending
        except GeneratorExit:
            raise
        except BaseException:
            # The caller is cancelled here, but the tool has run: that is counted and logged all the same.
            if self._reserved:
                pending = self._settle(success)
                if pending is not None:
                    yield pending
            ended = self._log.ended(PostDecision(tool_success=success), duration, None if success else _text(value))
            if ended is not None:
                yield ended
            raise
        shown = value if post.redacted_response is None else post.redacted_response
        ended = self._log.ended(post, duration, None if success else _text(shown))
        if ended is not None:
            yield ended
        if recorded and self._workflow is not None:
            yield self._workflow.close(recorded)
        self._conclude(shown, success, post)

    def _review(self, value: Any, success: bool) -> PostDecision | ReviewSteps:
        """
        Ask the post rules about a result.
        """
        return review(self._plan, self.call, value, success, self._guard.redaction.redact_whole)

    def _answered(
        self, reviews: PostDecision | ReviewSteps, value: Any
    ) -> Generator[Awaitable[Any], Any, PostDecision]:
        """
        Answer what a review asks, up to its decision.
        """
        if isinstance(reviews, PostDecision):
            return reviews
        post: Any = next(reviews)
        while type(post) is Question:
            post = reviews.send((yield answer(post.subject, self.call, self._session, value)))
        next(reviews, None)
        found: PostDecision = post
        return found

    def _conclude(self, shown: Any, success: bool, post: PostDecision) -> None:
        violations: Sequence[Finding] = ()
        if not post.postconditions_passed:
            violations = build_findings(post)
            found = PostCallResult(shown, False, list(violations), post.output_suppressed)
            shown = self._guard._tell_violations(found, getattr(self, "on_postcondition_warn", None))
        self._success, self._post, self._violations, self._shown = success, post, violations, shown

    def _way_past_tool(self, value: Any) -> Steps:
        yield from self._way_out()
        success = self._guard._succeeded(self._tool_name, value)
        post = yield from self._answered(self._review(value, success), value)
        shown = value if post.redacted_response is None else post.redacted_response
        self._conclude(shown, success, post)

    def _way_out(self) -> Steps:
        if self._stage != "allowed":
            raise self._misused("allowed")
        self._stage = "done"
        yield self._give_back()


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"{type(value).__name__} without text"
