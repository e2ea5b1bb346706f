"""
Routes for people and their scripts.
"""

from __future__ import annotations

from litestar import Router

from edictum_console.domains.accounts.controllers import LoginController, UserController
from edictum_console.domains.agents.controllers import AgentController, ExplanationController, RegistrationController
from edictum_console.domains.approvals.controllers import ApprovalController
from edictum_console.domains.assignment.controllers import AssignmentRuleController
from edictum_console.domains.audit.controllers import AuditController
from edictum_console.domains.callbacks.controllers import SlackController, TelegramController
from edictum_console.domains.compositions.controllers import CompositionController
from edictum_console.domains.deployments.controllers import (
    DeployController,
    DeploymentController,
    OlderRulesetController,
)
from edictum_console.domains.environments.controllers import EnvironmentController
from edictum_console.domains.events.controllers import EventController, WorkflowStateController
from edictum_console.domains.keys.controllers import KeyController
from edictum_console.domains.library.controllers import LibraryController
from edictum_console.domains.notifications.controllers import ChannelController
from edictum_console.domains.operations.controllers import DetailsController
from edictum_console.domains.playground.controllers import PlaygroundController
from edictum_console.domains.rotation.controllers import RotationController, SigningKeyController
from edictum_console.domains.rulesets.controllers import RulesetController
from edictum_console.domains.settings.controllers import ContactController, SettingsController
from edictum_console.domains.statistics.controllers import StatisticsController
from edictum_console.domains.stream.controllers import PageStreamController
from edictum_console.domains.tenants.controllers import HealthController, SetupController
from edictum_console.domains.tokens.controllers import OwnTokenController, TokenController

PREFIX = "/api/v1"


def human_routes() -> list[Router]:
    """
    Everything under ``/api/v1`` that people use, and what has a place of its own.
    """
    controllers = [
        AgentController,
        ApprovalController,
        AssignmentRuleController,
        AuditController,
        ChannelController,
        CompositionController,
        DeployController,
        DeploymentController,
        DetailsController,
        EnvironmentController,
        EventController,
        ExplanationController,
        HealthController,
        KeyController,
        LibraryController,
        LoginController,
        RegistrationController,
        RotationController,
        OlderRulesetController,
        OwnTokenController,
        PageStreamController,
        PlaygroundController,
        RulesetController,
        SettingsController,
        SetupController,
        SigningKeyController,
        SlackController,
        StatisticsController,
        TelegramController,
        TokenController,
        UserController,
        WorkflowStateController,
    ]
    return [Router(PREFIX, route_handlers=controllers), Router("/", route_handlers=[ContactController])]
