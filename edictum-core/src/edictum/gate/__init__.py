"""
The gate: coding assistants ask Edictum before each tool call, through the hooks that they offer.

``edictum gate check`` is what a hook runs: one payload in, one answer out, in a process of its own.

    formats        one table of hosts: how payloads are read and answers are written, tool names, exit codes
    check          one hook from its payload to the answer
    decision       what the rules say about its call
    payload        what may come in on standard input
    project        where the call happens: repository, rules, session
    sessions, log  what hook processes share: counters and the local decision log
    hook_command   the command line that is installed
"""
