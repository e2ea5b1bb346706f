"""
The gate: coding assistants ask Edictum before each tool call, through the hooks that they offer.

``edictum gate check`` is what a hook runs: one payload in, one answer out, in a process of its own.
``edictum gate install`` puts it into the settings of an assistant.

    formats        one table of hosts: how payloads are read and answers are written, tool names, exit codes
    check          one hook from its payload to the answer
    decision       what the rules say about its call
    payload        what may come in on standard input
    project        where the call happens: repository, rules, session
    sessions, log  what hook processes share: counters and the local decision log
    hook_command   the command line that is installed
    settings       which file of which host holds hooks, and how ours is found, added and taken out there
    install        doing that to real files
    settings_text  inserting into JSON and removing from it without touching the rest
    files          backups, and writing a file so that it is always whole
    status         whether what is installed still blocks
"""
