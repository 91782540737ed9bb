// Runs one peer for Node: `node driver.js pg_boss`. Its orders are lines of JSON on standard input, its answers lines on
// standard output, so that the start of Node and the import are not measured. All peers know the same orders:
//   {"act": "install", "url"}                    creates the tables and the queue
//   {"act": "open", "url"}                       connects
//   {"act": "push", "numbers", "text"}           pushes {n, text} for each number, by a call of its own
//   {"act": "push_many", "numbers", "text"}      by one call
//   {"act": "push_ordered", "numbers", "text", "keys"}  as push, in the order of so many keys
//   {"act": "consume", "limit", "batch"}         claims and acks; answers with the numbers
//   {"act": "close"}

import { createInterface } from 'node:readline'

const peer = await import(`./${process.argv[2]}.js`)
let session

const acts = {
  imported: () => process.versions.node,
  install: ({ url }) => peer.install(url),
  open: async ({ url }) => { session = await peer.open(url) },
  push: async ({ numbers, text }) => {
    for (const n of numbers) await session.push({ n, text })
  },
  push_ordered: async ({ numbers, text, keys }) => {
    for (const n of numbers) await session.push({ n, text }, `key-${n % keys}`)
  },
  push_many: ({ numbers, text }) => session.pushMany(numbers.map(n => ({ n, text }))),
  consume: ({ limit, batch }) => consume(limit, batch),
  close: () => session.close()
}

async function consume (limit, batch) {
  const consumed = []
  while (consumed.length < limit) {
    const claimed = await session.claim(Math.min(batch, limit - consumed.length))
    if (claimed.length === 0) break
    await session.ack(claimed)
    for (const { payload } of claimed) consumed.push(payload.n)
  }
  return consumed
}

for await (const line of createInterface({ input: process.stdin })) {
  const { act, ...order } = JSON.parse(line)
  let answer
  try {
    answer = { result: await acts[act](order) ?? null }
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
process.exit()
