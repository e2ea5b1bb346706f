"""
Routes for people and their scripts.
"""

from __future__ import annotations

from litestar import Router

from edictum_console.domains.accounts.controllers import LoginController, UserController
from edictum_console.domains.approvals.controllers import ApprovalController
from edictum_console.domains.audit.controllers import AuditController
from edictum_console.domains.compositions.controllers import CompositionController
from edictum_console.domains.deployments.controllers import (
    DeployController,
    DeploymentController,
    OlderRulesetController,
)
from edictum_console.domains.environments.controllers import EnvironmentController
from edictum_console.domains.keys.controllers import KeyController
from edictum_console.domains.library.controllers import LibraryController
from edictum_console.domains.playground.controllers import PlaygroundController
from edictum_console.domains.rulesets.controllers import RulesetController
from edictum_console.domains.settings.controllers import ContactController, SettingsController
from edictum_console.domains.signing.controllers import SigningKeyController
from edictum_console.domains.tenants.controllers import HealthController, SetupController
from edictum_console.domains.tokens.controllers import OwnTokenController, TokenController

PREFIX = "/api/v1"


def human_routes() -> list[Router]:
    """
    Everything under ``/api/v1`` that people use, and what has a place of its own.
    """
    controllers = [
        ApprovalController,
        AuditController,
        CompositionController,
        DeployController,
        DeploymentController,
        EnvironmentController,
        HealthController,
        KeyController,
        LibraryController,
        LoginController,
        OlderRulesetController,
        OwnTokenController,
        PlaygroundController,
        RulesetController,
        SettingsController,
        SetupController,
        SigningKeyController,
        TokenController,
        UserController,
    ]
    return [Router(PREFIX, route_handlers=controllers), Router("/", route_handlers=[ContactController])]
