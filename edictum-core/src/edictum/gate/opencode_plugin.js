// Asks Edictum before every tool call.  Written by: edictum gate install opencode.  Do not edit; install it again.
//
// The tool runs only when the check ends with exit code 0 and says {"allow": true}.  Everything else throws, which
// OpenCode takes for a refusal: 1.x calls the hook "tool.execute.before", 2.x the hook "execute.before".
import { spawn } from "node:child_process"

const COMMAND = [] // edictum-gate
const TIMEOUT_MS = 60_000
const MAX_ANSWER = 1_000_000
const UNCHECKED = "Edictum could not check this call, so it is blocked: "

function check(payload, cwd) {
  return new Promise((resolve, reject) => {
    const [program, ...args] = COMMAND
    const child = spawn(program, args, { cwd, stdio: ["pipe", "pipe", "ignore"], windowsHide: true })
    const refuse = (reason) => {
      clearTimeout(timer)
      child.stdout?.destroy()
      child.kill("SIGKILL")
      reject(new Error(reason))
    }
    const timer = setTimeout(() => refuse(`${UNCHECKED}it took too long.`), TIMEOUT_MS)
    let answer = ""
    child.stdout.setEncoding("utf8")
    child.stdout.on("data", (text) => {
      answer += text
      if (answer.length > MAX_ANSWER) refuse(`${UNCHECKED}its answer is too long.`)
    })
    child.on("error", (error) => refuse(`${UNCHECKED}${error.message}. See: edictum gate status`))
    child.on("close", (code) => {
      let said
      try {
        said = JSON.parse(answer)
      } catch {
        said = undefined
      }
      if (code !== 0 || said?.allow !== true) {
        return refuse(said?.reason ?? `${UNCHECKED}it ended with code ${code}. See: edictum gate status`)
      }
      clearTimeout(timer)
      resolve()
    })
    child.stdin.on("error", () => {}) // a check that ended early has its say in "close"
    child.stdin.end(payload)
  })
}

async function decide(tool, args, sessionID, directory, worktree) {
  // What is undefined here is missing in the text, and a payload without arguments is refused.
  const payload = { tool, args, session_id: sessionID, cwd: directory, project: directory ?? worktree }
  await check(JSON.stringify(payload), directory)
}

const server = async ({ directory, worktree }) => ({
  "tool.execute.before": async (input, output) => {
    await decide(input.tool, output.args, input.sessionID, directory, worktree)
  },
})

async function setup(ctx) {
  const directory = ctx.location?.directory
  await ctx.tool.hook("execute.before", async (event) => {
    await decide(event.tool, event.input, event.sessionID, directory)
  })
}

export const EdictumGate = server // for older releases, which call every function that a plugin exports
export default { id: "edictum.gate", server, setup }
