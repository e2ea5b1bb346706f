"""
Routes for people and their scripts.
"""

from __future__ import annotations

from litestar import Router

from edictum_console.domains.accounts.controllers import LoginController, UserController
from edictum_console.domains.audit.controllers import AuditController
from edictum_console.domains.environments.controllers import EnvironmentController
from edictum_console.domains.keys.controllers import KeyController
from edictum_console.domains.tenants.controllers import HealthController, SetupController

PREFIX = "/api/v1"


def human_routes() -> Router:
    """
    Everything under ``/api/v1`` that people use.
    """
    controllers = [
        AuditController,
        EnvironmentController,
        HealthController,
        KeyController,
        LoginController,
        SetupController,
        UserController,
    ]
    return Router(PREFIX, route_handlers=controllers)
