// pg-boss: send and insert, fetch and complete, as its worker calls them.

import { PgBoss } from 'pg-boss'

const QUEUE = 'bench'

// What runs beside the queue, its maintenance, monitoring and cron, is off: the other peers' is not running either.
async function start (url, options) {
  const boss = new PgBoss({ connectionString: url, max: 1, supervise: false, schedule: false, ...options })
  boss.on('error', error => { console.error(error) })
  await boss.start()
  return boss
}

export async function install (url) {
  const boss = await start(url, { max: 2 })
  await boss.createQueue(QUEUE)
  await boss.stop({ graceful: false })
}

export async function open (url) {
  const boss = await start(url, { migrate: false, createSchema: false })
  return {
    push: payload => boss.send(QUEUE, payload),
    pushMany: payloads => boss.insert(QUEUE, payloads.map(data => ({ data }))),
    claim: async size => {
      const jobs = await boss.fetch(QUEUE, { batchSize: size })
      return jobs.map(job => ({ payload: job.data, job }))
    },
    // With the jobs and not their ids, as its worker does: fenced by how often each was tried.
    ack: async claimed => {
      const { affected } = await boss.complete(QUEUE, claimed.map(({ job }) => job))
      if (affected !== claimed.length) throw new Error(`${affected} of ${claimed.length} completed`)
    },
    close: () => boss.stop({ graceful: false })
  }
}
