# What a host runs:  /bin/sh hook.sh PYTHON ... gate check --format HOST || exit 2
#
# Hosts take most failures of a hook for "no objection", so everything that is neither a clear yes nor a clear no of
# the check becomes a block here: an interpreter that is gone, that dies, or that has no edictum.  The answer is held
# back until the exit code is known, because Gemini CLI believes an answer whatever the exit code says.

# Signals that a terminal or a host sends would end this script without an answer.  The check has its own deadline.
trap "" HUP INT TERM

answer=$("$@")
code=$?
case $code$answer in
"0{"*"}")
    printf '%s\n' "$answer" && exit 0
    ;;
"2{"*"}")
    printf '%s\n' "$answer"
    exit 2
    ;;
esac
echo "Edictum could not check this call, so it is blocked. See: edictum gate status" >&2
exit 2
