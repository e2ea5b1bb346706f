"""
Edictum for LangChain and LangGraph: rules between an agent's decision to call a tool and the call.

    from edictum import Edictum
    from edictum_langchain import EdictumMiddleware

    guard = Edictum.from_yaml("rules.yaml")
    agent = create_agent(model, tools, middleware=[EdictumMiddleware(guard)])
"""

from edictum_langchain.adapter import EdictumMiddleware, LangChainAdapter
from edictum_langchain.approval import InterruptApprovalBackend

__version__ = "0.1.0"

__all__ = ["EdictumMiddleware", "InterruptApprovalBackend", "LangChainAdapter", "__version__"]
