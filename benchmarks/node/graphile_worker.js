// graphile-worker: addJob and addJobs, and the two functions with which its worker gets and completes jobs.

import { makeWorkerUtils } from 'graphile-worker'

// Its package exports the front door only; its worker's own statements are behind it.
const dist = new URL('./', import.meta.resolve('graphile-worker'))
const { getUtilsAndReleasersFromOptions } = await import(new URL('lib.js', dist))
const { batchGetJobs } = await import(new URL('sql/getJobs.js', dist))
const { batchCompleteJobs } = await import(new URL('sql/completeJobs.js', dist))

const TASK = 'bench'
const TASKS = { [TASK]: () => {} }
const silent = { scope: () => silent, error: console.error, warn () {}, info () {}, debug () {} }
const options = url => ({ connectionString: url, maxPoolSize: 1, logger: silent, preset: { worker: { concurrentJobs: 1 } } })

export async function install (url) {
  const utils = await makeWorkerUtils(options(url))
  await utils.migrate()
  await utils.release()
}

export async function open (url) {
  const [utils, release] = await getUtilsAndReleasersFromOptions(options(url))
  const worker = `bench-${process.pid}`
  return {
    push: (payload, queueName) => utils.addJob(TASK, payload, { queueName }),
    pushMany: payloads => utils.addJobs(payloads.map(payload => ({ identifier: TASK, payload }))),
    claim: size => batchGetJobs(utils, utils.withPgClient, TASKS, worker, null, size),
    ack: claimed => batchCompleteJobs(utils, utils.withPgClient, worker, claimed),
    close: release
  }
}
